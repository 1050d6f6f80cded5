"""Scenes as Flickr30k Entities: boxes in XML, and captions with marked phrases. Things of one name form a chain of boxes."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from roi_agent.model.data.english import join_words, plural, with_article
from roi_agent.model.toy.layouts.files import render_images, split_seeds, write_lines
from roi_agent.model.toy.questions.families import COUNTS
from roi_agent.model.toy.world.scenes import RenderedScene, Scene


def write_flickr30k(folder: Path, seeds: Sequence[int], side: int) -> None:
    """Write `train.txt`, `val.txt`, `Annotations/ID.xml`, `Sentences/ID.txt`, and the images in `images/`."""
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    for split, chosen in split_seeds(seeds).items():
        write_lines(folder / f"{split}.txt", map(str, chosen))
        for scene in render_images(folder, {seed: f"{seed}.jpg" for seed in chosen}, side):
            id = scene.scene.seed
            ElementTree.ElementTree(_annotation(scene)).write(folder / "Annotations" / f"{id}.xml")
            write_lines(folder / "Sentences" / f"{id}.txt", captions(scene.scene))


def chains(scene: Scene) -> dict[str, list[int]]:
    """Return the indices of things by full name; the id of a chain is its position here, from 1."""
    found: dict[str, list[int]] = {}
    for index, thing in enumerate(scene.things):
        found.setdefault(thing.name, []).append(index)
    return found


def phrases(scene: Scene) -> list[tuple[str, str]]:
    """Return two phrases for each chain: one with all attributes, and one with the kind only."""
    found = []
    for name, things in chains(scene).items():
        kind = scene.things[things[0]].kind
        if len(things) == 1:
            found.append((with_article(name), f"the {kind}"))
        else:
            looks = name.removesuffix(kind) + plural(kind)
            found.append((f"{COUNTS[len(things)]} {looks}", f"the {plural(kind)}"))
    return found


def captions(scene: Scene) -> list[str]:
    """Return two captions that name all things of the scene by `phrases`."""
    marked = [[f"[/EN#{number}/other {words}]" for words in both] for number, both in enumerate(phrases(scene), start=1)]
    first, second = (join_words([both[form] for both in marked]).replace(",", " ,") for form in (0, 1))
    return [f"Here are {first} .", f"{second} on [/EN#0/notvisual some background] ."]


def _annotation(scene: RenderedScene) -> ElementTree.Element:
    """Return the XML of a scene.  Pixels count from 1, and the last one is included."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{scene.scene.seed}.jpg"
    size = ElementTree.SubElement(root, "size")
    for key, value in zip(("width", "height", "depth"), (*scene.image.size, 3), strict=True):
        ElementTree.SubElement(size, key).text = str(value)
    for number, things in enumerate(chains(scene.scene).values(), start=1):
        for index in things:
            thing = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(thing, "name").text = str(number)
            box = ElementTree.SubElement(thing, "bndbox")
            x1, y1, x2, y2 = (round(value) for value in scene.boxes[index])
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True):
                ElementTree.SubElement(box, key).text = str(value)
    return root
