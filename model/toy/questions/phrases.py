"""Phrases about a scene, true and false, and the things that each describes."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from roi_agent.model.data.english import plural, with_article
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES
from roi_agent.model.toy.world.scenes import Scene, Thing
from roi_agent.prompts import load_blocks

UNKNOWN = "?"  # a kind or colour that the toy world does not have

# The attributes that a phrase names, with sampling weights.
_FORMS: dict[tuple[str, ...], float] = {
    ("kind",): 5,
    ("colour", "kind"): 7,
    ("size", "kind"): 2,
    ("size", "colour", "kind"): 4,
    ("colour",): 2,
    ("size", "colour"): 1,
    ("size",): 1,
    (): 0.4,
}
_TRUE, _SWAPPED, _UNKNOWN = 0.5, 0.3, 0.05  # shares of phrases; the rest has random attributes
_BARE = 0.6  # share of phrases without a determiner
_PLURAL = 0.15  # share of plurals, where the determiner allows them


def _form(names: Sequence[str]) -> str:
    return ", ".join(names) or "anything"


FORMS = tuple(_form(names) for names in _FORMS)  # "kind", "colour, kind", ..., "anything"


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase and the attributes that it names: None if not named, UNKNOWN if not in the toy world."""

    text: str
    kind: str | None = None
    colour: str | None = None
    size: str | None = None

    def describes(self, thing: Thing) -> bool:
        """Whether the phrase describes the thing."""
        pairs = ((self.kind, thing.kind), (self.colour, thing.colour), (self.size, thing.size))
        return all(asked in (None, given) for asked, given in pairs)

    def found_in(self, scene: Scene) -> list[int]:
        """Return the indices of all things of the scene that the phrase describes."""
        return [index for index, thing in enumerate(scene.things) if self.describes(thing)]

    @property
    def form(self) -> str:
        """The attributes that the phrase names, one of FORMS."""
        return _form([name for name in ("size", "colour", "kind") if getattr(self, name) is not None])


def make_phrases(scene: Scene, rng: Random, count: int) -> list[Phrase]:
    """Draw `count` different phrases; about half of them describe some thing.

    Most false ones are one attribute away from a true one, often with the attribute of another thing in the scene.
    """
    phrases: dict[str, Phrase] = {}
    while len(phrases) < count:
        draw = rng.random()
        if draw < _TRUE:
            phrase = true_phrase(scene, rng)
        elif draw < _TRUE + _SWAPPED:
            phrase = swapped_phrase(scene, rng)
        elif draw < _TRUE + _SWAPPED + _UNKNOWN:
            phrase = unknown_phrase(scene, rng)
        else:
            phrase = random_phrase(rng)
        phrases.setdefault(phrase.text, phrase)
    return list(phrases.values())


def vocabulary(rng: Random) -> list[Phrase]:
    """Return every kind, colour and size as a phrase of one word, in random order."""
    kinds = [Phrase(kind, kind=kind) for kind in KINDS]
    colours = [Phrase(colour, colour=colour) for colour in COLOURS]
    sizes = [Phrase(size, size=size) for size in SIZES]
    return rng.sample([*kinds, *colours, *sizes], len(kinds) + len(colours) + len(sizes))


def true_phrase(scene: Scene, rng: Random) -> Phrase:
    """Draw a phrase that describes one of the scene's things, and possibly others."""
    return _render(_draw_attributes(_attributes(rng.choice(scene.things)), rng), rng)


def swapped_phrase(scene: Scene, rng: Random) -> Phrase:
    """Draw a phrase for one of the scene's things with one attribute swapped; it describes nothing, except in rare scenes."""
    for _ in range(10):
        asked = _draw_attributes(_attributes(rng.choice(scene.things)), rng)
        if not asked:
            continue
        name = rng.choice(sorted(asked))
        other = _attributes(rng.choice(scene.things)) if rng.random() < 0.6 else _random_attributes(rng)
        phrase = _render({**asked, name: other[name]}, rng)
        if not phrase.found_in(scene):
            return phrase
    return random_phrase(rng)


def unknown_phrase(scene: Scene, rng: Random) -> Phrase:
    """Draw a phrase with a kind or a colour outside the toy world."""
    asked = _draw_attributes(_attributes(rng.choice(scene.things)), rng)
    name = rng.choice(("kind", "colour"))
    return _render({**asked, name: UNKNOWN}, rng)


def random_phrase(rng: Random) -> Phrase:
    """Draw a phrase with random attributes, at least one; it may be true or false."""
    asked: dict[str, str] = {}
    while not asked:
        asked = _draw_attributes(_random_attributes(rng), rng)
    return _render(asked, rng)


def words() -> list[str]:
    """Return all words of phrases except the unknown ones, sorted."""
    blocks = load_blocks("toy_phrases")
    plain = {word for name in ("determiner", "anything", *SIZES) for word in blocks[name].split()}
    nouns = (*KINDS, *blocks["anything"].split())
    return sorted({*plain, "an", *COLOURS, *nouns, *map(plural, nouns)})


def _attributes(thing: Thing) -> dict[str, str]:
    return {"kind": thing.kind, "colour": thing.colour, "size": thing.size}


def _random_attributes(rng: Random) -> dict[str, str]:
    return {"kind": rng.choice(KINDS), "colour": rng.choice(list(COLOURS)), "size": rng.choice(list(SIZES))}


def _draw_attributes(look: dict[str, str], rng: Random) -> dict[str, str]:
    (form,) = rng.choices(list(_FORMS), list(_FORMS.values()))
    return {name: look[name] for name in form}


def _render(asked: dict[str, str], rng: Random) -> Phrase:
    """Word a phrase, such as "the big red star", "red stars", "red", "every small thing"."""
    blocks = load_blocks("toy_phrases")
    adjectives = []
    if "size" in asked:
        adjectives.append(rng.choice(blocks[asked["size"]].splitlines()))
    if "colour" in asked:
        adjectives.append(_word(asked["colour"], "unknown_colour", rng))
    noun = _word(asked["kind"], "unknown_kind", rng) if "kind" in asked else _any_noun(bool(adjectives), rng)
    determiner = "" if rng.random() < _BARE else rng.choice(blocks["determiner"].splitlines())
    if noun and (determiner == "all" or (determiner in ("", "the") and rng.random() < _PLURAL)):
        noun = plural(noun)
    text = " ".join([*adjectives, noun]).strip()
    text = with_article(text) if determiner == "a" else f"{determiner} {text}".strip()
    return Phrase(text, asked.get("kind"), asked.get("colour"), asked.get("size"))


def _word(value: str, unknown: str, rng: Random) -> str:
    return rng.choice(load_blocks("toy_phrases")[unknown].splitlines()) if value == UNKNOWN else value


def _any_noun(optional: bool, rng: Random) -> str:
    """Draw a word for a thing of any kind, or none if optional."""
    if optional and rng.random() < 0.3:
        return ""
    return rng.choice(load_blocks("toy_phrases")["anything"].splitlines())
