"""Answers to queries: one function per kind of question, with the things that a finder finds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

from roi_agent.planner.finder import Finder
from roi_agent.planner.language import number
from roi_agent.planner.query import (
    Attribute,
    Count,
    Either,
    Exists,
    Extreme,
    Filter,
    Find,
    Holds,
    Is,
    More,
    Noun,
    Ordered,
    Query,
    Relate,
    Same,
    SameSet,
    Verbatim,
    Which,
)
from roi_agent.planner.statements import Statement, handles_of, join_words, none_found, without_determiner, yes_no
from roi_agent.planner.steps import Call, Steps, Stopped, call, checked, handles_in
from roi_agent.planner.things import Missing, Thing

_SIDES = ("top", "bottom", "left", "right", "middle")


def answer(query: Query, finder: Finder) -> Steps[Statement]:
    """Answer a query; a missing thing is an answer too.  Raises Stopped."""
    finder.doubts, finder.measured_against = [], []
    try:
        statement = yield from _answer(query, finder)
    except Missing as missing:
        statement = none_found(missing.noun)
    return replace(statement, doubts=tuple(dict.fromkeys(finder.doubts)))


@singledispatch
def _answer(query: Any, finder: Finder) -> Steps[Statement]:
    raise AssertionError(f"no answer for {type(query).__name__}")


# ---------------------------------------------------------------- which things


@_answer.register
def _exists(query: Exists, finder: Finder) -> Steps[Statement]:
    try:
        things = yield from finder.find(query.noun)
    except Missing as missing:
        return Statement(f"no, no {without_determiner(missing.noun)} was found", (), False)
    if not things:
        return Statement(f"no, no {without_determiner(query.noun)} was found", (), False)
    wanted = query.noun.number
    if wanted is not None and len(things) != wanted:
        return Statement(f"no, {number(len(things))}", handles_of(things), False)
    return Statement("yes", handles_of(things), True)


@_answer.register
def _find(query: Find, finder: Finder) -> Steps[Statement]:
    things = yield from finder.find(query.noun)
    return (yield from _named(things, query.noun, finder))


@_answer.register
def _which(query: Which, finder: Finder) -> Steps[Statement]:
    """Answer with the words of the question if it names the candidates."""
    names: dict[str, str] = {}
    things: list[Thing] = []
    for noun in query.nouns:
        found = yield from finder.find(noun)
        if not found and len(query.nouns) > 1:
            raise Missing(noun)
        things += [thing for thing in found if thing not in things]
        if len(query.nouns) > 1 and len(found) == 1:
            names[found[0].handle] = found[0].handle if noun.handles else without_determiner(noun)
    for filter in query.filters:
        things = yield from finder.passing(things, filter)
    if query.pick is not None:
        things = yield from finder.first(things, query.pick)
    if things and all(thing.handle in names for thing in things):
        named = [names[thing.handle] for thing in things]
        return Statement(join_words(named), handles_of(things), named[0] if len(named) == 1 else named)
    return (yield from _named(things, query.nouns[0], finder))


def _named(things: list[Thing], noun: Noun, finder: Finder) -> Steps[Statement]:
    if not things:
        return none_found(noun)
    if finder.can_ask:
        yield from finder.learn("kind", things)
        yield from finder.learn("colour", things)
    words = [thing.short for thing in things]
    text = words[0] if len(things) == 1 else join_words([f"{thing.short} ({thing.handle})" for thing in things])
    return Statement(text, handles_of(things), words[0] if len(words) == 1 else words)


@_answer.register
def _ordered(query: Ordered, finder: Finder) -> Steps[Statement]:
    things = yield from finder.find(query.noun)
    if not things:
        return none_found(query.noun)
    things = yield from finder.ordered(things, query.order)
    by_name = ("kind", "colour") if finder.can_ask else ()
    for attribute in by_name if query.attribute == "name" else (query.attribute,):
        yield from finder.learn(attribute, things)
    values = [thing.short if query.attribute == "name" else thing.facts[query.attribute] for thing in things]
    return Statement(", ".join(values), handles_of(things), values)


# ---------------------------------------------------------------- numbers


@_answer.register
def _count(query: Count, finder: Finder) -> Steps[Statement]:
    """Count things; the count is zero if a thing that a filter refers to is missing."""
    things: dict[str, Thing] = {}
    for noun in query.nouns:
        try:
            found = yield from finder.find(noun)
        except Missing:
            found = []
        things |= {thing.handle: thing for thing in found}
    if query.of is None:
        return Statement(number(len(things)), tuple(things), len(things))
    yield from finder.learn(query.of, list(things.values()))
    values = list(dict.fromkeys(thing.facts[query.of] for thing in things.values()))
    return Statement(f"{number(len(values))}: {join_words(values)}" if values else "none", tuple(things), len(values))


@_answer.register
def _more(query: More, finder: Finder) -> Steps[Statement]:
    counts = []
    for noun in (query.first, query.second):
        counts.append((yield from finder.find(noun)))
    first, second = (len(things) for things in counts)
    handles = handles_of([*counts[0], *counts[1]])
    counts_text = f"{without_determiner(query.first)}: {number(first)}, {without_determiner(query.second)}: {number(second)}"
    if query.which:
        if first == second:
            return Statement(f"neither, {counts_text}", handles, "neither")
        name = without_determiner(query.first if (first > second) == (query.how == "more") else query.second)
        return Statement(name, handles, name)
    is_true = {"more": first > second, "fewer": first < second, "equal": first == second}[query.how]
    return Statement(f"{yes_no(is_true)}, {counts_text}", handles, is_true)


# ---------------------------------------------------------------- attributes


@_answer.register
def _tell(query: Attribute, finder: Finder) -> Steps[Statement]:
    things = yield from finder.find(query.noun)
    if not things:
        return none_found(query.noun)
    if query.attribute == "place" and "select_regions" in finder.tools:
        yield from _place(things)
    yield from finder.learn(query.attribute, things)
    values = [thing.facts[query.attribute] for thing in things]
    if len(set(values)) == 1:
        return Statement(values[0], handles_of(things), values[0])
    return Statement(join_words([f"{value} ({thing.handle})" for value, thing in zip(values, things, strict=True)]), (), values)


def _place(things: Sequence[Thing]) -> Steps[None]:
    """Measure the place of things: the middle, or one of the quarters."""
    handles = [thing.handle for thing in things]
    replies = yield [
        Call("select_regions", {"regions": handles, "place": side}, f"See which lie in the {side}.") for side in _SIDES
    ]
    selected = [checked("select_regions", reply).data["selected"] for reply in replies]
    for thing in things:
        sides = [side for side, found in zip(_SIDES, selected, strict=True) if thing.handle in found]
        thing.facts["place"] = "middle" if "middle" in sides else " ".join(sides)


@_answer.register
def _either(query: Either, finder: Finder) -> Steps[Statement]:
    things = yield from finder.find(query.noun)
    if not things:
        return none_found(query.noun)
    if "choose_answer" not in finder.tools:
        raise Stopped("I cannot choose between answers without the tool choose_answer and a region model")
    question = f"Is <{things[0].handle}> {' or '.join(query.options)}?"
    reply = yield from call("choose_answer", "Choose the likelier.", question=question, options=list(query.options))
    return Statement(reply.data["text"], (things[0].handle,), reply.data["text"])


@_answer.register
def _same(query: Same, finder: Finder) -> Steps[Statement]:
    things = yield from finder.find_all(query.nouns)
    if not things:
        return none_found(query.nouns[0])
    yield from finder.learn(query.attribute, things)
    values = list(dict.fromkeys(thing.facts[query.attribute] for thing in things))
    is_true = (len(values) == len(things)) if query.negated else len(values) == 1
    return Statement(f"{yes_no(is_true)}, {join_words(values)}", handles_of(things), is_true)


@_answer.register
def _same_set(query: SameSet, finder: Finder) -> Steps[Statement]:
    values = []
    everything: list[Thing] = []
    for noun in (query.first, query.second):
        things = yield from finder.find(noun)
        if not things:
            raise Missing(noun)
        yield from finder.learn(query.attribute, things)
        values.append(sorted({thing.facts[query.attribute] for thing in things}))
        everything += things
    is_true = values[0] == values[1]
    return Statement(
        f"{yes_no(is_true)}, {join_words(values[0])} against {join_words(values[1])}", handles_of(everything), is_true
    )


# ---------------------------------------------------------------- what holds


@_answer.register
def _holds(query: Holds, finder: Finder) -> Steps[Statement]:
    things = yield from finder.find(query.noun)
    if not things and not query.noun.definite and not query.noun.plural:  # "is a star left of the cup?"
        return Statement(f"no, no {without_determiner(query.noun)} was found", (), False)
    if not things:
        return none_found(query.noun)
    kept = things
    filters = [each for each in query.predicates if not isinstance(each, Extreme)]
    for filter in filters:
        kept = yield from finder.passing(kept, filter)
    for pick in query.predicates:
        if isinstance(pick, Extreme):
            best = yield from finder.first((yield from _rivals(query.noun, filters, finder)), pick)
            kept = [thing for thing in kept if thing in best]
    is_true = len(kept) == len(things) if query.every else bool(kept)
    about = things if query.every else kept
    handles = dict.fromkeys((*handles_of(about), *finder.measured_against))
    return Statement(yes_no(is_true), tuple(handles), is_true)


def _rivals(noun: Noun, filters: Sequence[Filter], finder: Finder) -> Steps[list[Thing]]:
    """Find the things that "the largest" compares: those of the named kind, else everything."""
    kinds = [each.value for each in filters if isinstance(each, Is) and each.attribute == "kind" and not each.negated]
    rest = tuple(each for each in filters if not (isinstance(each, Is) and each.attribute == "kind"))
    return (yield from finder.find(replace(Noun(plural=True), head=kinds[0] if kinds else "", filters=rest, image=noun.image)))


@_answer.register
def _relate(query: Relate, finder: Finder) -> Steps[Statement]:
    things = []
    for noun in (query.first, query.second):
        found = yield from finder.find(noun)
        if not found:
            raise Missing(noun)
        things.append(found[0])
    if "compare_regions" not in finder.tools:
        raise Stopped("I cannot measure without the tool compare_regions")
    reply = yield from call("compare_regions", "Measure.", first=things[0].handle, second=things[1].handle)
    return Statement(reply.text, handles_of(things), reply.text)


@_answer.register
def _verbatim(query: Verbatim, finder: Finder) -> Steps[Statement]:
    if "ask_about_regions" not in finder.tools:
        raise Stopped("I cannot ask about regions without the tool ask_about_regions and a region model")
    reply = yield from call("ask_about_regions", "Pass the question to the region model.", question=query.question)
    return Statement(reply.data["text"], handles_in(query.question), reply.data["text"])
