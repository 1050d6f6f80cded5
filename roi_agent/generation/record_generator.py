"""Generation of records from images: each step runs over several images at once, with models that are already loaded."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from roi_agent.generation.claims import Proposal
from roi_agent.generation.describing import ATTRIBUTES, Described, describe
from roi_agent.generation.examiner import THERE, Examiner
from roi_agent.generation.finding import find
from roi_agent.generation.layout import Layout
from roi_agent.generation.offline_writer import OfflineWriter, Writer
from roi_agent.generation.page import Page
from roi_agent.generation.recording import Origin, to_record
from roi_agent.generation.settings import GenerationSettings
from roi_agent.generation.verifier import REPEATED, Verifier
from roi_agent.generation.vocabulary import Vocabulary
from roi_agent.model.data.record import Evidence, Record
from roi_agent.model.detection.detector import PhraseDetector
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.segmentation.segmenter import PromptedSegmenter
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import Workspace

_QUESTIONS = 16  # asked at once, over all images


@dataclass(frozen=True, slots=True)
class Dropped:
    """A proposal that is not kept.  reason: one of `verifier.REASONS`.  text: its questions, if readable."""

    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The result for one image.  written: number of proposed conversations.  regions: number of regions found."""

    records: tuple[Record, ...]
    dropped: tuple[Dropped, ...]
    written: int
    regions: int


@dataclass
class RecordGenerator:
    """Generates records.  segmenter: None to find objects by phrases only.  source, licence: of the records."""

    model: RegionModel
    detector: PhraseDetector
    segmenter: PromptedSegmenter | None
    settings: GenerationSettings
    source: str = "generated"
    licence: str = "unknown"
    writer: Writer | None = None
    vocabulary: Vocabulary = field(init=False)

    def __post_init__(self) -> None:
        self.vocabulary = Vocabulary.known_to(self.detector, self.settings.phrases)
        self.writer = self.writer or OfflineWriter(self.settings.families)
        self._choices = ThreadPoolExecutor(_QUESTIONS, "choices")
        self._images = ThreadPoolExecutor(self.settings.images, "images")
        self._examiner = Examiner(self.model, self.detector, self.vocabulary, self.settings, self._choices)

    def close(self) -> None:
        """Stop the threads."""
        self._images.shutdown(cancel_futures=True)
        self._choices.shutdown(cancel_futures=True)

    def generate(self, images: Sequence[tuple[str, LoadedImage]]) -> list[ImageResult]:
        """Generate the records of several images, given with their names.  Errors: those of the models and of the writer."""
        workspace = Workspace()
        added = [workspace.add_image(image) for _, image in images]
        segmenter = self.segmenter if self.settings.everything else None
        found = find(workspace, added, self.vocabulary.kinds, detector=self.detector, segmenter=segmenter)
        names = [name for name, _ in images]
        return list(self._images.map(partial(self._generate_one, workspace), names, added, found))

    def _generate_one(self, workspace: Workspace, name: str, image: WorkspaceImage, regions: tuple[Region, ...]) -> ImageResult:
        things = describe(workspace, regions, self.vocabulary, model=self.model)
        layout = Layout(regions, image.size_wh, self.settings.apart, self.settings.ratio)
        page = Page(things, layout, self.vocabulary, Random(f"{self.settings.seed} {name}"))
        assert self.writer is not None
        written = self.writer.write(page, self.settings.per_image)
        support = self._examiner.examine(workspace, image, things, _needed(written)) if self.settings.verify else {}
        ruled = isinstance(self.writer, OfflineWriter)  # answers written by rules follow from their claims
        opinion = {} if ruled else {"agrees": partial(self._examiner.agrees, workspace)}
        verifier = Verifier.of(things, layout, support, **opinion)
        kept, dropped = self._verify_all(written, verifier)
        numbered = Random(f"{self.settings.seed} {name} numbers")
        labelled = _labelled(things, verifier)
        origin = Origin(name, image.size_wh, self.source, self.licence)
        records = [to_record(each, proof, labelled, origin, number, numbered) for number, (each, proof) in enumerate(kept)]
        return ImageResult(tuple(records), tuple(dropped), len(written), len(regions))

    def _verify_all(
        self, written: Sequence[Proposal | str], verifier: Verifier
    ) -> tuple[list[tuple[Proposal, tuple[Evidence, ...]]], list[Dropped]]:
        kept: list[tuple[Proposal, tuple[Evidence, ...]]] = []
        dropped: list[Dropped] = []
        asked: set[tuple[str, ...]] = set()
        for each in written:
            if isinstance(each, str):
                dropped.append(Dropped(each))
                continue
            questions = tuple(turn.question for turn in each.turns)
            found: tuple[Evidence, ...] | str = REPEATED
            if questions not in asked:
                found = verifier.verify(each) if self.settings.verify else verifier.unusable(each) or ()
            asked.add(questions)
            if isinstance(found, str):
                dropped.append(Dropped(found, " / ".join(questions)))
            else:
                kept.append((each, found))
        return kept, dropped


def _needed(written: Sequence[Proposal | str]) -> set[tuple[str, str]]:
    """Return the (region, attribute) pairs, or (region, THERE), that the claims rest on."""
    turns = (turn for each in written if isinstance(each, Proposal) for turn in each.turns)
    claims = (claim for turn in turns for claim in turn.claims)
    return {(name, claim.about if claim.about in ATTRIBUTES else THERE) for claim in claims for name in claim.regions}


def _labelled(things: Sequence[Described], verifier: Verifier) -> dict[str, Region]:
    """Return the regions, labelled with their kinds if these are supported."""
    labels: dict[str, str] = {}
    for each in things:
        if isinstance(verifier.support.get((each.region.name, "kind")), tuple):
            labels[each.region.name] = each.kind.text
    return {each.region.name: replace(each.region, label=labels.get(each.region.name)) for each in things}
