"""The forms of sentences that the offline planner understands, and the query that each stands for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from roi_agent.planner.forms import Form
from roi_agent.planner.query import (
    Count,
    Either,
    Exists,
    Extreme,
    Filter,
    Find,
    Holds,
    Is,
    Lies,
    More,
    Noun,
    Ordered,
    Query,
    Relate,
    Same,
    SameSet,
    Shares,
    Tell,
    Unlike,
    Which,
)

# ---------------------------------------------------------------- what the forms build


def _with(thing: Noun, predicates: tuple[Filter | Extreme, ...]) -> Noun | None:
    """The noun narrowed by what is said of it."""
    for each in predicates:
        if isinstance(each, Extreme):
            if thing.pick is not None:
                return None
            thing = replace(thing, pick=each)
        elif isinstance(each, Is) and each.attribute == "kind" and not each.negated:
            if thing.head and thing.head != each.value:
                return None
            thing = replace(thing, head=each.value)
        else:
            thing = replace(thing, filters=(*thing.filters, each))
    return thing


def _find(thing: Noun, predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    found = _with(thing, predicates)
    return Find(found) if found else None


def _tell_where(predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    """ "What is left of the red umbrella?": things that no word names."""
    if all(isinstance(each, Is) for each in predicates):
        return None
    return _find(Noun(plural=not any(isinstance(each, Extreme) for each in predicates)), predicates)


def _holds(thing: Noun, predicates: tuple[Filter | Extreme, ...]) -> Query:
    return Holds(thing, predicates, every=not thing.words.startswith("any"))


def _of_one(attribute: str, thing: Noun) -> Query | None:
    return Tell(attribute, thing)


def _same(first: Noun, attribute: str, second: Noun) -> Query | None:
    return Same(attribute, (first, second)) if attribute in ("colour", "kind", "size") else None


def _same_two(one: str, first: Noun, other: str, second: Noun) -> Query | None:
    return _same(first, one, second) if one == other else None


def _same_all(things: tuple[Noun, ...], attribute: str) -> Query | None:
    """Of several, or of one phrase in the plural; two plurals are two sets."""
    if attribute not in ("colour", "kind", "size"):
        return None
    if len(things) == 2 and all(each.plural and not each.pronoun for each in things):
        return SameSet(attribute, *things)
    return Same(attribute, things)


def _differ(things: tuple[Noun, ...], attribute: str) -> Query | None:
    return Same(attribute, things, negated=True) if attribute in ("colour", "kind", "size") else None


def _count(things: tuple[Noun, ...]) -> Query:
    return Count(things)


def _count_said(thing: Noun, predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    found = _with(thing, predicates)
    return Count((found,)) if found else None


def _count_values(attribute: str, things: tuple[Noun, ...] = (Noun(plural=True),)) -> Query | None:
    return Count(things, attribute) if attribute in ("colour", "kind", "size") else None


def _which(pick: Extreme, things: tuple[Noun, ...]) -> Query | None:
    return Which(things, pick) if len(things) > 1 or things[0].plural or things[0].pronoun else None


def _which_said(things: tuple[Noun, ...], predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    picks = [each for each in predicates if isinstance(each, Extreme)]
    filters = tuple(each for each in predicates if not isinstance(each, Extreme))
    return Which(things, picks[0] if picks else None, filters) if len(picks) < 2 else None


def _ordered(thing: Noun, order: str) -> Query:
    return Ordered(thing, order)


def _ordered_by(attribute: str, thing: Noun, order: str) -> Query:
    return Ordered(thing, order, attribute)


def _more(first: Noun, second: Noun) -> Query:
    return More(first, second, "more")


def _fewer(first: Noun, second: Noun) -> Query:
    return More(first, second, "fewer")


def _equal(first: Noun, second: Noun) -> Query:
    return More(first, second, "equal")


def _elsewhere(how: str, first: Noun, where: Noun) -> Query:
    """More of the same in another place, as in "more flags in image1 than in image2"."""
    looks = tuple(each for each in first.filters if isinstance(each, Is))
    second = replace(first, image=where.image or first.image, filters=(*looks, *where.filters), words=f"those {where.words}")
    return More(first, second, how)


def _which_more(first: Noun, second: Noun) -> Query:
    return More(first, second, "more", which=True)


def _which_fewer(first: Noun, second: Noun) -> Query:
    return More(first, second, "fewer", which=True)


def _touch(first: Noun, second: Noun) -> Query:
    return Holds(first, (Lies("touching", second),))


def _each_other(things: tuple[Noun, ...]) -> Query | None:
    return Holds(things[0], (Lies("touching", things[1]),)) if len(things) == 2 else None


def _odd(thing: Noun) -> Query:
    return Find(replace(thing, filters=(*thing.filters, Unlike())))


def _tell_which(attribute: str, predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    """ "What kind of thing is below the cup?" """
    found = _with(Noun(), predicates)
    return Tell(attribute, found) if found and not all(isinstance(each, Is) for each in predicates) else None


def _either(thing: Noun, first: str, second: str) -> Query:
    return Either(thing, (first, second))


def _sharing(thing: Noun, attribute: str, with_: Noun) -> Query | None:
    if attribute not in ("colour", "kind", "size"):
        return None
    return Find(replace(thing, filters=(*thing.filters, Shares(attribute, with_)), other=True))


def _relate_nouns(things: tuple[Noun, ...]) -> Query | None:
    return Relate(*things) if len(things) == 2 else None


# ---------------------------------------------------------------- the forms, the first that fits counts

_ORDER_VERBS = "list|name|sort|order|arrange|give|say|rank|enumerate"
_FIND_VERBS = "find|locate|show|mark|point|select|highlight|detect|get|identify"
_TABLE: list[tuple[str, Callable[..., Any]]] = [
    # existence
    ("is|are there NP", Exists),
    ("do|can you|we|i see NP", Exists),
    ("see NP", Exists),  # after "can you", which is taken for politeness
    ("do|can you|we|i find NP", Exists),
    ("does|do [the|this] image|picture|scene|photo show|contain|have|include|hold NP", Exists),
    ("has [the|this] image|picture|scene NP", Exists),
    ("is|are NP present|visible|there|shown", Exists),
    ("does|do NP exist", Exists),
    ("can NP be seen|found [here|there]", Exists),
    # quantities compared
    ("are there more NP than NP", _more),
    ("are there fewer|less NP than NP", _fewer),
    ("do you see|count more NP than NP", _more),
    ("do you see|count fewer|less NP than NP", _fewer),
    ("does [the|this] image|picture|scene show|contain|have more NP than NP", _more),
    ("does [the|this] image|picture|scene show|contain|have fewer|less NP than NP", _fewer),
    ("does [the|this] image|picture|scene show|contain|have as many NP as NP", _equal),
    ("are there as many NP as NP", _equal),
    ("are there just|exactly as many NP as NP", _equal),
    ("do you see|count as many NP as NP", _equal),
    ("are there equally many NP and|as NP", _equal),
    ("are|is there the|an same|equal number of NP and|as NP", _equal),
    ("are there more NP than WHERE", lambda thing, where: _elsewhere("more", thing, where)),
    ("are there fewer|less NP than WHERE", lambda thing, where: _elsewhere("fewer", thing, where)),
    ("are there [just|exactly] as many NP as WHERE", lambda thing, where: _elsewhere("equal", thing, where)),
    ("do|does NP outnumber NP", _more),
    ("is the number of NP equal to the number of NP", _equal),
    ("is the number of NP the same as the number of NP", _equal),
    ("is the number of NP larger|greater|higher than the number of NP", _more),
    ("is the number of NP smaller|lower than the number of NP", _fewer),
    ("which are there more of [,] NP or NP", _which_more),
    ("which are there fewer of [,] NP or NP", _which_fewer),
    ("what are there more of [,] NP or NP", _which_more),
    ("are there more NP or NP", _which_more),
    # counting
    ("how many [different] ATTR are there", _count_values),
    ("how many [different] ATTR do|does NPS have", _count_values),
    ("how many NPS are|is there", _count),
    ("how many NPS are|is visible|shown|present", _count),
    ("how many NPS do|can you|we|i see", _count),
    ("how many NPS does [the|this] image|picture|scene show|contain|have|hold|include", _count),
    ("how many NP are|is there PRED", _count_said),
    ("how many NP do|can you|we|i see PRED", _count_said),
    ("how many of NP are|is PRED", _count_said),
    ("how many NP are|is PRED", _count_said),
    ("how many NP lie|lies|stand|stands|sit|have|has|touch PRED", _count_said),
    ("how many NPS", _count),
    ("count NPS", _count),
    ("what is the number of NPS", _count),
    ("give [me] the number of NPS", _count),
    ("the number of NPS", _count),
    # the odd one out
    ("which|what [one] of NP is the odd one out", _odd),
    ("which|what NP is the odd one out", _odd),
    ("what is the odd one out among|of NP", _odd),
    ("which|what [one|thing] is the odd one out", lambda: _odd(Noun(plural=True))),
    # sharing
    ("which|what NP has|have [the] same ATTR as NP", _sharing),
    ("besides NP [,] which|what NP is|are|has|have [of] that ATTR", lambda with_, thing, attr: _sharing(thing, attr, with_)),
    ("which|what NP shares|share the|its|their ATTR with NP", lambda thing, attribute, with_: _sharing(thing, attribute, with_)),
    ("which|what NP shares|share the|its|their ATTR of NP", _sharing),
    ("which|what NP is|are [of|in] the same ATTR as NP", _sharing),
    ("do|does|have|has NP have [got] the same ATTR as NP", _same),
    ("does|do NP share its|their|the ATTR with NP", lambda first, attribute, second: _same(first, attribute, second)),
    ("is|are NP [of|in] the same ATTR as NP", _same),
    ("do|does|have NPS [all] have [of] the same ATTR", _same_all),
    ("do|does|have NPS [all] share the|one|a same ATTR", _same_all),
    ("do|does|have NPS [all] share the|one|a ATTR", _same_all),
    ("have NPS the same ATTR", _same_all),
    ("are|is NPS [all] [of|in] the|one same ATTR", _same_all),
    ("are|is NPS [all] of one ATTR", _same_all),
    ("is the ATTR of NPS the same", lambda attribute, things: _same_all(things, attribute)),
    ("is the ATTR of NP the same as the ATTR of NP", _same_two),
    ("is the ATTR of NP the same as that of NP", lambda attribute, first, second: _same(first, attribute, second)),
    ("do|does|have NPS [all] have different ATTR", _differ),
    ("are NPS [all] of different ATTR", _differ),
    ("do|does NPS [all] agree in ATTR", _same_all),
    ("do NPS differ in ATTR", _differ),
    ("do|does NP differ in ATTR from NP", lambda first, attribute, second: _differ((first, second), attribute)),
    # orders
    (f"{_ORDER_VERBS}|tell [me|us] the ATTR of NP ORDER", _ordered_by),
    (f"{_ORDER_VERBS} [me|us] NP by ATTR ORDER", lambda thing, attribute, order: Ordered(thing, order, attribute)),
    (f"{_ORDER_VERBS} [me|us] NP ORDER by ATTR", lambda thing, order, attribute: Ordered(thing, order, attribute)),
    (f"{_ORDER_VERBS} [me|us] NP ORDER", _ordered),
    ("what|which ATTR are|have|do NP have ORDER", _ordered_by),
    ("what|which ATTR are|have NP ORDER", _ordered_by),
    ("what are the ATTR of NP ORDER", _ordered_by),
    ("what are|is NP ORDER", _ordered),
    ("ORDER [,] what|which ATTR are|have NP", lambda order, attribute, thing: Ordered(thing, order, attribute)),
    ("ORDER [,] what|which ATTR do NP have", lambda order, attribute, thing: Ordered(thing, order, attribute)),
    ("ORDER [,] what are the ATTR of NP", lambda order, attribute, thing: Ordered(thing, order, attribute)),
    (f"ORDER [,] {_ORDER_VERBS} the ATTR of NP", lambda order, attribute, thing: Ordered(thing, order, attribute)),
    (f"ORDER [,] {_ORDER_VERBS} NP", lambda order, thing: Ordered(thing, order)),
    # choices
    ("which|what [one] is MORE [,] NPS", _which),
    ("which|what [one] of NPS is MORE", lambda things, pick: _which(pick, things)),
    ("which|what [one] lies|stands MORE [,] NPS", _which),
    ("which|what NP is|are|lies|stands MORE", lambda thing, pick: _find(thing, (pick,))),
    ("of NPS [,] which|what [one] is MORE", lambda things, pick: _which(pick, things)),
    ("NPS [,] which|what [one] is MORE", lambda things, pick: _which(pick, things)),
    ("which|what [one] of NPS is|are PRED", _which_said),
    ("is|are NP small , medium or large", lambda thing: Tell("size", thing)),
    ("is|are NP ADJ or ADJ", _either),
    # attributes
    ("what|which ATTR is|are NP", _of_one),
    ("of what|which ATTR is|are NP", _of_one),
    ("what|which ATTR does|do|has|have NP have", _of_one),
    ("what|which ATTR has|have NP", _of_one),
    ("what is|are the ATTR of NP", _of_one),
    ("what ATTR NP is|are", _of_one),
    ("what ATTR NP has|have", _of_one),
    ("name|give|say|tell [me] the ATTR of NP", _of_one),
    ("the ATTR of NP", _of_one),
    ("how large|big|small is|are NP", lambda thing: Tell("size", thing)),
    ("where is|are NP relative to NP", Relate),
    ("where is|are NP in relation to NP", Relate),
    ("where [in|on] [the|this] [image|picture] is|are NP", lambda thing: Tell("place", thing)),
    ("in|on which|what part of the image|picture|scene is|are NP", lambda thing: Tell("place", thing)),
    ("how does|do NP lie|stand to NP", Relate),
    ("how far [away] is NP from NP", Relate),
    ("what is the relation between|of NPS", _relate_nouns),
    ("compare NP with|to NP", Relate),
    ("compare NPS", _relate_nouns),
    # relations and predicates that hold or not
    ("do|does NP touch|overlap NP", _touch),
    ("do|are NPS touch|touching|overlap|overlapping [each] [other]", _each_other),
    ("is|are NP [all] PRED", _holds),
    ("does|do NP lie|stand|sit PRED", _holds),
    ("is it true that NP is|are PRED", _holds),
    ("what|which ATTR is|are|has|have|lies|stands PRED", _tell_which),
    ("what|which ATTR do|can you see PRED", _tell_which),
    ("NP is|are PRED", _holds),
    # descriptions
    ("what do you see", lambda: Tell("name", Noun(plural=True))),
    ("what is|are there", lambda: Tell("name", Noun(plural=True))),
    ("what do you see PRED", _tell_where),
    ("what [else|thing|things|object|objects] is|are|lies|stands|sits [there] PRED", _tell_where),
    ("which thing|things|object|objects [is|are|lies|stands] PRED", _tell_where),
    ("which|what NP is|are|lies|stands|lie|stand PRED", _find),
    ("what is|are in|on the|this image|picture|scene", lambda: Tell("name", Noun(plural=True))),
    ("what does the image|picture|scene show|contain", lambda: Tell("name", Noun(plural=True))),
    ("what|who is|are NP", lambda thing: Tell("name", thing)),
    ("describe|name|list NP", lambda thing: Tell("name", thing)),
    ("[something] about NP", lambda thing: Tell("name", thing)),  # after "tell me"
    ("name|give|tell|say [me] the colour and [the] kind of NP", Find),
    ("what is|are the colour and [the] kind of NP", Find),
    ("describe the image|picture|scene", lambda: Tell("name", Noun(plural=True))),
    (f"{_FIND_VERBS} [me|at|out] NP", Find),
    ("which|what NP", Find),
]  # fmt: skip
FORMS = [Form.of(text, build) for text, build in _TABLE]
