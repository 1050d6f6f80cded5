"""Phrases that refer to one thing of a scene, from its truth."""

from roi_agent.model.data.english import with_article
from roi_agent.model.toy.world.relations import place
from roi_agent.model.toy.world.scenes import Scene, Thing


def by_looks(scene: Scene, thing: Thing) -> list[str]:
    """Its whole name, as "a large red star": what nano answers when it is asked to describe a thing.

    Stage 1 learns from these while nano's language model, which knows few other forms of an answer, is frozen.
    """
    return [with_article(thing.name)]


def by_place(scene: Scene, thing: Thing) -> list[str]:
    """As `by_looks`, and with its place where it has a plain one, as "a large red star, top left"."""
    where = place(thing)
    looks = by_looks(scene, thing)
    return looks if where is None else [*looks, *(f"{phrase}, {where}" for phrase in looks)]


def as_caption(scene: Scene, thing: Thing) -> list[str]:
    """One long phrase: "the large red star at the top left of the picture"."""
    where = place(thing)
    if where is None:
        return [f"the {thing.name}"]
    return [f"the {thing.name} {'in' if where == 'centre' else 'at'} the {where} of the picture"]
