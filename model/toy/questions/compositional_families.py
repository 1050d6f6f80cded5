"""Families of compositional questions about a whole scene: each form draws one question at random, with its answer.

A form gives None where its draw came to nothing or the answer would not be plain; it is to be tried often. What a form asks
with "yes" and with "no" is worded alike, so that a scene which offers both can be asked for either.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

from roi_agent.model.data.english import plural
from roi_agent.model.toy.questions.compositional_terms import (
    COLOUR_KIND,
    DIRECTIONS,
    GROUPS,
    Look,
    Referent,
    SceneView,
    forms,
    holds,
    name,
    nearest,
    ranked,
    told,
)
from roi_agent.model.toy.questions.families import COUNTS, SUPERLATIVES, Fact

Form = Callable[[SceneView], Fact | None]

_STRANGE = 0.5  # of the phrases that may be untrue have an attribute exchanged
_RELATIONS = (*DIRECTIONS, "larger_than", "smaller_than")
_ASKED: tuple[Look, ...] = (("kind",), COLOUR_KIND, COLOUR_KIND, ("size", "kind"), ("size", *COLOUR_KIND), ("colour",))
_COUNTED: tuple[Look, ...] = ((), *[("kind",), ("colour",), ("size",)] * 3, COLOUR_KIND, ("size", "colour"), ("size", "kind"))
_MOSTLY_ANY: tuple[Look, ...] = (*[()] * 4, ("kind",), ("colour",), ("size",))


# ---------------------------------------------------------------- yes or no, and how many


def _existence(sight: SceneView, look: Look) -> Fact | None:
    """The no's are one attribute away from a thing."""
    phrase = sight.phrase([look], _STRANGE)
    return Fact(sight.say("existence", phrase), _yes_no(bool(sight.fitting(phrase))))


def _existence_beside(sight: SceneView, look: Look) -> Fact | None:
    """The no's are true of a thing that stands elsewhere, or are one attribute away from a thing."""
    stood = sight.beside(sight.phrase([look], _STRANGE / 2), sight.one())
    if stood is None:
        return None
    question = sight.say("existence_relation", stood.phrase, relation=stood.relation, b=stood.anchor)
    return Fact(question, _yes_no(bool(stood.found)))


def _count(sight: SceneView) -> Fact | None:
    phrase = sight.phrase(_COUNTED, _STRANGE / 2)
    return Fact(sight.say("count", phrase), COUNTS[len(sight.fitting(phrase))])


def _count_beside(sight: SceneView) -> Fact | None:
    stood = sight.beside(sight.phrase(), sight.one(), _RELATIONS)
    if stood is None:
        return None
    question = sight.say("count_relation", stood.phrase, relation=stood.relation, b=stood.anchor)
    return Fact(question, COUNTS[len(stood.found)])


def _comparison(sight: SceneView) -> Fact | None:
    relation, pair = sight.rng.choice(_RELATIONS), sight.described(2)
    truth = _compared(relation, pair)
    if truth is None:
        return None
    question = sight.say("comparison", a=pair[0].text, b=pair[1].text, relation=sight.word(relation))
    return Fact(question, _yes_no(truth))


def _comparison_which(sight: SceneView) -> Fact | None:
    relation, pair = sight.rng.choice(_RELATIONS), sight.described(2, [COLOUR_KIND])
    truth = _compared(relation, pair)
    if truth is None:
        return None
    question = sight.say("comparison_which", a=pair[0].text, b=pair[1].text, more=sight.word(f"which_{relation}"))
    return Fact(question, pair[not truth].text.removeprefix("the "))


def _all_same(sight: SceneView, attribute: str) -> Fact | None:
    phrase = sight.phrase([look for look in GROUPS if look and attribute not in look])
    values = [getattr(thing, attribute) for thing in sight.fitting(phrase)]
    if len(values) < 2:
        return None
    return Fact(sight.say("set_equality_same", phrase, attribute=attribute), _yes_no(len(set(values)) == 1))


def _all_are(sight: SceneView, attribute: str) -> Fact | None:
    """The value asked about is one of the group's, or of another thing."""
    phrase = sight.phrase([look for look in GROUPS if look and attribute not in look])
    values = [str(getattr(thing, attribute)) for thing in sight.fitting(phrase)]
    if len(values) < 2:
        return None
    value = sight.rng.choice([*values, str(getattr(sight.rng.choice(sight.things), attribute))])
    question = sight.say("set_equality_are", phrase, value=value if attribute == "colour" else plural(value))
    return Fact(question, _yes_no({*values} == {value}))


def _numbers(sight: SceneView, form: str) -> Fact | None:
    """Two groups that differ in one attribute, and how many things are in each."""
    look = sight.rng.choice((("kind",), ("colour",), ("size",)))
    one, other = sight.phrase([look]), sight.phrase([look])
    if getattr(one, *look) == getattr(other, *look):
        return None
    many, others = len(sight.fitting(one)), len(sight.fitting(other))
    if form == "as_many":
        return Fact(sight.say("set_equality_as_many", one, others=forms(other)["things"]), _yes_no(many == others))
    more = sight.rng.choice(("more", "fewer"))
    question = sight.say("set_equality_more", one, others=forms(other)["things"], more=sight.word(more))
    return Fact(question, _yes_no(many > others if more == "more" else many < others))


def _same_pair(sight: SceneView, attribute: str) -> Fact | None:
    """Things that are told by other attributes than the one compared, or by a superlative."""
    looks: list[Look] = [("kind",), ("size", "kind")] if attribute == "colour" else [("colour",), ("size", "colour")]
    drawn = [sight.one(looks) if sight.rng.random() < 0.5 else sight.the_extreme(sight.phrase()) for _ in range(2)]
    pair = [each for each in drawn if each and attribute not in each.told]
    if len(pair) < 2 or pair[0].thing is pair[1].thing:
        return None
    question = sight.say("same_pair", a=pair[0].text, b=pair[1].text, attribute=attribute)
    return Fact(question, _yes_no(len({getattr(each.thing, attribute) for each in pair}) == 1))


def _same_extremes(sight: SceneView, attribute: str) -> Fact | None:
    first, last = sight.rng.sample(list(SUPERLATIVES), 2)
    phrase = sight.phrase([look for look in _MOSTLY_ANY if attribute not in look])
    one, other = (ranked(sight.fitting(phrase), superlative) for superlative in (first, last))
    if one is None or other is None or one[0] is other[0]:
        return None
    question = sight.say("same_extremes", phrase, first=sight.word(first), last=sight.word(last), attribute=attribute)
    return Fact(question, _yes_no(getattr(one[0], attribute) == getattr(other[0], attribute)))


# ---------------------------------------------------------------- a thing, or what it is like


def _relation_attribute(sight: SceneView) -> Fact | None:
    """More than one thing is of the phrase, so that the relation is needed."""
    phrase = sight.phrase()
    found = _there(sight.the_beside(phrase, sight.one()))
    return sight.ask(found, ("colour", "kind", "colour", "kind", "size")) if len(sight.fitting(phrase)) > 1 else None


def _superlative(sight: SceneView) -> Fact | None:
    return sight.ask(sight.the_extreme(sight.phrase()), ("colour", "kind", "name"))


def _odd_one_out(sight: SceneView) -> Fact | None:
    attribute = sight.rng.choice(COLOUR_KIND)
    phrase = sight.phrase([look for look in GROUPS if attribute not in look])
    group = sight.fitting(phrase)
    counts = Counter(getattr(thing, attribute) for thing in group)
    if len(group) < 3 or len(counts) != 2 or 1 not in counts.values():
        return None
    (odd,) = (thing for thing in group if counts[getattr(thing, attribute)] == 1)
    text = sight.word("the_odd", **forms(phrase), attribute=attribute)
    return sight.ask(Referent(text, odd, told(phrase)), (attribute, "name"))


def _ordering(sight: SceneView) -> Fact | None:
    attribute, superlative = sight.rng.choice(COLOUR_KIND), sight.rng.choice(list(SUPERLATIVES))
    phrase = sight.phrase([look for look in GROUPS if attribute not in look])
    group = sight.fitting(phrase)
    order = ranked(group, superlative, len(group)) if 2 <= len(group) <= 4 else None
    values = [str(getattr(thing, attribute)) for thing in order or []]
    if len({*values}) < 2:
        return None
    question = sight.say(f"ordering_{attribute}", phrase, order=sight.word(f"order_{superlative}"))
    return Fact(question, ", ".join(values))


def _beside_beside(sight: SceneView) -> Fact | None:
    """What is above the thing left of the red cup: the red cup itself is never meant."""
    anchor = sight.one()
    inner = _there(sight.the_beside(sight.phrase(_MOSTLY_ANY), anchor))
    outer = _there(sight.the_beside(sight.phrase(_MOSTLY_ANY), inner))
    return sight.ask(outer, COLOUR_KIND) if anchor and outer and outer.thing is not anchor.thing else None


def _beside_extreme(sight: SceneView) -> Fact | None:
    extreme = sight.the_extreme(sight.phrase())
    return sight.ask(_there(sight.the_beside(sight.phrase(_MOSTLY_ANY), extreme)), COLOUR_KIND)


def _extreme_beside(sight: SceneView) -> Fact | None:
    superlative, stood = sight.rng.choice(list(SUPERLATIVES)), sight.beside(sight.phrase(), sight.one())
    order = ranked(stood.found, superlative) if stood else None
    if stood is None or order is None:
        return None
    words = {**forms(stood.phrase), "superlative": sight.word(superlative), "relation": stood.relation}
    text = sight.word("the_extreme_beside", **words, b=stood.anchor)
    return sight.ask(Referent(text, order[0], told(stood.phrase)), COLOUR_KIND)


def _nearest(sight: SceneView) -> Fact | None:
    phrase, anchor = sight.phrase(_MOSTLY_ANY), sight.one()
    found = nearest(sight.fitting(phrase), anchor.thing) if anchor and anchor.thing else None
    if anchor is None or found is None:
        return None
    text = sight.word("the_nearest", **forms(phrase), b=anchor.text)
    bare = f"{sight.word('nearest_to')} {anchor.text}" if phrase.form == "anything" else ""
    return sight.ask(Referent(text, found, told(phrase), bare), ("colour", "kind", "name"))


def _nearest_which(sight: SceneView) -> Fact | None:
    three = sight.described(3, [COLOUR_KIND])
    things = [each.thing for each in three if each.thing]
    found = nearest(things[:2], things[2]) if three else None
    if found is None:
        return None
    a, b, c = (each.text for each in three)
    return Fact(sight.say("nearest_which", a=a, b=b, c=c), name(found))


def _same_other(sight: SceneView) -> Fact | None:
    attribute, anchor = sight.rng.choice(COLOUR_KIND), sight.one()
    if anchor is None:
        return None
    value = getattr(anchor.thing, attribute)
    others = [each for each in sight.things if getattr(each, attribute) == value and each is not anchor.thing]
    return Fact(sight.say("same_other", a=anchor.text, attribute=attribute), name(others[0])) if len(others) == 1 else None


# ---------------------------------------------------------------- nothing, in the words that else ask for something


def _none_described(sight: SceneView) -> Fact | None:
    return sight.ask(_nobody(sight), COLOUR_KIND)


def _none_beside(sight: SceneView) -> Fact | None:
    found = sight.the_beside(sight.phrase(), sight.one())
    return sight.ask(found, ("colour", "kind", "name")) if found and not found.thing else None


def _none_beside_missing(sight: SceneView) -> Fact | None:
    return sight.ask(sight.the_beside(sight.phrase(_MOSTLY_ANY), _nobody(sight)), ("colour", "kind", "name"))


def _none_extreme(sight: SceneView) -> Fact | None:
    phrase = sight.missing([("kind",), ("colour",), ("size", "kind")])
    if phrase is None:
        return None
    superlative = sight.word(sight.rng.choice(list(SUPERLATIVES)))
    text = sight.word("the_extreme", **forms(phrase), superlative=superlative)
    return sight.ask(Referent(text, None, told(phrase)), COLOUR_KIND)


def _nobody(sight: SceneView) -> Referent | None:
    phrase = sight.missing(_ASKED)
    return Referent(f"the {phrase.text}", None, told(phrase)) if phrase else None


# ---------------------------------------------------------------- helpers


def _compared(relation: str, pair: list[Referent]) -> bool | None:
    things = [each.thing for each in pair if each.thing]
    return holds(relation, *things) if len(things) == 2 else None


def _there(referent: Referent | None) -> Referent | None:
    return referent if referent and referent.thing else None


def _yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


def _of_each(*forms: Callable[..., Fact | None]) -> list[Form]:
    return [partial(form, attribute=attribute) for form in forms for attribute in COLOUR_KIND]


FAMILIES: dict[str, tuple[Form, ...]] = {
    "existence": tuple(partial(form, look=look) for form in (_existence, _existence_beside) for look in _ASKED),
    "relation_attribute": (_relation_attribute,),
    "count": (_count, _count_beside),
    "comparison": (_comparison, _comparison_which),
    "superlative": (_superlative,),
    "set_equality": (*_of_each(_all_same, _all_are), *(partial(_numbers, form=form) for form in ("as_many", "more") * 2)),
    "odd_one_out": (_odd_one_out,),
    "ordering": (_ordering,),
    "two_hop": (_beside_beside, _beside_extreme, _extreme_beside),
    "none": (_none_described, _none_beside, _none_beside, _none_beside_missing, _none_extreme),
    "nearest": (_nearest, _nearest_which),
    "same": (_same_other, _same_other, *_of_each(_same_pair, _same_extremes)),
}
