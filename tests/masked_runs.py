"""Small trainings on records with masks, and the batches that they read."""

from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from roi_agent.model.checkpoints.adapt import load_adapted
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import Card, write_records
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.mixture import Mixture, open_parts
from roi_agent.model.train.samples import Batch, Samples
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import Start
from tests.benchmarks.ablation_scenes import FAMILIES, overlapping_scene, picture_of, questions_of, regions_of
from tests.small import make_model, make_processor

NANO = Path(__file__).parents[1] / "model" / "nano"
SIZE = (384, 384)
BOTH: dict[str, Any] = {"mask_pooling": True, "focal_crop": True}
QUICK = RecordSettings(
    model="nano",
    trained=("region_encoder", "projector", "language_model"),
    data={"masked": 1.0},
    batch=2,
    micro_batch=2,
    epochs=2,
    learning_rate=1e-3,
    precision="float32",
    log_every=1,
    save_every=1,
    workers=0,
)


def make_root(folder: Path) -> Path:
    """`masked/`, things that lie on one another, the last image's without masks; `plain/`, the same records without any mask.

    `tiny/`: a random GPT4RoI.
    """
    records = []
    (folder / "images").mkdir()
    for number in range(4):
        picture = picture_of(overlapping_scene(TRAINING_SEEDS + number))
        picture.image.pixels.save(folder / "images" / f"{number}.png")
        for place, example in enumerate(questions_of(picture.scene, cycle(FAMILIES), 3)):
            regions = tuple(regions_of(picture, example))
            turns = tuple(RecordTurn(turn.question, str(turn.answer)) for turn in example.turns)
            records.append(Record(f"{number}/{place}", f"{number}.png", SIZE, regions, turns, "toy world", "CC0-1.0"))
    masked = [unmasked(each) if each.image == "3.png" else each for each in records]
    for name, some in (("masked", masked), ("plain", [unmasked(each) for each in records])):
        (folder / name).mkdir()
        (folder / name / "images").symlink_to(folder / "images")
        write_records(folder / name / "records-00000.jsonl", some)
        Card(name, "images", len(some), "toy world", "CC0-1.0").save(folder / name)
    model = make_model()
    model.save_pretrained(folder / "tiny")
    make_processor(model.config).save_pretrained(folder / "tiny")
    return folder


def unmasked(record: Record) -> Record:
    return replace(record, regions=tuple(replace(each, mask=None) for each in record.regions))


def job(root: Path, folder: Path, start: str = "", **changes: Any) -> RecordJob:
    return RecordJob(replace(QUICK, **changes), Start(start or str(root / "tiny")), root, folder)


def batch_of(root: Path, processor: GPT4RoIProcessor, name: str = "masked", images: int = 4) -> Batch:
    samples = samples_of(root, processor, name)
    return samples.collate([samples[index] for index in range(images)])


def samples_of(root: Path, processor: GPT4RoIProcessor, name: str = "masked") -> Samples:
    mixture = Mixture.make(open_parts(root, {name: 1.0}, conversations=8), epochs=1, batch=4, seed=0)
    return Samples(mixture, processor, length=2048)


def opened(gate: float = 0.3, **options: Any) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """Nano under options; an open gate, so that crops count."""
    model, processor = load_adapted(NANO, **options)
    if model.region_encoder.focal_gate is not None:
        torch.nn.init.constant_(model.region_encoder.focal_gate, gate)
    return model.eval(), processor
