"""Rules for questions about two or more regions; see `facts`."""

from roi_agent.generation.claims import EXTREMES, Claim
from roi_agent.generation.describing import Described
from roi_agent.generation.facts import Fact
from roi_agent.generation.page import Page, claims_about, mention
from roi_agent.model.data.english import plural, with_article

COUNTS = ("none", "one", "two", "three", "four", "five")
_NONE = 0.15  # fraction of "which" questions for which no region may match


def extreme(page: Page) -> Fact | None:
    """Ask which region is the leftmost, the largest, and so on."""
    things, wanted = page.several(), page.rng.choice(tuple(EXTREMES))
    if not things:
        return None
    names = page.layout.ordered(wanted, [each.region.name for each in things])
    top = next(each for each in things if each.region.name == names[0])
    question, reason = page.phrase("superlative", things, relation=wanted), page.phrase("reason_extreme", [top], relation=wanted)
    return Fact(question, mention(top), (Claim(wanted, tuple(names)),), tuple(things), reason)


def which(page: Page) -> Fact | None:
    """Ask which region has a colour, a kind or both; exactly one has, or sometimes none."""
    things, form = page.several(), page.rng.choice(("colour", "kind", "both"))
    if not things:
        return None
    attributes = ("kind", "colour") if form == "both" else (form,)
    kind, colour = things[0].kind.text, things[0].colour.text
    if page.rng.random() < _NONE:
        kind, colour = page.rng.choice(page.vocabulary.kinds), page.rng.choice(page.vocabulary.colours)
    wanted = {"kind": kind, "colour": colour}
    matches = [each for each in things if all(each.description(name).text == wanted[name] for name in attributes)]
    if len(matches) > 1:
        return None
    asked = {"colour": colour, "kind": with_article(kind), "both": with_article(f"{colour} {kind}")}[form]
    question = page.phrase("which_one", page.rng.sample(things, len(things)), thing=asked)
    claims = tuple(claim for each in things for claim in claims_about(each, *attributes))
    if not matches:
        return Fact(question, "none of them", claims, tuple(things))
    return Fact(question, mention(matches[0]), claims, tuple(things), page.phrase("reason_is", matches, what=asked))


def shared(page: Page) -> Fact | None:
    """Ask what two or three regions have in common; all answers are equally frequent."""
    wanted, count = page.rng.choice(("colour", "colour", "kind", "kind", "both", "nothing")), page.rng.choice((2, 3))

    def matches(*things: Described) -> bool:
        colours, kinds = {each.colour.text for each in things}, {each.kind.text for each in things}
        return _SHARES[len(colours) == 1, len(kinds) == 1] == wanted

    things = page.pick(count, matches)
    if not things:
        return None
    colour, kind = f"the colour {things[0].colour.text}", f"the kind {things[0].kind.text}"
    answer = {"colour": colour, "kind": kind, "both": f"{colour} and {kind}", "nothing": "nothing"}[wanted]
    claims = tuple(claim for each in things for claim in claims_about(each, "kind", "colour"))
    return Fact(page.phrase("shared", things), answer, claims, tuple(things))


def count(page: Page, attribute: str) -> Fact | None:
    """Ask how many regions have a kind or colour. The number is drawn first, because most counts would be "one"."""
    things = page.several()
    if not things:
        return None
    asks: dict[int, list[str]] = {}
    for value in sorted({each.description(attribute).text for each in page.things}):
        asks.setdefault(sum(each.description(attribute).text == value for each in things), []).append(value)
    value = page.rng.choice(asks[page.rng.choice(sorted(asks))])
    matches = [each for each in things if each.description(attribute).text == value]
    many = value if attribute == "colour" else plural(value)
    what = value if attribute == "colour" else many if len(matches) > 1 else with_article(value)
    reason = page.phrase({0: "reason_none", 1: "reason_is"}.get(len(matches), "reason_are"), matches, what=what)
    claims = tuple(claim for each in things for claim in claims_about(each, attribute))
    return Fact(page.phrase("count", things, things=many), COUNTS[len(matches)], claims, tuple(things), reason)


_SHARES = {(True, False): "colour", (False, True): "kind", (True, True): "both", (False, False): "nothing"}
