"""What a question asks for, once it is understood: nouns with filters, and one class for each kind of question."""

from dataclasses import dataclass, field

# How one thing may lie to another; "near" is a matter of degree and stands in Extreme.
RELATIONS = ("left of", "right of", "above", "below", "inside", "around", "touching", "larger than", "smaller than")


@dataclass(frozen=True, slots=True)
class Is:
    """A filter: the thing's colour, size or kind is this one, or is not."""

    attribute: str
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Lies:
    """A filter: the thing stands in one of RELATIONS to another, or does not."""

    relation: str
    to: "Noun"
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Shares:
    """A filter: the thing has the same colour, size or kind as another, or another one."""

    attribute: str
    with_: "Noun"
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Unlike:
    """A filter: the one thing that has another colour, size or kind than all the others, which agree; None: in any of these."""

    attribute: str | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A filter: the thing's centre lies in this part of the image: "left", "top right", "middle"."""

    place: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Extreme:
    """A choice among things: the first, second, ... in an order of `order_regions`.  to: of nearness."""

    order: str
    rank: int = 1
    to: "Noun | None" = None


Filter = Is | Lies | Shares | Unlike | Placed


@dataclass(frozen=True, slots=True)
class Noun:
    """Things that a phrase stands for.

    head: the singular noun, "" for any thing.  definite: "the star".  image: a handle where the phrase names one.
    handles: regions that are named instead.  pronoun: what was spoken of before.  other: "the other stars".
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
    """Is the star red?  Are all stars left of the cup?  every: it must hold of all, else of any."""

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
    """Are there more ("more"), fewer ("fewer") or as many ("equal") of the first as of the second?  which: name the more."""

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
    """A question about named regions, for the region model as it is."""

    question: str


Query = Exists | Find | Count | Attribute | Holds | Same | SameSet | More | Which | Either | Ordered | Relate | Verbatim
