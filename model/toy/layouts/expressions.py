"""Referring expressions for one thing of a scene, from its ground truth."""

from roi_agent.model.data.english import with_article
from roi_agent.model.toy.world.relations import place
from roi_agent.model.toy.world.scenes import Scene, Thing


def by_looks(scene: Scene, thing: Thing) -> list[str]:
    """Return its full name, such as "a large red star", which is how nano describes a thing.

    Stage 1 trains on these while nano's language model, which knows few other answer formats, is frozen.
    """
    return [with_article(thing.name)]


def by_place(scene: Scene, thing: Thing) -> list[str]:
    """Return `by_looks`, and also with its place if that is unambiguous, such as "a large red star, top left"."""
    where = place(thing)
    looks = by_looks(scene, thing)
    return looks if where is None else [*looks, *(f"{phrase}, {where}" for phrase in looks)]


def as_caption(scene: Scene, thing: Thing) -> list[str]:
    """Return one long phrase, such as "the large red star at the top left of the picture"."""
    where = place(thing)
    if where is None:
        return [f"the {thing.name}"]
    return [f"the {thing.name} {'in' if where == 'centre' else 'at'} the {where} of the picture"]
