"""Families of compositional questions about a whole scene: each form draws a random question with its answer.

A form returns None if its draw fails or the answer would be ambiguous, so it must be tried several times. A form uses the same
wordings for "yes" and for "no".
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
    SceneSampler,
    attributes_of,
    forms_of,
    holds,
    name,
    nearest,
    ranked,
)
from roi_agent.model.toy.questions.families import COUNTS, SUPERLATIVES, Fact, yes_or_no

Form = Callable[[SceneSampler], Fact | None]

_SWAP_CHANCE = 0.5  # share of phrases with a swapped attribute, where phrases may be false
_RELATIONS = (*DIRECTIONS, "larger_than", "smaller_than")
_ASKED: tuple[Look, ...] = (("kind",), COLOUR_KIND, COLOUR_KIND, ("size", "kind"), ("size", *COLOUR_KIND), ("colour",))
_COUNTED: tuple[Look, ...] = ((), *[("kind",), ("colour",), ("size",)] * 3, COLOUR_KIND, ("size", "colour"), ("size", "kind"))
_MOSTLY_ANY: tuple[Look, ...] = (*[()] * 4, ("kind",), ("colour",), ("size",))


# ---------------------------------------------------------------- yes or no, and how many


def _existence(sampler: SceneSampler, look: Look) -> Fact | None:
    """False phrases are one attribute away from a thing."""
    phrase = sampler.phrase([look], _SWAP_CHANCE)
    return Fact(sampler.question("existence", phrase), yes_or_no(bool(sampler.matching(phrase))))


def _existence_in_relation(sampler: SceneSampler, look: Look) -> Fact | None:
    """False phrases describe a thing elsewhere, or are one attribute away from a thing."""
    related = sampler.related_things(sampler.phrase([look], _SWAP_CHANCE / 2), sampler.unique_thing())
    if related is None:
        return None
    question = sampler.question("existence_relation", related.phrase, relation=related.relation, b=related.anchor)
    return Fact(question, yes_or_no(bool(related.found)))


def _count(sampler: SceneSampler) -> Fact | None:
    phrase = sampler.phrase(_COUNTED, _SWAP_CHANCE / 2)
    return Fact(sampler.question("count", phrase), COUNTS[len(sampler.matching(phrase))])


def _count_in_relation(sampler: SceneSampler) -> Fact | None:
    related = sampler.related_things(sampler.phrase(), sampler.unique_thing(), _RELATIONS)
    if related is None:
        return None
    question = sampler.question("count_relation", related.phrase, relation=related.relation, b=related.anchor)
    return Fact(question, COUNTS[len(related.found)])


def _comparison(sampler: SceneSampler) -> Fact | None:
    relation, pair = sampler.rng.choice(_RELATIONS), sampler.unique_things(2)
    truth = _compared(relation, pair)
    if truth is None:
        return None
    question = sampler.question("comparison", a=pair[0].text, b=pair[1].text, relation=sampler.fill(relation))
    return Fact(question, yes_or_no(truth))


def _comparison_which(sampler: SceneSampler) -> Fact | None:
    relation, pair = sampler.rng.choice(_RELATIONS), sampler.unique_things(2, [COLOUR_KIND])
    truth = _compared(relation, pair)
    if truth is None:
        return None
    question = sampler.question("comparison_which", a=pair[0].text, b=pair[1].text, more=sampler.fill(f"which_{relation}"))
    return Fact(question, pair[not truth].text.removeprefix("the "))


def _all_same(sampler: SceneSampler, attribute: str) -> Fact | None:
    phrase = sampler.phrase([look for look in GROUPS if look and attribute not in look])
    values = [getattr(thing, attribute) for thing in sampler.matching(phrase)]
    if len(values) < 2:
        return None
    return Fact(sampler.question("set_equality_same", phrase, attribute=attribute), yes_or_no(len(set(values)) == 1))


def _all_are(sampler: SceneSampler, attribute: str) -> Fact | None:
    """The value in the question is that of a thing in the group, or of any thing."""
    phrase = sampler.phrase([look for look in GROUPS if look and attribute not in look])
    values = [str(getattr(thing, attribute)) for thing in sampler.matching(phrase)]
    if len(values) < 2:
        return None
    value = sampler.rng.choice([*values, str(getattr(sampler.rng.choice(sampler.things), attribute))])
    question = sampler.question("set_equality_are", phrase, value=value if attribute == "colour" else plural(value))
    return Fact(question, yes_or_no({*values} == {value}))


def _numbers(sampler: SceneSampler, form: str) -> Fact | None:
    """Compare the sizes of two groups that differ in one attribute."""
    look = sampler.rng.choice((("kind",), ("colour",), ("size",)))
    one, other = sampler.phrase([look]), sampler.phrase([look])
    if getattr(one, *look) == getattr(other, *look):
        return None
    many, others = len(sampler.matching(one)), len(sampler.matching(other))
    if form == "as_many":
        return Fact(sampler.question("set_equality_as_many", one, others=forms_of(other)["things"]), yes_or_no(many == others))
    more = sampler.rng.choice(("more", "fewer"))
    question = sampler.question("set_equality_more", one, others=forms_of(other)["things"], more=sampler.fill(more))
    return Fact(question, yes_or_no(many > others if more == "more" else many < others))


def _same_pair(sampler: SceneSampler, attribute: str) -> Fact | None:
    """Compare an attribute of two things, which are named by other attributes or by a superlative."""
    looks: list[Look] = [("kind",), ("size", "kind")] if attribute == "colour" else [("colour",), ("size", "colour")]

    def draw() -> Referent | None:
        return sampler.unique_thing(looks) if sampler.rng.random() < 0.5 else sampler.extreme_thing(sampler.phrase())

    pair = [each for each in (draw(), draw()) if each and attribute not in each.attributes]
    if len(pair) < 2 or pair[0].thing is pair[1].thing:
        return None
    question = sampler.question("same_pair", a=pair[0].text, b=pair[1].text, attribute=attribute)
    return Fact(question, yes_or_no(len({getattr(each.thing, attribute) for each in pair}) == 1))


def _same_extremes(sampler: SceneSampler, attribute: str) -> Fact | None:
    first, last = sampler.rng.sample(list(SUPERLATIVES), 2)
    phrase = sampler.phrase([look for look in _MOSTLY_ANY if attribute not in look])
    one, other = (ranked(sampler.matching(phrase), superlative) for superlative in (first, last))
    if one is None or other is None or one[0] is other[0]:
        return None
    question = sampler.question("same_extremes", phrase, first=sampler.fill(first), last=sampler.fill(last), attribute=attribute)
    return Fact(question, yes_or_no(getattr(one[0], attribute) == getattr(other[0], attribute)))


# ---------------------------------------------------------------- a thing or its attribute


def _relation_attribute(sampler: SceneSampler) -> Fact | None:
    """The phrase matches more than one thing, so that the relation is needed."""
    phrase = sampler.phrase()
    found = _existing(sampler.related_thing(phrase, sampler.unique_thing()))
    return sampler.ask(found, ("colour", "kind", "colour", "kind", "size")) if len(sampler.matching(phrase)) > 1 else None


def _superlative(sampler: SceneSampler) -> Fact | None:
    return sampler.ask(sampler.extreme_thing(sampler.phrase()), ("colour", "kind", "name"))


def _odd_one_out(sampler: SceneSampler) -> Fact | None:
    attribute = sampler.rng.choice(COLOUR_KIND)
    phrase = sampler.phrase([look for look in GROUPS if attribute not in look])
    group = sampler.matching(phrase)
    counts = Counter(getattr(thing, attribute) for thing in group)
    if len(group) < 3 or len(counts) != 2 or 1 not in counts.values():
        return None
    (odd,) = (thing for thing in group if counts[getattr(thing, attribute)] == 1)
    text = sampler.fill("the_odd", **forms_of(phrase), attribute=attribute)
    return sampler.ask(Referent(text, odd, attributes_of(phrase)), (attribute, "name"))


def _ordering(sampler: SceneSampler) -> Fact | None:
    attribute, superlative = sampler.rng.choice(COLOUR_KIND), sampler.rng.choice(list(SUPERLATIVES))
    phrase = sampler.phrase([look for look in GROUPS if attribute not in look])
    group = sampler.matching(phrase)
    order = ranked(group, superlative, len(group)) if 2 <= len(group) <= 4 else None
    values = [str(getattr(thing, attribute)) for thing in order or []]
    if len({*values}) < 2:
        return None
    question = sampler.question(f"ordering_{attribute}", phrase, order=sampler.fill(f"order_{superlative}"))
    return Fact(question, ", ".join(values))


def _relation_to_relation(sampler: SceneSampler) -> Fact | None:
    """What is above the thing left of the red cup?  The answer is never the red cup itself."""
    anchor = sampler.unique_thing()
    inner = _existing(sampler.related_thing(sampler.phrase(_MOSTLY_ANY), anchor))
    outer = _existing(sampler.related_thing(sampler.phrase(_MOSTLY_ANY), inner))
    return sampler.ask(outer, COLOUR_KIND) if anchor and outer and outer.thing is not anchor.thing else None


def _relation_to_extreme(sampler: SceneSampler) -> Fact | None:
    extreme = sampler.extreme_thing(sampler.phrase())
    return sampler.ask(_existing(sampler.related_thing(sampler.phrase(_MOSTLY_ANY), extreme)), COLOUR_KIND)


def _extreme_in_relation(sampler: SceneSampler) -> Fact | None:
    superlative = sampler.rng.choice(list(SUPERLATIVES))
    related = sampler.related_things(sampler.phrase(), sampler.unique_thing())
    order = ranked(related.found, superlative) if related else None
    if related is None or order is None:
        return None
    words = {**forms_of(related.phrase), "superlative": sampler.fill(superlative), "relation": related.relation}
    text = sampler.fill("the_extreme_beside", **words, b=related.anchor)
    return sampler.ask(Referent(text, order[0], attributes_of(related.phrase)), COLOUR_KIND)


def _nearest(sampler: SceneSampler) -> Fact | None:
    phrase, anchor = sampler.phrase(_MOSTLY_ANY), sampler.unique_thing()
    found = nearest(sampler.matching(phrase), anchor.thing) if anchor and anchor.thing else None
    if anchor is None or found is None:
        return None
    text = sampler.fill("the_nearest", **forms_of(phrase), b=anchor.text)
    bare = f"{sampler.fill('nearest_to')} {anchor.text}" if phrase.form == "anything" else ""
    return sampler.ask(Referent(text, found, attributes_of(phrase), bare), ("colour", "kind", "name"))


def _nearest_which(sampler: SceneSampler) -> Fact | None:
    three = sampler.unique_things(3, [COLOUR_KIND])
    things = [each.thing for each in three if each.thing]
    found = nearest(things[:2], things[2]) if three else None
    if found is None:
        return None
    a, b, c = (each.text for each in three)
    return Fact(sampler.question("nearest_which", a=a, b=b, c=c), name(found))


def _same_other(sampler: SceneSampler) -> Fact | None:
    attribute, anchor = sampler.rng.choice(COLOUR_KIND), sampler.unique_thing()
    if anchor is None:
        return None
    value = getattr(anchor.thing, attribute)
    others = [each for each in sampler.things if getattr(each, attribute) == value and each is not anchor.thing]
    return Fact(sampler.question("same_other", a=anchor.text, attribute=attribute), name(others[0])) if len(others) == 1 else None


# ---------------------------------------------------------------- nothing, in the wordings of other questions


def _none_described(sampler: SceneSampler) -> Fact | None:
    return sampler.ask(_missing_referent(sampler), COLOUR_KIND)


def _none_in_relation(sampler: SceneSampler) -> Fact | None:
    found = sampler.related_thing(sampler.phrase(), sampler.unique_thing())
    return sampler.ask(found, ("colour", "kind", "name")) if found and not found.thing else None


def _none_in_relation_to_missing(sampler: SceneSampler) -> Fact | None:
    return sampler.ask(sampler.related_thing(sampler.phrase(_MOSTLY_ANY), _missing_referent(sampler)), ("colour", "kind", "name"))


def _none_extreme(sampler: SceneSampler) -> Fact | None:
    phrase = sampler.missing_phrase([("kind",), ("colour",), ("size", "kind")])
    if phrase is None:
        return None
    superlative = sampler.fill(sampler.rng.choice(list(SUPERLATIVES)))
    text = sampler.fill("the_extreme", **forms_of(phrase), superlative=superlative)
    return sampler.ask(Referent(text, None, attributes_of(phrase)), COLOUR_KIND)


def _missing_referent(sampler: SceneSampler) -> Referent | None:
    phrase = sampler.missing_phrase(_ASKED)
    return Referent(f"the {phrase.text}", None, attributes_of(phrase)) if phrase else None


# ---------------------------------------------------------------- helpers


def _compared(relation: str, pair: list[Referent]) -> bool | None:
    things = [each.thing for each in pair if each.thing]
    return holds(relation, *things) if len(things) == 2 else None


def _existing(referent: Referent | None) -> Referent | None:
    return referent if referent and referent.thing else None


def _for_each_attribute(*forms_of: Callable[..., Fact | None]) -> list[Form]:
    return [partial(form, attribute=attribute) for form in forms_of for attribute in COLOUR_KIND]


FAMILIES: dict[str, tuple[Form, ...]] = {
    "existence": tuple(partial(form, look=look) for form in (_existence, _existence_in_relation) for look in _ASKED),
    "relation_attribute": (_relation_attribute,),
    "count": (_count, _count_in_relation),
    "comparison": (_comparison, _comparison_which),
    "superlative": (_superlative,),
    "set_equality": (
        *_for_each_attribute(_all_same, _all_are),
        *(partial(_numbers, form=form) for form in ("as_many", "more") * 2),
    ),
    "odd_one_out": (_odd_one_out,),
    "ordering": (_ordering,),
    "two_hop": (_relation_to_relation, _relation_to_extreme, _extreme_in_relation),
    "none": (_none_described, _none_in_relation, _none_in_relation, _none_in_relation_to_missing, _none_extreme),
    "nearest": (_nearest, _nearest_which),
    "same": (_same_other, _same_other, *_for_each_attribute(_same_pair, _same_extremes)),
}
