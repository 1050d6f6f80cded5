"""A writer's view of one image: described regions, their layout, and a random generator; never the pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from random import Random

from roi_agent.generation.claims import RELATIONS, Claim
from roi_agent.generation.describing import ATTRIBUTES, Described
from roi_agent.generation.layout import Layout
from roi_agent.generation.vocabulary import Vocabulary
from roi_agent.model.data.english import join_words
from roi_agent.prompts import load_blocks

MAX_REGIONS = 5  # regions in one question


@dataclass(frozen=True)
class Page:
    """The known facts about an image, without its pixels."""

    things: tuple[Described, ...]
    layout: Layout
    vocabulary: Vocabulary
    rng: Random
    all_given: bool = False  # whether every question comes with all of them, as in a conversation

    @property
    def names(self) -> tuple[str, ...]:
        """Handles of the regions."""
        return tuple(thing.region.name for thing in self.things)

    def among(self, things: Sequence[Described]) -> "Page":
        """Return the page with fewer regions, all of which come with every question."""
        return replace(self, things=tuple(things), all_given=True)

    def pick(self, count: int, matches: Callable[..., bool] = lambda *things: True) -> list[Described]:
        """Return that many random regions for which `matches` is true; none if there are none."""
        candidates = list(permutations(self.things, count))
        self.rng.shuffle(candidates)
        return list(next((each for each in candidates if matches(*each)), ()))

    def several(self) -> list[Described]:
        """Return two to MAX_REGIONS random regions, or none if there are fewer."""
        count = min(MAX_REGIONS, len(self.things))
        return self.rng.sample(self.things, self.rng.randint(2, count)) if count >= 2 else []

    def holds(self, about: str, first: Described, second: Described) -> bool:
        """Whether one of RELATIONS holds between two regions."""
        return self.layout.holds(about, first.region.name, second.region.name)

    def phrase(self, wording: str, things: Sequence[Described], /, **words: str) -> str:
        """Return a wording of `prompts/generation.md` with the regions filled in; some mention no region and mean all of them."""
        mentions = [mention(thing) for thing in things]
        lines = load_blocks("generation")[wording].splitlines()
        if self.all_given and len(things) < len(self.things):
            lines = [line for line in lines if "{all}" in line or "{a}" in line] or lines
        line = self.rng.choice(lines)
        b = mentions[1] if len(mentions) > 1 else ""
        return line.format(a=mentions[0] if mentions else "", b=b, all=join_words(mentions) if mentions else "", **words)

    def coin(self) -> bool:
        """Return True or False at random."""
        return self.rng.random() < 0.5

    def text(self, count: int) -> str:
        """Return the page as text, for a chat model that is to write `count` questions."""
        lines = [_line(self, each) for each in self.things]
        relations = [_relations(self, *pair) for pair in combinations(self.things, 2)]
        filled = {"regions": "\n".join(lines), "relations": "\n".join(relations) or "there is one region only"}
        return load_blocks("generation")["page"].format(count=count, **filled)


def mention(thing: Described) -> str:
    """Return a mention, such as <region1>."""
    return f"<{thing.region.name}>"


def claims_about(thing: Described, *attributes: str) -> list[Claim]:
    """Return the claims for a region's descriptions."""
    return [Claim(each, (thing.region.name,), thing.description(each).text) for each in attributes]


def _line(page: Page, thing: Described) -> str:
    """Return the line about one region."""
    place = page.layout.place(thing.region.name)
    attributes = [f"{attribute} {thing.description(attribute).text!r}" for attribute in ATTRIBUTES]
    return f"{mention(thing)}: {', '.join([*attributes, *([f'place {place!r}'] if place else [])])}"


def _relations(page: Page, first: Described, second: Described) -> str:
    """Return the line about the clear relations of two regions."""
    names = first.region.name, second.region.name
    plain = [about for about in RELATIONS if page.layout.confirms(Claim(about, names))]
    apart = page.layout.confirms(Claim("touching", names, holds=False))
    relations = [*plain, *(["not touching"] if apart else [])]
    return f"{mention(first)} is {', '.join(relations) or 'near'} {mention(second)}"
