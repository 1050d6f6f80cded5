"""The queries of sentence patterns; None if the slot values do not make sense together."""

from dataclasses import replace

from roi_agent.planner.query import (
    Attribute,
    Count,
    Either,
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
    Unlike,
    Which,
)


def narrowed(thing: Noun, predicates: tuple[Filter | Extreme, ...]) -> Noun | None:
    """Add predicates to a noun."""
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


def found(thing: Noun, predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    found = narrowed(thing, predicates)
    return Find(found) if found else None


def attribute_where(predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    """ "What is left of the red umbrella?": things that no word names."""
    if all(isinstance(each, Is) for each in predicates):
        return None
    return found(Noun(plural=not any(isinstance(each, Extreme) for each in predicates)), predicates)


def holds(thing: Noun, predicates: tuple[Filter | Extreme, ...]) -> Query:
    return Holds(thing, predicates, every=not thing.words.startswith("any"))


def of_one(attribute: str, thing: Noun) -> Query | None:
    return Attribute(attribute, thing)


def same(first: Noun, attribute: str, second: Noun) -> Query | None:
    return Same(attribute, (first, second)) if attribute in ("colour", "kind", "size") else None


def same_two(one: str, first: Noun, other: str, second: Noun) -> Query | None:
    return same(first, one, second) if one == other else None


def same_all(things: tuple[Noun, ...], attribute: str) -> Query | None:
    """Of several, or of one phrase in the plural; two plurals are two sets."""
    if attribute not in ("colour", "kind", "size"):
        return None
    if len(things) == 2 and all(each.plural and not each.pronoun for each in things):
        return SameSet(attribute, *things)
    return Same(attribute, things)


def differ(things: tuple[Noun, ...], attribute: str) -> Query | None:
    return Same(attribute, things, negated=True) if attribute in ("colour", "kind", "size") else None


def count(things: tuple[Noun, ...]) -> Query:
    return Count(things)


def count_said(thing: Noun, predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    found = narrowed(thing, predicates)
    return Count((found,)) if found else None


def count_values(attribute: str, things: tuple[Noun, ...] = (Noun(plural=True),)) -> Query | None:
    return Count(things, attribute) if attribute in ("colour", "kind", "size") else None


def which(pick: Extreme, things: tuple[Noun, ...]) -> Query | None:
    return Which(things, pick) if len(things) > 1 or things[0].plural or things[0].pronoun else None


def which_said(things: tuple[Noun, ...], predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    picks = [each for each in predicates if isinstance(each, Extreme)]
    filters = tuple(each for each in predicates if not isinstance(each, Extreme))
    return Which(things, picks[0] if picks else None, filters) if len(picks) < 2 else None


def ordered(thing: Noun, order: str) -> Query:
    return Ordered(thing, order)


def ordered_by(attribute: str, thing: Noun, order: str) -> Query:
    return Ordered(thing, order, attribute)


def more(first: Noun, second: Noun) -> Query:
    return More(first, second, "more")


def fewer(first: Noun, second: Noun) -> Query:
    return More(first, second, "fewer")


def equal(first: Noun, second: Noun) -> Query:
    return More(first, second, "equal")


def elsewhere(how: str, first: Noun, where: Noun) -> Query:
    """More of the same in another place, as in "more flags in image1 than in image2"."""
    looks = tuple(each for each in first.filters if isinstance(each, Is))
    second = replace(first, image=where.image or first.image, filters=(*looks, *where.filters), words=f"those {where.words}")
    return More(first, second, how)


def which_more(first: Noun, second: Noun) -> Query:
    return More(first, second, "more", which=True)


def which_fewer(first: Noun, second: Noun) -> Query:
    return More(first, second, "fewer", which=True)


def touch(first: Noun, second: Noun) -> Query:
    return Holds(first, (Lies("touching", second),))


def each_other(things: tuple[Noun, ...]) -> Query | None:
    return Holds(things[0], (Lies("touching", things[1]),)) if len(things) == 2 else None


def odd(thing: Noun) -> Query:
    return Find(replace(thing, filters=(*thing.filters, Unlike())))


def attribute_which(attribute: str, predicates: tuple[Filter | Extreme, ...]) -> Query | None:
    """ "What kind of thing is below the cup?" """
    found = narrowed(Noun(), predicates)
    return Attribute(attribute, found) if found and not all(isinstance(each, Is) for each in predicates) else None


def either(thing: Noun, first: str, second: str) -> Query:
    return Either(thing, (first, second))


def sharing(thing: Noun, attribute: str, with_: Noun) -> Query | None:
    if attribute not in ("colour", "kind", "size"):
        return None
    return Find(replace(thing, filters=(*thing.filters, Shares(attribute, with_)), other=True))


def relate_nouns(things: tuple[Noun, ...]) -> Query | None:
    return Relate(*things) if len(things) == 2 else None
