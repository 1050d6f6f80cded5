"""Phrases that refer to one thing of a scene, from its truth."""

from collections.abc import Iterator

from roi_agent.model.data.geometry import place
from roi_agent.model.data.scenes import Scene, Thing


def by_looks(scene: Scene, thing: Thing) -> list[str]:
    """Size, colour and kind, as few as needed and more, that fit no other thing; its whole name where none do."""
    return list(_alone(scene, thing)) or [thing.name]


def by_place(scene: Scene, thing: Thing) -> list[str]:
    """As `by_looks`, and with its place where it has a plain one, as "red star, top left"."""
    where = place(thing)
    looks = by_looks(scene, thing)
    return looks if where is None else [*looks, *(f"{phrase}, {where}" for phrase in looks[:1])]


def as_caption(scene: Scene, thing: Thing) -> list[str]:
    """One long phrase: "the large red star at the top left of the picture"."""
    where = place(thing)
    if where is None:
        return [f"the {thing.name}"]
    return [f"the {thing.name} {'in' if where == 'centre' else 'at'} the {where} of the picture"]


def _alone(scene: Scene, thing: Thing) -> Iterator[str]:
    """The shortest first."""
    for names in (("kind",), ("colour", "kind"), ("size", "kind"), ("size", "colour", "kind")):
        words = [getattr(thing, name) for name in names]
        if sum([getattr(each, name) for name in names] == words for each in scene.things) == 1:
            yield " ".join(words)
