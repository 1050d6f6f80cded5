"""Questions by rules: each family draws one from a page, with its answer, its reason, and the claims that both rest on.

Yes and no are drawn first and the regions after, so that no answer can be guessed from its frequency. A family gives None where
the page offers no such question.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from roi_agent.generation.claims import DIRECTIONS, EXTREMES, Claim
from roi_agent.generation.describing import Described
from roi_agent.generation.page import Page, mention, told
from roi_agent.generation.vocabulary import worded
from roi_agent.model.data.wording import article, plural

COUNTS = ("none", "one", "two", "three", "four", "five")


@dataclass(frozen=True, slots=True)
class Fact:
    """One question and answer.  reason: what "why?" is answered with, where there is one.  things: that it mentions."""

    question: str
    answer: str
    claims: tuple[Claim, ...]
    things: tuple[Described, ...]
    reason: str = ""


Family = Callable[[Page], Fact | None]


# ---------------------------------------------------------------- one region


def _attribute(page: Page, attribute: str) -> Fact | None:
    found = page.pick(1)
    if not found:
        return None
    (thing,) = found
    answer = worded(attribute, thing.told(attribute).text)
    return Fact(page.say(attribute, [thing]), answer, tuple(told(thing, attribute)), (thing,))


def _presence(page: Page) -> Fact | None:
    """A no names another thing of the same image, or differs in one attribute only."""
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
    asked = article(f"{colour} {kind}" if with_colour else kind)
    reason = page.say("reason_is", [thing], what=article(f"{thing.colour.text} {thing.kind.text}"))
    claims = tuple(told(thing, "kind", "colour"))
    return Fact(page.say("presence", [thing], thing=asked), _yes_no(truth), claims, (thing,), reason)


# ---------------------------------------------------------------- two regions


def _relation(page: Page) -> Fact | None:
    relation, truth = page.rng.choice(DIRECTIONS), page.coin()
    pair = page.pick(2, lambda a, b: page.holds(relation, a, b) == truth)
    if not pair:
        return None
    asked = f"to the {relation}" if relation in ("left of", "right of") and page.coin() else relation
    question = page.say("relation", pair, relation=asked)
    return _compared(page, question, _yes_no(truth), relation if truth else _OPPOSITES[relation], pair)


def _side(page: Page) -> Fact | None:
    relation = page.rng.choice(DIRECTIONS)
    pair = page.pick(2, lambda a, b: page.holds(relation, a, b))
    if not pair:
        return None
    wording, answer = ("side", relation.split()[0]) if " " in relation else ("height", relation)
    return _compared(page, page.say(wording, pair), answer, relation, pair)


def _larger(page: Page) -> Fact | None:
    relation, truth = page.rng.choice(("larger", "smaller")), page.coin()
    pair = page.pick(2, lambda a, b: page.holds(f"{relation} than", a, b) == truth)
    if not pair:
        return None
    holds = f"{relation} than" if truth else _OPPOSITES[f"{relation} than"]
    return _compared(page, page.say("larger", pair, relation=relation), _yes_no(truth), holds, pair)


def _which_larger(page: Page) -> Fact | None:
    relation = page.rng.choice(("larger", "smaller"))
    pair = page.pick(2, lambda a, b: page.holds(f"{relation} than", a, b))
    if not pair:
        return None
    question = page.say("which_larger", pair if page.coin() else pair[::-1], relation=relation)
    return _compared(page, question, mention(pair[0]), f"{relation} than", pair)


def _compared(page: Page, question: str, answer: str, about: str, pair: Sequence[Described]) -> Fact:
    """An answer that rests on a relation that holds."""
    said = f"at the {about}" if about in ("left of", "right of") else about
    claim = Claim(about, tuple(each.region.name for each in pair))
    return Fact(question, answer, (claim,), tuple(pair), page.say("reason_relation", pair, relation=said))


def _same(page: Page, attribute: str) -> Fact | None:
    truth = page.coin()
    pair = page.pick(2, lambda a, b: (a.told(attribute).text == b.told(attribute).text) == truth)
    if not pair:
        return None
    what, other = (each.colour.text if attribute == "colour" else article(each.kind.text) for each in pair)
    claims = tuple(claim for each in pair for claim in told(each, attribute))
    reason = page.say("reason_both", pair, what=what, other=other)
    return Fact(page.say(f"same_{attribute}", pair), _yes_no(truth), claims, tuple(pair), reason)


def _touching(page: Page) -> Fact | None:
    """Asked only where some regions touch: else "no" would nearly always be right."""
    if not any(page.holds("touching", a, b) for a, b in combinations(page.things, 2)):
        return None
    truth = page.coin()
    pair = page.pick(2, lambda a, b: page.holds("touching", a, b) == truth)
    if not pair:
        return None
    claim = Claim("touching", tuple(each.region.name for each in pair), holds=truth)
    reason = page.say("reason_touching" if truth else "reason_apart", pair)
    return Fact(page.say("touching", pair), _yes_no(truth), (claim,), tuple(pair), reason)


# ---------------------------------------------------------------- several regions


def _extreme(page: Page) -> Fact | None:
    things, relation = page.several(), page.rng.choice(tuple(EXTREMES))
    if not things:
        return None
    names = page.layout.ordered(relation, [each.region.name for each in things])
    top = next(each for each in things if each.region.name == names[0])
    question, reason = page.say("superlative", things, relation=relation), page.say("reason_extreme", [top], relation=relation)
    return Fact(question, mention(top), (Claim(relation, tuple(names)),), tuple(things), reason)


def _which(page: Page) -> Fact | None:
    """Which one has a colour, a kind or both; one of them has."""
    things, form = page.several(), page.rng.choice(("colour", "kind", "both"))
    if not things:
        return None
    attributes = ("kind", "colour") if form == "both" else (form,)
    target = things[0]
    fits = [each for each in things if all(each.told(a).text == target.told(a).text for a in attributes)]
    if len(fits) > 1:
        return None
    kind, colour = target.kind.text, target.colour.text
    asked = {"colour": colour, "kind": article(kind), "both": article(f"{colour} {kind}")}[form]
    shown = page.rng.sample(things, len(things))
    claims = tuple(claim for each in things for claim in told(each, *attributes))
    reason = page.say("reason_is", [target], what=asked)
    return Fact(page.say("which_one", shown, thing=asked), mention(target), claims, tuple(things), reason)


def _shared(page: Page) -> Fact | None:
    wanted, count = page.rng.choice(("colour", "colour", "kind", "kind", "both", "nothing")), page.rng.choice((2, 3))

    def fits(*things: Described) -> bool:
        colours, kinds = {each.colour.text for each in things}, {each.kind.text for each in things}
        return _SHARES[len(colours) == 1, len(kinds) == 1] == wanted

    things = page.pick(count, fits)
    if not things:
        return None
    colour, kind = f"the colour {things[0].colour.text}", f"the kind {things[0].kind.text}"
    answer = {"colour": colour, "kind": kind, "both": f"{colour} and {kind}", "nothing": "nothing"}[wanted]
    claims = tuple(claim for each in things for claim in told(each, "kind", "colour"))
    return Fact(page.say("shared", things), answer, claims, tuple(things))


def _count(page: Page, attribute: str) -> Fact | None:
    """The number is drawn first, so that "one" is not nearly always right."""
    things = page.several()
    if not things:
        return None
    asks: dict[int, list[str]] = {}
    for value in sorted({each.told(attribute).text for each in page.things}):
        asks.setdefault(sum(each.told(attribute).text == value for each in things), []).append(value)
    value = page.rng.choice(asks[page.rng.choice(sorted(asks))])
    fits = [each for each in things if each.told(attribute).text == value]
    many = value if attribute == "colour" else plural(value)
    what = value if attribute == "colour" else article(value) if len(fits) == 1 else many
    reason = page.say({0: "reason_none", 1: "reason_is"}.get(len(fits), "reason_are"), fits, what=what)
    claims = tuple(claim for each in things for claim in told(each, attribute))
    return Fact(page.say("count", things, things=many), COUNTS[len(fits)], claims, tuple(things), reason)


def _yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


_SHARES = {(True, False): "colour", (False, True): "kind", (True, True): "both", (False, False): "nothing"}
_OPPOSITES = {"left of": "right of", "above": "below", "larger than": "smaller than"}
_OPPOSITES |= {value: key for key, value in _OPPOSITES.items()}

ABOUT_ONE: dict[str, Family] = {
    **{attribute: partial(_attribute, attribute=attribute) for attribute in ("kind", "colour", "name")},
    "presence": _presence,
}
SINGLE: dict[str, Family] = {
    **ABOUT_ONE,
    "relation": _relation,
    "side": _side,
    "larger": _larger,
    "which_larger": _which_larger,
    "same_colour": partial(_same, attribute="colour"),
    "same_kind": partial(_same, attribute="kind"),
    "touching": _touching,
    "extreme": _extreme,
    "which": _which,
    "shared": _shared,
    "count_colour": partial(_count, attribute="colour"),
    "count_kind": partial(_count, attribute="kind"),
}
FAMILIES = (*SINGLE, "why", "turns")
