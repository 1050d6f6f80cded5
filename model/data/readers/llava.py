"""LLaVA-Instruct-150k (Liu et al. 2023): conversations about whole images, combined with detected boxes.

As in the paper, questions list the detections of an LVIS detector, and questions against hallucination are added. The detections
come from `detections.json`, as a list in any order for each file name:

    {"000000033471.jpg": [{"box": [x1, y1, x2, y2], "label": "bus", "score": 0.97}]}
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from roi_agent.model.data.english import join_words, with_article
from roi_agent.model.data.readers.base import (
    MALFORMED,
    NO_DETECTIONS,
    Reader,
    Trouble,
    Unusable,
    clean_text,
    errors_as_unusable,
    fit_box,
    read_json,
)
from roi_agent.model.data.readers.llava_detections import PICKLE, read_pickle
from roi_agent.model.data.readers.questions import draw_wording
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.errors import RecordInvalid
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.messages import escaped

MIN_SCORE = 0.3  # boxes need a higher score
MIN_SIDE = 0.02  # share of the image's side; boxes need longer sides
MOST = 100  # maximum boxes of one image, those with the highest scores
BOXED = 0.5  # share of samples with boxes

_IMAGE = "<image>"


class LlavaInstruct(Reader):
    """Starts half of the conversations with a list of the detected regions, and ends each with "is there a ...?"."""

    name: ClassVar[str] = "llava-instruct"
    about: ClassVar[str] = "LLaVA-Instruct-150k with detected boxes, and yes/no questions against hallucination"
    layout: ClassVar[tuple[str, ...]] = (
        "llava_instruct_150k.json",
        'detections.json: {"FILE.jpg": [{"box": [x1, y1, x2, y2], "label": "bus", "score": 0.9}]}, boxes in pixels',
        f"or {PICKLE} in a usual output layout of detectors; not tried with the download",
        "COCO's images in --images: train2017/ or its parent folder",
    )
    source: ClassVar[str] = "LLaVA-Instruct-150k"
    licence: ClassVar[str] = "CC-BY-4.0 and the terms of OpenAI; images under Flickr's terms"
    splits: ClassVar[tuple[str, ...]] = ("train",)

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        # The file is a list; `objects` expects a field that contains it.
        samples = {"samples": self.load_json("llava_instruct_150k.json")}
        self._groups = [(number, *each) for number, each in enumerate(self.objects(samples, "samples", "id", "image"))]
        self._detections = self._read_detections()
        every = (each for found in self._detections.values() if isinstance(found, list) for each in found)
        self._labels = sorted({_label(each) for each in every} - {""})

    def _read_detections(self) -> Mapping[str, Any]:
        """Read the detections by file name.  Errors: DataNotFound, RecordInvalid."""
        path = self.find("detections.json", PICKLE)
        found = read_pickle(path) if path.name == PICKLE else read_json(path)
        if not isinstance(found, Mapping):
            raise RecordInvalid("detections.json: this is not an object", do="give a list of detections for each file name")
        return found

    def groups(self) -> Sequence[tuple[int, str, Mapping[str, Any]]]:
        """Return the samples, each with its number, because ids repeat, and its location."""
        return self._groups

    def read(self, group: tuple[int, str, Mapping[str, Any]], rng: Random) -> Iterator[Record | Trouble]:
        """Yield one record."""
        number, where, sample = group
        try:
            name = str(sample["image"])
            image = self.images.find(name, f"train2017/{name}", f"train2014/COCO_train2014_{name}", where=where)
            size_wh = self.images.size_wh(image, where=where)
            turns = _turns(sample.get("conversations"), where)
            regions, labels, notes = self._detected_regions(name, size_wh)
            boxed = rng.random() < BOXED
            if boxed and regions:
                first = draw_wording(
                    "detected", rng, question=turns[0].question, all=join_words([_labelled_mention(region) for region in regions])
                )
                turns[0] = RecordTurn(first, turns[0].answer)
            turns += self._presence_turn(regions, labels, rng)
            with errors_as_unusable(where):
                kept = regions if boxed else ()
                record = Record(f"{self.name}/{number}", image, size_wh, kept, tuple(turns), self.source, self.licence)
        except Unusable as unusable:
            yield unusable.trouble
            return
        yield from notes
        yield record

    def _detected_regions(self, name: str, size_wh: tuple[int, int]) -> tuple[tuple[Region, ...], set[str], list[Trouble]]:
        """Return the regions to show, all detected labels, and the troubles of the boxes."""
        where = f"{self.files[-1].name}, {name}"
        found = self._detections.get(name)
        if not isinstance(found, list):
            problem = "there are no detections of this image" if found is None else f"it is {escaped(found)}"
            return (), set(), [Trouble(NO_DETECTIONS, where, problem)]
        regions: list[Region] = []
        troubles: list[Trouble] = []
        for index, each in enumerate(found):
            try:
                region, notes = _region(each, size_wh, f"{where}[{index}]")
            except Unusable as unusable:
                troubles.append(unusable.trouble)
                continue
            troubles += notes
            regions += [region] if region is not None else []
        surest = sorted(regions, key=lambda region: -(region.score or 0))[:MOST]
        named = tuple(
            Region(f"region{number}", each.box, label=each.label, score=each.score, source=each.source)
            for number, each in enumerate(surest, start=1)
        )
        return named, {_label(each) for each in found} - {""}, troubles

    def _presence_turn(self, regions: Sequence[Region], labels: set[str], rng: Random) -> list[RecordTurn]:
        """Ask whether there is a ...: with equal chance the label of a region (yes), or a label of other images only (no)."""
        truth = rng.random() < 0.5
        seen = sorted({str(region.label) for region in regions})
        choices = seen if truth else [label for label in self._labels if label not in labels]
        if not seen or not choices:  # without detections, nothing is known about the image
            return []
        return [
            RecordTurn(
                draw_wording("presence", rng, thing=with_article(rng.choice(choices))), "yes" if truth else "no", ("yes", "no")
            )
        ]


def _turns(conversation: object, where: str) -> list[RecordTurn]:
    """Parse pairs of human and model messages, without the image token.  Error: Unusable."""
    if not isinstance(conversation, list) or not conversation or len(conversation) % 2:
        raise Unusable(MALFORMED, where, f"conversations is {escaped(conversation)}, and should be pairs of human and gpt")
    texts: list[str] = []
    for index, each in enumerate(conversation):
        who, place = ("human", "gpt")[index % 2], f"{where}, conversations[{index}]"
        if not isinstance(each, Mapping) or each.get("from") != who:
            raise Unusable(MALFORMED, place, f"it should be from {who}")
        value = each.get("value")
        texts.append(_lines(value.replace(_IMAGE, "") if isinstance(value, str) else value, place))
    return [RecordTurn(question, answer) for question, answer in zip(texts[::2], texts[1::2], strict=True)]


def _lines(value: object, where: str) -> str:
    """Return a text with its line breaks, because answers may be lists."""
    clean_text(value, where=where)
    return str(value).strip()


def _region(detection: object, size_wh: tuple[int, int], where: str) -> tuple[Region | None, list[Trouble]]:
    """Return a detection as a region with a temporary name, and troubles.

    The region is None if its score is too low or its box too small.  Error: Unusable.
    """
    label = clean_text(_label(detection), where=where, what="label")
    assert isinstance(detection, Mapping)  # else it has no label
    score = detection.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise Unusable(MALFORMED, where, f"its score is {escaped(score)}")
    values = detection.get("box")
    if detection.get("unit") == "normalised" and isinstance(values, list):
        values = [value * size_wh[index % 2] for index, value in enumerate(values)]
    box, notes = fit_box(values, format="xyxy", size_wh=size_wh, where=where)
    if score <= MIN_SCORE or box.width <= MIN_SIDE * size_wh[0] or box.height <= MIN_SIDE * size_wh[1]:
        return None, notes
    return Region("region1", box, label=label, score=score, source="detector"), notes


def _label(detection: object) -> str:
    """Return the label with spaces, since LVIS writes alarm_clock; an empty text without a label."""
    label = detection.get("label") if isinstance(detection, Mapping) else None
    return " ".join(label.replace("_", " ").split()) if isinstance(label, str) else ""


def _labelled_mention(region: Region) -> str:
    return f"{region.label} at <{region.name}>"
