"""Parsed questions: nouns with filters, and one class per kind of question."""

from dataclasses import dataclass, field

# Relations between two things; "near" is a matter of degree, see Extreme.
RELATIONS = ("left of", "right of", "above", "below", "inside", "around", "touching", "larger than", "smaller than")


@dataclass(frozen=True, slots=True)
class Is:
    """Filter: the thing has, or does not have, this colour, size or kind."""

    attribute: str
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Lies:
    """Filter: the thing has, or does not have, one of RELATIONS to another."""

    relation: str
    to: "Noun"
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Shares:
    """Filter: the thing has the same colour, size or kind as another, or a different one."""

    attribute: str
    with_: "Noun"
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Unlike:
    """Filter: the one thing whose colour, size or kind differs from all others, which agree; None: any of these."""

    attribute: str | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """Filter: the thing's centre is in this part of the image: "left", "top right", "middle"."""

    place: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Extreme:
    """Selection of the first, second, ... thing in an order of `order_regions`.  to: the reference of nearness."""

    order: str
    rank: int = 1
    to: "Noun | None" = None


Filter = Is | Lies | Shares | Unlike | Placed


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun phrase.

    head: the singular noun, "" for any thing.  definite: "the star".  image: the handle of an image, if named.
    handles: named regions instead of a noun.  pronoun: refers to things mentioned before.  other: "the other stars".
    number: "two stars".
    """

    head: str = ""
    filters: tuple[Filter, ...] = ()
    pick: Extreme | None = None
    plural: bool = False
    definite: bool = False
    handles: tuple[str, ...] = ()
    pronoun: bool = False
    other: bool = False
    number: int | None = None
    image: str | None = None
    words: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Exists:
    """Is there a red star?"""

    noun: Noun


@dataclass(frozen=True, slots=True)
class Find:
    """Find the red stars; which star is the largest?"""

    noun: Noun


@dataclass(frozen=True, slots=True)
class Count:
    """How many stars are there?  of: a distinct "colour" or "kind" instead of things."""

    nouns: tuple[Noun, ...]
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Attribute:
    """What colour (size, kind, place) is the star?  attribute "name": what is it?"""

    attribute: str
    noun: Noun


@dataclass(frozen=True, slots=True)
class Holds:
    """Is the star red?  Are all stars left of the cup?  every: must be true for all, else for any."""

    noun: Noun
    predicates: tuple[Filter | Extreme, ...]
    every: bool = True


@dataclass(frozen=True, slots=True)
class Same:
    """Do these have the same colour, size or kind?  negated: do they differ?"""

    attribute: str
    nouns: tuple[Noun, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class SameSet:
    """Do the stars and the flags have the same colours?"""

    attribute: str
    first: Noun
    second: Noun


@dataclass(frozen=True, slots=True)
class More:
    """Are there more ("more"), fewer ("fewer") or as many ("equal") of the first as of the second?  which: name it."""

    first: Noun
    second: Noun
    how: str
    which: bool = False


@dataclass(frozen=True, slots=True)
class Which:
    """Which of these is first in an order, or passes the filters?"""

    nouns: tuple[Noun, ...]
    pick: Extreme | None = None
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """Is the star red or blue?"""

    noun: Noun
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """Name the colours (kinds, names) of the stars from left to right."""

    noun: Noun
    order: str
    attribute: str = "name"


@dataclass(frozen=True, slots=True)
class Relate:
    """How does the star lie to the cup?"""

    first: Noun
    second: Noun


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A question about named regions, passed to the region model verbatim."""

    question: str


Query = Exists | Find | Count | Attribute | Holds | Same | SameSet | More | Which | Either | Ordered | Relate | Verbatim
