"""Rules for questions about one or two regions: each draws a question from a page, with its answer, reason and claims.

Yes or no is drawn first and the regions after, so that no answer can be guessed from its frequency. A rule returns None if the
page allows no question of its kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from roi_agent.generation.claims import DIRECTIONS, OPPOSITES, PLACE, Claim
from roi_agent.generation.describing import Described
from roi_agent.generation.page import Page, claims_about, mention
from roi_agent.generation.vocabulary import worded
from roi_agent.model.data.english import with_article

_NEAR = 0.25  # of the image's longer side: objects further apart obviously do not touch


@dataclass(frozen=True, slots=True)
class Fact:
    """One question and answer.  reason: the answer to "why?", if any.  things: the regions that it is about."""

    question: str
    answer: str
    claims: tuple[Claim, ...]
    things: tuple[Described, ...]
    reason: str = ""


Rule = Callable[[Page], Fact | None]


# ---------------------------------------------------------------- one region


def attribute_of(page: Page, attribute: str) -> Fact | None:
    """Ask for a region's kind, colour or name."""
    found = page.pick(1)
    if not found:
        return None
    (thing,) = found
    answer = worded(attribute, thing.description(attribute).text)
    return Fact(page.phrase(attribute, [thing]), answer, tuple(claims_about(thing, attribute)), (thing,))


def size(page: Page) -> Fact | None:
    """Ask for the size of a region's object, if its name contains one; all sizes are equally frequent."""
    wanted = page.rng.choice(page.vocabulary.sizes)
    found = page.pick(1, lambda thing: wanted in thing.name.text.split())
    return Fact(page.phrase("size", found), wanted, tuple(claims_about(found[0], "name")), tuple(found)) if found else None


def place(page: Page) -> Fact | None:
    """Ask where in the image a region is, in thirds."""
    found = page.pick(1, lambda thing: page.layout.place(thing.region.name) is not None)
    if not found:
        return None
    (thing,) = found
    value = str(page.layout.place(thing.region.name))
    return Fact(page.phrase("place", found), value, (Claim(PLACE, (thing.region.name,), value),), (thing,))


def presence(page: Page) -> Fact | None:
    """Ask whether a region shows an object; for "no" it is another object of the image, or differs in one attribute."""
    found = page.pick(1)
    if not found:
        return None
    (thing,) = found
    kind, colour, truth = thing.kind.text, thing.colour.text, page.coin()
    with_colour = page.coin()
    if not truth:
        others = [each for each in page.things if each.kind.text != kind]
        if others and page.coin():
            kind, colour = (other := page.rng.choice(others)).kind.text, other.colour.text
        elif with_colour and page.coin():
            colour = page.rng.choice([each for each in page.vocabulary.colours if each != colour])
        else:
            kind = page.rng.choice([each for each in page.vocabulary.kinds if each != kind] or [kind])
    if not truth and (kind, colour if with_colour else thing.colour.text) == (thing.kind.text, thing.colour.text):
        return None
    asked = with_article(f"{colour} {kind}" if with_colour else kind)
    reason = page.phrase("reason_is", [thing], what=with_article(f"{thing.colour.text} {thing.kind.text}"))
    claims = tuple(claims_about(thing, "kind", "colour"))
    return Fact(page.phrase("presence", [thing], thing=asked), _yes_no(truth), claims, (thing,), reason)


# ---------------------------------------------------------------- two regions


def relation(page: Page) -> Fact | None:
    """Ask whether a region is left of, right of, above or below another."""
    wanted, truth = page.rng.choice(DIRECTIONS), page.coin()
    pair = page.pick(2, lambda a, b: page.holds(wanted, a, b) == truth)
    if not pair:
        return None
    asked = f"to the {wanted}" if wanted in ("left of", "right of") and page.coin() else wanted
    question = page.phrase("relation", pair, relation=asked)
    return _compared(page, question, _yes_no(truth), wanted if truth else OPPOSITES[wanted], pair)


def side(page: Page) -> Fact | None:
    """Ask on which side of another a region is."""
    wanted = page.rng.choice(DIRECTIONS)
    pair = page.pick(2, lambda a, b: page.holds(wanted, a, b))
    if not pair:
        return None
    wording, answer = ("side", wanted.split()[0]) if " " in wanted else ("height", wanted)
    return _compared(page, page.phrase(wording, pair), answer, wanted, pair)


def larger(page: Page) -> Fact | None:
    """Ask whether a region is larger, or smaller, than another."""
    wanted, truth = page.rng.choice(("larger", "smaller")), page.coin()
    pair = page.pick(2, lambda a, b: page.holds(f"{wanted} than", a, b) == truth)
    if not pair:
        return None
    holds = f"{wanted} than" if truth else OPPOSITES[f"{wanted} than"]
    return _compared(page, page.phrase("larger", pair, relation=wanted), _yes_no(truth), holds, pair)


def which_larger(page: Page) -> Fact | None:
    """Ask which of two regions is larger, or smaller."""
    wanted = page.rng.choice(("larger", "smaller"))
    pair = page.pick(2, lambda a, b: page.holds(f"{wanted} than", a, b))
    if not pair:
        return None
    question = page.phrase("which_larger", pair if page.coin() else pair[::-1], relation=wanted)
    return _compared(page, question, mention(pair[0]), f"{wanted} than", pair)


def same(page: Page, attribute: str) -> Fact | None:
    """Ask whether two regions have the same kind or colour."""
    truth = page.coin()
    pair = page.pick(2, lambda a, b: (a.description(attribute).text == b.description(attribute).text) == truth)
    if not pair:
        return None
    what, other = (each.colour.text if attribute == "colour" else with_article(each.kind.text) for each in pair)
    claims = tuple(claim for each in pair for claim in claims_about(each, attribute))
    reason = page.phrase("reason_both", pair, what=what, other=other)
    return Fact(page.phrase(f"same_{attribute}", pair), _yes_no(truth), claims, tuple(pair), reason)


def touching(page: Page) -> Fact | None:
    """Ask whether two regions touch, if any do: otherwise nearly all answers would be "no"; for "no" they are near."""
    if not any(page.holds("touching", a, b) for a, b in combinations(page.things, 2)):
        return None
    truth, max_gap = page.coin(), _NEAR * max(page.layout.size_wh)

    def matches(a: Described, b: Described) -> bool:
        return page.holds("touching", a, b) == truth and page.layout.relation(a.region.name, b.region.name).gap < max_gap

    pair = page.pick(2, matches)
    if not pair:
        return None
    claim = Claim("touching", tuple(each.region.name for each in pair), holds=truth)
    reason = page.phrase("reason_touching" if truth else "reason_apart", pair)
    return Fact(page.phrase("touching", pair), _yes_no(truth), (claim,), tuple(pair), reason)


def _compared(page: Page, question: str, answer: str, about: str, pair: Sequence[Described]) -> Fact:
    """Return a fact that rests on a relation that holds."""
    relation_words = f"at the {about}" if about in ("left of", "right of") else about
    claim = Claim(about, tuple(each.region.name for each in pair))
    return Fact(question, answer, (claim,), tuple(pair), page.phrase("reason_relation", pair, relation=relation_words))


def _yes_no(truth: bool) -> str:
    return "yes" if truth else "no"
