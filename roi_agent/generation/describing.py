"""Descriptions of regions by the region model, with its confidence."""

from collections.abc import Sequence
from dataclasses import dataclass

from roi_agent.generation.vocabulary import Vocabulary
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.prompts import load_blocks
from roi_agent.tools.ask import ask_each
from roi_agent.tools.workspace import Workspace

ATTRIBUTES = ("kind", "colour", "name")
_MIN_CHARACTERS = 2  # characters of a word


@dataclass(frozen=True, slots=True)
class Description:
    """One description of a region.  text: without article, in lower case.  confidence: in [0, 1]."""

    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Described:
    """A region and its descriptions."""

    region: Region
    kind: Description
    colour: Description
    name: Description

    def description(self, attribute: str) -> Description:
        """Return the description for one of ATTRIBUTES."""
        found: Description = getattr(self, attribute)
        return found


def describe(
    workspace: Workspace, regions: Sequence[Region], vocabulary: Vocabulary, *, model: RegionModel
) -> tuple[Described, ...]:
    """Describe every region of one image, one batch per attribute; regions for which the model has no words are dropped.

    Errors: those of the model.
    """
    if not regions:
        return ()
    descriptions = {}
    for attribute in ATTRIBUTES:
        asked = ask_each(workspace, question_about(attribute), regions, model=model)
        descriptions[attribute] = [
            Description(vocabulary.read(attribute, each.answer.text), each.answer.confidence) for each in asked
        ]
    described = (Described(region, *(descriptions[each][i] for each in ATTRIBUTES)) for i, region in enumerate(regions))
    return tuple(thing for thing in described if all(len(thing.description(each).text) >= _MIN_CHARACTERS for each in ATTRIBUTES))


def question_about(attribute: str) -> str:
    """Return the question for the region model, with <region> for the region."""
    return load_blocks("generation")[f"ask_{attribute}"]
