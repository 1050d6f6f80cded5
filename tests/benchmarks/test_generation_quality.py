"""How true generated conversations are, with and without verification, and what nano learns from them.  Writes ABLATIONS.md."""

import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

from roi_agent import load_detector, load_region_model, load_segmenter
from roi_agent.generation.record_generator import ImageResult, RecordGenerator
from roi_agent.generation.rules import FAMILIES
from roi_agent.generation.settings import GenerationSettings
from roi_agent.model.data.record import Record
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.images.loading import load_image
from roi_agent.model.toy.world.scenes import make_scene, render_image
from tests.benchmarks.ablation_report import write_section
from tests.benchmarks.generated_records import (
    FIRST_IMAGE,
    FIRST_JUDGED,
    IMAGES,
    MIXTURE,
    RECORDS,
    TRAINING,
    compared,
    generated,
    judged,
    trained,
)
from tests.scene_truth import Share, is_true

SCENES, FIRST, PER_IMAGE = 120, 720_000, 20  # as many conversations about a scene as there are families

_TRUE = f"""Conversations of all families about {SCENES} held-out scenes (seeds from {FIRST:,} on), of which the generator saw
only the images. A conversation is true where all of its answers are, by the scene; in brackets the 95 % interval (Wilson).
Without verification everything is kept that was written."""
_LEARNT = """{records:,} records about {images} pictures of scenes (seeds from {first:,} on), all that was kept until there
were so many; the truth was withheld. Families, in turn: {mixture}. Then {epochs} epochs in batches of {batch} pictures, of
{trained} at a learning rate of {rate:g}: {minutes:.0f} minutes on one thread of a busy machine.

Questions are about held-out scenes (seeds from {judged:,} on, on which nothing was chosen), answered greedily; only the exact
answer is right, and of a conversation the last one, after the model's own earlier answers.

- *difference*: in points on the same questions, with its 95 % interval.
- *shuffled*: with the regions exchanged among the things of a scene.
- *chance*: always the most frequent answer of the family."""


def made_of(settings: GenerationSettings) -> list[tuple[int, ImageResult]]:
    generator = RecordGenerator(load_region_model(), load_detector(), load_segmenter(), settings)
    seeds, made = range(FIRST, FIRST + SCENES), list[tuple[int, ImageResult]]()
    for start in range(0, SCENES, settings.images):
        batch = seeds[start : start + settings.images]
        images = [(str(seed), load_image(Image.fromarray(render_image(make_scene(seed), 384)))) for seed in batch]
        made += zip(batch, generator.generate(images), strict=True)
    generator.close()
    return made


@pytest.mark.slow
def test_how_much_of_what_is_kept_is_true() -> None:
    shares, dropped = dict[bool, dict[str, Share]](), Counter[str]()
    for verify in (True, False):
        made = made_of(GenerationSettings(verify=verify, per_image=PER_IMAGE))
        shares[verify] = by_family([(record, seed) for seed, each in made for record in each.records])
        if verify:
            written = sum(each.written for _, each in made)
            dropped.update(each.reason for _, some in made for each in some.dropped)
    lines = ["| family | verified | all that was written |", "|---|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | {shares[True][name]} | {shares[False][name]} |" for name in ("all", *FAMILIES)]
    reasons = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in dropped.most_common())
    kept = f"Of {written:,} that were written, {shares[True]['all'].total:,} were kept. Dropped: {reasons}."
    write_section("Generated conversations: how many are true", "\n\n".join([_TRUE, kept, "\n".join(lines)]))


def by_family(records: list[tuple[Record, int]]) -> dict[str, Share]:
    """How many are true, of all and of each family.  records: each with the seed of its scene."""
    right, total = Counter[str](), defaultdict[str, int](int)
    for record, seed in records:
        for name in ("all", record.id.rsplit("-", 1)[1]):
            total[name] += 1
            right[name] += is_true(record, make_scene(seed))
    return {name: Share(right[name], total[name]) for name in ("all", *FAMILIES)}


@pytest.mark.slow
def test_what_nano_learns_from_them(tmp_path: Path) -> None:
    generated(tmp_path)
    model = load_region_model()
    assert isinstance(model, LocalRegionModel)
    before = judged(model)
    start = time.monotonic()
    tuned = trained(tmp_path)
    minutes = (time.monotonic() - start) / 60
    lines = compared(before, judged(tuned))
    write_section("Generated records: what nano learns from them", "\n".join([learnt(minutes), "", *lines]))


def learnt(minutes: float) -> str:
    """What was done, in words."""
    return _LEARNT.format(
        records=RECORDS,
        images=IMAGES,
        first=FIRST_IMAGE,
        mixture=", ".join(f"{name} ({count})" for name, count in Counter(MIXTURE).most_common()),
        epochs=TRAINING.epochs,
        batch=TRAINING.batch,
        trained=", ".join(TRAINING.trained),
        rate=TRAINING.learning_rate,
        minutes=minutes,
        judged=FIRST_JUDGED,
    )
