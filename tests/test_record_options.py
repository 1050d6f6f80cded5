"""Training on records with masks, focal crops and another image size: the loss of the model itself, and what is kept."""

import csv
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from roi_agent.model.adapt import load_adapted
from roi_agent.model.boxes import Box
from roi_agent.model.configuration import GPT4RoIConfig
from roi_agent.model.data.questions import TRAINING_SEEDS
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import Card, open_records, write_records
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting
from roi_agent.model.masks import Mask
from roi_agent.model.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.processing import GPT4RoIProcessor, batched
from roi_agent.model.regions import Region
from roi_agent.model.train.held_out import HeldOut
from roi_agent.model.train.mixture import Mixture, open_parts
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.packing import prefix_ids
from roi_agent.model.train.plan import make_plan
from roi_agent.model.train.readiness import check_fit, check_ready
from roi_agent.model.train.record_job import RecordJob
from roi_agent.model.train.record_settings import EvaluationSettings, RecordSettings
from roi_agent.model.train.record_training import train_on_records
from roi_agent.model.train.samples import Batch, Samples, encode_records
from roi_agent.model.train.starting import Start, prepare
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


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`masked/`, things that lie on one another, the last image's without masks; `plain/`, the same records without any mask.

    `tiny/`: a random GPT4RoI.
    """
    folder = tmp_path_factory.mktemp("data")
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


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model" / "model.safetensors")


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


# ---------------------------------------------------------------- the same as the model itself


@pytest.mark.parametrize("options", [{}, {"mask_pooling": True}, {"focal_crop": True}, BOTH])
@torch.no_grad()
def test_the_loss_of_packed_rows_is_that_of_the_model_on_each_record(root: Path, options: dict[str, bool]) -> None:
    model, processor = opened(**options)
    apart = 0.0
    records = open_records(root / "masked")
    for record in records:
        prompt = processor.render(record.conversation(), record.regions)
        ids, labels = processor.encode(prompt)
        image = records.image(record)
        boxes, coverage, crops = batched([processor.region_inputs(prompt.regions, image)])
        given: dict[str, Any] = {"boxes": boxes, "coverage": coverage, "crops": crops}
        pixels = processor.pixels([image.pixels])
        output = model(torch.tensor([ids]), pixel_values=pixels, labels=torch.tensor([labels]), **given)
        apart += output.loss.item() * sum(label >= 0 for label in labels)
    assert PackedLoss(model)(batch_of(root, processor)).item() == pytest.approx(apart, rel=1e-4)


@torch.no_grad()
def test_masks_and_crops_move_the_loss_of_a_model_that_reads_them(root: Path) -> None:
    found = {}
    for name, options in (("none", {}), ("masks", {"mask_pooling": True}), ("crops", {"focal_crop": True}), ("both", BOTH)):
        model, processor = opened(**options)
        found[name] = PackedLoss(model)(batch_of(root, processor)).item()
    assert len(set(found.values())) == 4


@torch.no_grad()
def test_without_the_options_masks_change_nothing(root: Path) -> None:
    model, processor = opened()
    batches = [batch_of(root, processor, name) for name in ("masked", "plain")]
    assert all(each.coverage is None and each.crops is None for each in batches)
    first, second = (PackedLoss(model)(each) for each in batches)
    image = model.encode_image(batches[0].pixels)
    by_boxes = torch.cat(model.region_encoder.pool(image.maps, batches[0].boxes))
    assert torch.equal(first, second) and torch.equal(PackedLoss(model)._hidden(batches[0])[1], by_boxes)


@torch.no_grad()
def test_a_model_that_pools_by_masks_reads_records_without_masks_as_before(root: Path) -> None:
    found = []
    for options in ({}, {"mask_pooling": True}):
        model, processor = opened(**options)
        found.append(PackedLoss(model)(batch_of(root, processor, "plain")))
    assert torch.equal(*found)


# ---------------------------------------------------------------- batches


def masks(*rows: slice) -> list[Mask]:
    found = []
    for each in rows:
        array = torch.zeros(10, 10, dtype=torch.bool)
        array[each] = True
        found.append(Mask.from_array(array.numpy()))
    return found


@pytest.mark.parametrize(("bins", "count"), [(0, 1), (7, 3)])
def test_regions_of_one_box_are_one_where_the_model_reads_them_alike(bins: int, count: int) -> None:
    _, processor = load_adapted(NANO, mask_pooling=bool(bins))
    assert processor.mask_bins == bins
    upper, lower, again = masks(slice(0, 4), slice(4, 9), slice(0, 4))
    box = Box(0, 0, 10, 10)
    records = [
        Record(str(number), "a.png", (10, 10), (Region("region1", box, mask=mask),), (turn,), "ours", "CC0-1.0")
        for number, mask in enumerate((upper, lower, again, None))
        for turn in (RecordTurn("What is <region1>?", "a cat"),)
    ]
    conversations, regions = encode_records(processor, prefix_ids(processor), records)
    assert len(regions) == count
    assert [each.regions for each in conversations] == ([[0], [1], [0], [2]] if bins else [[0]] * 4)


def test_every_image_has_its_own_coverage_and_crops(root: Path) -> None:
    _, processor = opened(**BOTH)
    samples = samples_of(root, processor)
    each = [samples[index] for index in range(4)]
    batch = samples.collate(each)
    assert batch.coverage is not None and batch.crops is not None
    assert [tuple(some.shape) for some in batch.coverage] == [(len(boxes), 7, 7) for boxes in batch.boxes]
    without = [sample.regions.coverage is None for sample in each]
    assert sorted(without) == [False, False, False, True], "one image has no mask"
    assert [bool((some == 1).all()) for some in batch.coverage] == without
    assert all(crops is sample.regions.crops for crops, sample in zip(batch.crops, each, strict=True))
    moved = batch.to(torch.device("meta"))
    assert moved.coverage is not None and all(some.is_meta for some in (*moved.boxes, *moved.coverage))


# ---------------------------------------------------------------- what learns, and what is kept


@pytest.mark.parametrize("name", ["masked", "plain"])
def test_with_both_options_every_weight_that_learns_gets_a_gradient(root: Path, name: str) -> None:
    model, processor = Start("nano").load(replace(QUICK, **BOTH))
    learning = prepare(model, QUICK)
    batch = batch_of(root, processor, name)
    for some in (batch, without_small(batch), without_regions(batch, model.config.region_token_id)):
        model.zero_grad(set_to_none=True)
        PackedLoss(model)(some).backward()
        assert all(each.grad is not None and bool(each.grad.isfinite().all()) for each in learning)
        gate = model.region_encoder.focal_gate
        assert gate is not None and gate.grad is not None
        assert bool(gate.grad.any()) is (some is batch), "crops alone teach the gate"
        assert all(each.grad is None for each in model.vision_tower.parameters())


def test_checkpointed_activations_give_the_same_gradients_with_both_options(root: Path) -> None:
    found = []
    for checkpointing in (False, True):
        settings = replace(QUICK, gradient_checkpointing=checkpointing, **BOTH)
        model, processor = Start(str(root / "tiny")).load(settings)
        prepare(model, settings)
        torch.nn.init.constant_(model.get_parameter("region_encoder.focal_gate"), 0.3)
        PackedLoss(model)(batch_of(root, processor)).backward()
        found.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
    assert set(found[0]) == set(found[1])
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-5) for name in found[0])


def test_in_bf16_the_losses_are_near_those_in_float32(root: Path, tmp_path: Path) -> None:
    for precision in ("float32", "bf16"):
        train_on_records(job(root, tmp_path / precision, precision=precision, epochs=1, **BOTH), show_progress=False)
    assert losses(tmp_path / "bf16") == pytest.approx(losses(tmp_path / "float32"), rel=0.05)


def without_small(batch: Batch) -> Batch:
    return replace(batch, crops=None)


def without_regions(batch: Batch, token: int) -> Batch:
    none = [each[:0] for each in batch.boxes]
    coverage = None if batch.coverage is None else [each[:0] for each in batch.coverage]
    ids = batch.ids.masked_fill(batch.ids == token, 20)
    return replace(batch, ids=ids, boxes=none, coverage=coverage, crops=None, row_regions=[[] for _ in batch.row_regions])


def test_a_cut_run_with_both_options_goes_on_to_the_same_bits_and_its_model_keeps_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = (job(root, tmp_path / name, "nano", epochs=1, **BOTH) for name in ("whole", "cut"))
    folder = train_on_records(whole, show_progress=False)
    step, calls = torch.optim.AdamW.step, []

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        train_on_records(cut, show_progress=False)
    train_on_records(cut, show_progress=False)
    assert losses(cut.folder) == losses(whole.folder) and len(losses(cut.folder)) == 2
    ours, theirs = weights(whole.folder), weights(cut.folder)
    assert set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
    opened = ours["region_encoder.focal_gate"].abs().max()
    assert opened > 10 * whole.settings.learning_rate, "two steps at the common rate open it by twice that rate at most"
    model, processor = load_adapted(folder)
    assert (model.config.mask_pooling, model.config.focal_crop) == (True, True)
    assert (processor.mask_bins, processor.focal_crop) == (model.config.roi_size, True)


def test_masks_are_learned_from_only_where_the_option_is_on(root: Path, tmp_path: Path) -> None:
    found = {}
    for name in ("masked", "plain"):
        for on in (None, True):
            folder = tmp_path / f"{name}-{on}"
            train_on_records(job(root, folder, mask_pooling=on, data={name: 1.0}, epochs=1), show_progress=False)
            found[name, on] = losses(folder), weights(folder)
    assert found["masked", None][0] == found["plain", None][0] == found["plain", True][0] != found["masked", True][0]
    for name, value in found["masked", None][1].items():
        assert torch.equal(value, found["plain", None][1][name])


def test_a_training_at_another_image_size_gives_a_model_of_that_size(root: Path, tmp_path: Path) -> None:
    folder = train_on_records(job(root, tmp_path, image_size=48, epochs=1), show_progress=False)
    model, processor = load_adapted(folder)
    assert (model.config.image_size, model.config.num_image_tokens, processor.num_image_tokens) == (48, 36, 36)
    assert processor.image_processor.size["height"] == 48 and len(losses(tmp_path)) == 2


def test_held_out_records_are_read_with_their_masks_and_crops(root: Path) -> None:
    found = []
    for options in ({}, {"mask_pooling": True}, BOTH):
        model, processor = opened(**options)
        held_out = HeldOut(root, EvaluationSettings("masked", records=8), processor, length=2048)
        prompts = held_out._prompts(held_out.records[:2], torch.device("cpu"))
        assert (prompts["coverage"] is not None, prompts["crops"] is not None) == (bool(options), len(options) == 2)
        found.append(held_out.evaluate(PackedLoss(model), torch.device("cpu")))
    assert len({each.loss for each in found}) == 3 and all(0 <= each.exact <= 1 for each in found)


@pytest.mark.slow
def test_two_processes_with_both_options_give_the_losses_of_one(root: Path, tmp_path: Path) -> None:
    """Of two images a step, each process has one; where one has no mask, the other has."""
    one = job(root, tmp_path / "one", "nano", micro_batch=1, evaluate=EvaluationSettings("masked", every=2, records=2), **BOTH)
    train_on_records(one, show_progress=False)
    train_on_records(replace(one, folder=tmp_path / "two"), processes=2, show_progress=False)
    assert losses(tmp_path / "two") == pytest.approx(losses(one.folder), abs=1e-4)
    ours, theirs = weights(one.folder), weights(tmp_path / "two")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


# ---------------------------------------------------------------- what is refused, and what it takes


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"mask_pooling": "often"}, "mask_pooling is 'often'"),
        ({"focal_crop": 1}, "focal_crop is 1"),
        ({"image_size": 0}, "image size 0"),
        ({"image_size": 50}, "image size 50"),
        ({"image_size": 48.0}, r"image size 48\.0"),
        ({"image_size": "large"}, "image size large"),
        ({"image_size": 8192}, "image size 8192"),
        ({"focal_crop": True, "trained": ["projector"]}, "its gate would stay closed"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_the_first_step(
    root: Path, tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    given = {"model": "nano", "trained": ["region_encoder"], "data": {"masked": 1}, "batch": 2, "precision": "float32"}
    with pytest.raises(InvalidSetting, match=problem):
        check_ready(RecordJob(RecordSettings.of(given | values), Start(str(root / "tiny")), root, tmp_path / "run"), 1)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_only_under_the_options_that_it_began_with(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path, epochs=1)
    train_on_records(run, show_progress=False)
    with pytest.raises(InvalidSetting, match="other settings: mask_pooling"):
        check_ready(replace(run, settings=replace(run.settings, mask_pooling=True)), 1)


@pytest.mark.parametrize(("name", "value"), [("mask_bins", 7), ("focal_crop", True)])
def test_a_processor_with_other_options_is_no_processor_of_the_model(root: Path, name: str, value: object) -> None:
    config, processor = Start(str(root / "tiny")).description()
    setattr(processor, name, value)
    with pytest.raises(CheckpointMismatch, match=f"the processor has {name} {value}"):
        check_fit(config, processor, 200)


def test_the_plan_counts_crops_and_the_image_size() -> None:
    settings, config = RecordSettings.load("stage2-7b"), GPT4RoIConfig.preset("gpt4roi-7b")
    none: dict[str, Any] = {}
    plain, crops, masked = (
        make_plan(replace(settings, **options), config, processes=8)
        for options in (none, {"focal_crop": True}, {"mask_pooling": True})
    )
    assert crops.parameters == plain.parameters + config.region_dim and crops.trained == plain.trained + config.region_dim
    assert crops.memory.activations > plain.memory.activations + 1e9
    assert masked == plain
    with pytest.raises(InvalidSetting, match="a multiple of 14"):
        make_plan(replace(settings, image_size=300), config, processes=8)
