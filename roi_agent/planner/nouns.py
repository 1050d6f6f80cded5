"""Noun phrases: "the second largest star left of the blue cup", "the thing in the top right that is not red", "them".

Every function parses a span of words and returns None if it does not match. All are pure and cached, so trying many spans of a
sentence is cheap.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from roi_agent.planner.language import COLOURS, GENERIC, NUMBERS, PRONOUNS, SIZES, is_plural, singular
from roi_agent.planner.noun_parts import Words, filtered, image_parts, look_parts, place_parts, superlative_at
from roi_agent.planner.query import Extreme, Filter, Is, Lies, Noun, Shares, Unlike
from roi_agent.planner.vocabulary import (
    ARTICLES,
    FAR,
    NEAR,
    NO_HEADS,
    RELATION_WORDS,
    RELATIVE,
    SHARED,
    SUPERLATIVES,
)


@lru_cache(maxsize=4096)
def noun(words: Words) -> Noun | None:
    """Parse all words as one noun phrase."""
    if not words or len(words) > 40:
        return None
    rest, definite, other = _determined(words)
    if not rest:
        return None
    if rest[0].startswith("<"):
        tail = _modifiers(rest[1:], Noun(handles=(rest[0].strip("<>"),), definite=True))
        return replace(tail, words=rest[0]) if tail else None
    pronoun = rest[0] in PRONOUNS
    if pronoun:
        rest = rest[1:]
    count = NUMBERS.index(rest[0]) if rest[1:] and rest[0] in NUMBERS[2:] else None
    start = Noun(definite=definite, other=other, pronoun=pronoun, number=count)
    rest = rest[1:] if count else rest
    found = _adjectives(rest, start)
    return replace(found, words=" ".join(words)) if found else None


@lru_cache(maxsize=4096)
def nouns(words: Words) -> tuple[Noun, ...] | None:
    """Parse one or more noun phrases joined by commas, "and" or "or"."""
    if single := noun(words):
        return (single,)
    joints = [i for i, word in enumerate(words) if word in (",", "and", "or")]
    for joint in joints:
        head = noun(words[:joint])
        after = joint + 1 + (words[joint : joint + 1] == (",",) and words[joint + 1 : joint + 2] in (("and",), ("or",)))
        tail = nouns(words[after:]) if head else None
        if head and tail:
            return (_completed(head, tail[-1]), *tail)
    return None


def _completed(first: Noun, last: Noun) -> Noun:
    """ "the highest" in "the highest and the leftmost star" means the highest star."""
    if first.head or first.filters or first.pick is None or first.words.split()[-1] not in SUPERLATIVES:
        return first
    looks = tuple(each for each in last.filters if isinstance(each, Is))
    return replace(first, head=last.head, filters=looks, plural=last.plural)


@lru_cache(maxsize=4096)
def predicates(words: Words) -> tuple[Filter | Extreme, ...] | None:
    """Parse a predicate after "is": "red", "not left of the cup", "a large star", "the largest", "in the middle"."""
    if not words:
        return None
    negated = words[0] == "not"
    rest = words[1:] if negated else words
    plain = _modifiers(rest, Noun())
    found: tuple[Filter | Extreme, ...] = ()
    if plain is not None:
        found = (*plain.filters, *([plain.pick] if plain.pick else []))
    elif (named := noun(rest)) and (named.plural or named.pick or rest[0] in ("a", "an")) and not named.handles:
        kind = (Is("kind", named.head),) if named.head else ()
        found = (*kind, *named.filters, *([named.pick] if named.pick else []))
    if not found or (negated and len(found) > 1):
        return None
    first = found[0]
    if not negated:
        return found
    return None if isinstance(first, Extreme) else (replace(first, negated=not first.negated),)


def place(words: Words) -> Noun | None:
    """Parse a place as a noun without a head: "in image2", "on the left", "below the cup"."""
    found = _modifiers(words, Noun())
    is_place = found is not None and found.pick is None and (found.image or found.filters)
    return replace(found, words=" ".join(words)) if found and is_place else None


def superlative(words: Words) -> Extreme | None:
    """ "largest", "the second largest", "furthest to the left", "nearest to the cup"."""
    found = _modifiers(words, Noun())
    return found.pick if found and found.pick and not found.filters else None


def _determined(words: Words) -> tuple[Words, bool, bool]:
    definite = other = False
    rest = words
    while rest and (rest[0] in ARTICLES or rest[0] == "other" or (rest[0] == "one" and definite and rest[1:])):
        definite |= rest[0] == "the"
        other |= rest[0] == "other"
        rest = rest[1:]
    return rest, definite, other


def _adjectives(words: Words, so_far: Noun) -> Noun | None:
    """Colours, sizes and superlatives in any order, then the head."""
    if words:
        word, rest = words[0], words[1:]
        if word in COLOURS and (found := _adjectives(rest, filtered(so_far, Is("colour", word)))):
            return found
        if word in SIZES and (found := _adjectives(rest, filtered(so_far, Is("size", SIZES[word])))):
            return found
        if word in ("and", ",") and so_far.filters and (found := _adjectives(rest, so_far)):
            return found
        if word.startswith("non-") and (colour := word[4:]) in COLOURS:
            return _adjectives(rest, filtered(so_far, Is("colour", colour, True)))
        if so_far.pick is None and (picked := superlative_at(words)):
            extreme, after = picked
            if found := _adjectives(after, replace(so_far, pick=extreme)):
                return found
        if so_far.pick is None and word in ("nearest", "closest") and (found := _nearest(rest, so_far)):
            return found
    return _headed(words, so_far)


def _nearest(words: Words, so_far: Noun) -> Noun | None:
    """ "the nearest star to the cup": the head stands between."""
    for i in range(len(words)):
        if words[i] == "to" and (to := noun(words[i + 1 :])):
            return _adjectives(words[:i], replace(so_far, pick=Extreme("nearest first", 1, to)))
    return None


def _headed(words: Words, so_far: Noun) -> Noun | None:
    """Parse the head of a noun phrase with its modifiers."""
    bare = bool(so_far.filters) or so_far.pick is not None or so_far.pronoun
    for length in range(0 if bare else 1, 5):
        head, rest = words[:length], words[length:]
        if len(head) < length or any(word in NO_HEADS or word.startswith("<") for word in head):
            break
        if head and any(word in COLOURS or word in SUPERLATIVES for word in head):
            break
        last = head[-1] if head else ""
        named = " ".join((*head[:-1], singular(last))) if head else ""
        generic = len(head) == 1 and singular(last) in GENERIC
        started = replace(so_far, head="" if generic else named, plural=is_plural(last) or so_far.plural)
        if generic and rest[:2] == ("in", rest[1] if len(rest) > 1 else "") and len(rest) == 2 and rest[1].startswith("<"):
            return Noun(handles=(rest[1].strip("<>"),), definite=True)
        if (found := _modifiers(rest, started)) is not None:
            return found
    return None


@lru_cache(maxsize=8192)
def _modifiers(words: Words, so_far: Noun) -> Noun | None:
    """Parse the modifiers after the head, up to the last word."""
    if not words:
        return so_far
    for found, rest in _parts(words, so_far):
        if (done := _modifiers(rest, found)) is not None:
            return done
    return None


def _parts(words: Words, so_far: Noun) -> Iterator[tuple[Noun, Words]]:
    """Yield every parse of the first modifier, with the remaining words."""
    for phrase in RELATIVE:
        if words[: len(phrase)] == phrase and len(words) > len(phrase):
            yield so_far, words[len(phrase) :]
    if words[0] == "not":
        for found, rest in _parts(words[1:], Noun()) if words[1:] else ():
            if len(found.filters) == 1 and found.pick is None:
                only = found.filters[0]
                yield filtered(so_far, replace(only, negated=not only.negated)), rest
        return
    yield from look_parts(words, so_far)
    yield from place_parts(words, so_far)
    yield from image_parts(words, so_far)
    yield from _shared(words, so_far)
    yield from _unlike(words, so_far)
    yield from _nearness(words, so_far)
    yield from _lies(words, so_far)


def _shared(words: Words, so_far: Noun) -> Iterator[tuple[Noun, Words]]:
    """ "of the same colour as the cup", "with another kind than the cup"."""
    if words[0] in ("shares", "share") and words[1:2] in (("its",), ("their",), ("the",)) and words[3:4] == ("with",):
        for with_, left in _operands(words[4:]) if words[2] in SHARED else ():
            yield filtered(so_far, Shares(SHARED[words[2]], with_)), left
    rest = words[1:] if words[0] in ("of", "with", "has", "have", "having", "in") else words
    rest = rest[1:] if rest[:1] in (("the",), ("a",)) else rest
    if len(rest) < 4 or rest[0] not in ("same", "different", "another", "other") or rest[1] not in SHARED:
        return
    negated, after = rest[0] != "same", rest[2:]
    if after[:2] == ("of", "thing"):
        after = after[2:]
    if after[:1] in (("as",), ("than",), ("from",)):
        for with_, left in _operands(after[1:]):
            shared = Shares(SHARED[rest[1]], with_, negated)
            yield filtered(so_far, Unlike(shared.attribute, not negated) if _others(with_) else shared), left


def _unlike(words: Words, so_far: Noun) -> Iterator[tuple[Noun, Words]]:
    """ "that differs in colour from the others", "whose kind differs from all other things", "unlike the others"."""
    attribute, rest = None, words
    if rest[0] == "whose" and len(rest) > 2 and rest[1] in SHARED:
        attribute, rest = SHARED[rest[1]], rest[2:]
        if rest[:4] == ("is", "not", "that", "of"):
            rest = ("differs", "from", *rest[4:])
    if rest[0] not in ("differs", "differ", "different", "unlike", "differing"):
        return
    rest = rest[1:]
    for _ in range(2):  # "in colour from the others" and "from the others in colour"
        if len(rest) > 1 and rest[0] in ("in", "by") and rest[1] in SHARED and attribute is None:
            attribute, rest = SHARED[rest[1]], rest[2:]
        elif rest[:1] == ("from",) or words[0] == "unlike":
            for others, left in _operands(rest[1:] if rest[:1] == ("from",) else rest):
                if _others(others):
                    rest = left
                    break
    if rest != words[1:] and not (attribute and rest[:1] == ("from",)):
        yield filtered(so_far, Unlike(attribute)), rest


def _others(thing: Noun) -> bool:
    """Whether a phrase means all the other things: "the others", "the other stars", "the rest"."""
    return thing.other or thing.head in ("other", "rest")


def _nearness(words: Words, so_far: Noun) -> Iterator[tuple[Noun, Words]]:
    if so_far.pick is not None:
        return
    rest = words[1:] if words[0] == "the" else words
    for phrases, order in ((NEAR, "nearest first"), (FAR, "farthest first")):
        for phrase in phrases:
            if rest[: len(phrase)] == phrase:
                for to, left in _operands(rest[len(phrase) :]):
                    yield replace(so_far, pick=Extreme(order, 1, to)), left


def _lies(words: Words, so_far: Noun) -> Iterator[tuple[Noun, Words]]:
    close = words[0] in ("directly", "immediately", "right", "just")
    for rest, nearest in ((words, False), *([(words[1:], words[0] in ("directly", "immediately"))] if close else [])):
        for phrase, relation in RELATION_WORDS.items():
            if rest[: len(phrase)] != phrase:
                continue
            for to, left in _operands(rest[len(phrase) :]):
                found = filtered(so_far, Lies(relation, to))
                yield (replace(found, pick=Extreme("nearest first", 1, to)) if nearest and not so_far.pick else found), left


def _operands(words: Words) -> Iterator[tuple[Noun, Words]]:
    """Yield noun phrases at the beginning with the remaining words: the longest first, those with an "and" last.

    "the star left of the cup and above the flag" is a star above the flag, not a cup.
    """
    ends = range(len(words), 0, -1)
    for end in sorted(ends, key=lambda end: "and" in words[:end]):
        if found := noun(words[:end]):
            yield found, words[end:]
