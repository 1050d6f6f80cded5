"""The loss on records with masks and focal crops: that of the model itself, in batches, with its gradients."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from roi_agent.model.checkpoints.adapt import load_adapted
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import open_records
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.model.gpt4roi.region_inputs import RegionInputs
from roi_agent.model.train.held_out import HeldOut
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.packing import prefix_ids
from roi_agent.model.train.samples import Batch, encode_records
from roi_agent.model.train.settings import EvaluationSettings
from roi_agent.model.train.starting import Start, prepare
from tests.masked_runs import BOTH, NANO, QUICK, batch_of, make_root, opened, samples_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


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
        pixels, boxes = processor.pixels([image.pixels]), [processor.region_inputs(prompt.regions, image)]
        output = model(torch.tensor([ids]), pixel_values=pixels, boxes=boxes, labels=torch.tensor([labels]))
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
    assert all(each.coverage is None and each.crops is None for batch in batches for each in batch.regions)
    first, second = (PackedLoss(model)(each) for each in batches)
    image = model.encode_image(batches[0].pixels)
    by_boxes = torch.cat(model.region_encoder.pool(image.maps, [each.boxes for each in batches[0].regions]))
    assert torch.equal(first, second) and torch.equal(PackedLoss(model)._hidden(batches[0])[1], by_boxes)


@torch.no_grad()
def test_a_model_that_pools_by_masks_reads_records_without_masks_as_before(root: Path) -> None:
    found = []
    for options in ({}, {"mask_pooling": True}):
        model, processor = opened(**options)
        found.append(PackedLoss(model)(batch_of(root, processor, "plain")))
    assert torch.equal(*found)


def test_held_out_records_are_read_with_their_masks_and_crops(root: Path) -> None:
    found = []
    for options in ({}, {"mask_pooling": True}, BOTH):
        model, processor = opened(**options)
        held_out = HeldOut(root, EvaluationSettings("masked", records=8), processor, length=2048)
        prompts = held_out._prompts(held_out.records[:2], torch.device("cpu"))
        masks, crops = ([getattr(each, name) is not None for each in prompts["boxes"]] for name in ("coverage", "crops"))
        assert (any(masks), any(crops)) == (bool(options), len(options) == 2)
        found.append(held_out.evaluate(PackedLoss(model), torch.device("cpu")))
    assert len({each.loss for each in found}) == 3 and all(0 <= each.exact <= 1 for each in found)


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
    assert batch.regions == [sample.regions for sample in each]
    shapes = [tuple(some.coverage.shape) for some in batch.regions if some.coverage is not None]
    assert shapes == [(len(some), 7, 7) for some in batch.regions if some.coverage is not None]
    assert len(shapes) == 3, "one image has no mask"
    moved = batch.to(torch.device("meta"))
    assert all(some.boxes.is_meta and (some.coverage is None or some.coverage.is_meta) for some in moved.regions)


# ---------------------------------------------------------------- gradients


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


def without_small(batch: Batch) -> Batch:
    return replace(batch, regions=[replace(each, crops=None) for each in batch.regions])


def without_regions(batch: Batch, token: int) -> Batch:
    ids = batch.ids.masked_fill(batch.ids == token, 20)
    none = [RegionInputs(each.boxes[:0]) for each in batch.regions]
    return replace(batch, ids=ids, regions=none, row_regions=[[] for _ in batch.row_regions])


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
