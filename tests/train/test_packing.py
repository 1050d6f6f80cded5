"""Packed rows: conversations that share an image are read exactly as if each stood alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from roi_agent.loading import SHIPPED
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.geometry.regions import Box, Region
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor, normalised_boxes
from roi_agent.model.gpt4roi.region_inputs import RegionInputs
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.packing import PADDING, Conversation, attention, pack, prefix_ids
from roi_agent.model.train.samples import Batch, RecordFormat, Sample, Samples, encode_records
from roi_agent.model.train.settings import RecordSettings
from tests.small import clip, gpt2, llama, make_model, make_processor, qwen2, resnet
from tests.training_sets import scene_records


@pytest.fixture(scope="module")
def nano() -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    local = LocalRegionModel.from_folder(SHIPPED["ask"]["nano"])
    local.model.language_model.set_attn_implementation("sdpa")
    return local.model, local.processor


def collated(processor: GPT4RoIProcessor, records: Sequence[Record], pixels: Tensor, *, length: int = 2048) -> Batch:
    """A batch of one image."""
    prefix = prefix_ids(processor)
    conversations, regions = encode_records(processor, prefix, records)
    rows, left_out = pack(prefix, conversations, length=length)
    boxes = normalised_boxes(regions, records[0].size_wh)
    return Samples.collate(_with(processor), [Sample(pixels, RegionInputs(boxes), rows, left_out)])


def _with(processor: GPT4RoIProcessor) -> Samples:
    samples = Samples.__new__(Samples)
    samples.processor = processor
    return samples


def alone(
    model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, record: Record, pixels: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits of the answer tokens (A, V) and their loss, from a row of its own that was packed by nobody."""
    prompt = processor.render(record.conversation(), record.regions)
    ids, labels = processor.encode(prompt)
    boxes = [normalised_boxes(prompt.regions, record.size_wh)]
    logits = model(input_ids=torch.tensor([ids]), pixel_values=pixels[None], boxes=boxes).logits[0, :-1]
    targets = torch.tensor(labels)[1:]
    learned = targets != IGNORE
    return logits[learned], torch.nn.functional.cross_entropy(logits[learned], targets[learned], reduction="sum")


def packed_logits(model: GPT4RoIForConditionalGeneration, batch: Batch) -> list[Tensor]:
    """Logits of the answer tokens of each conversation, in the order of rows and segments."""
    hidden, _ = PackedLoss(model)._hidden(batch)
    logits = model.get_output_embeddings()(hidden)
    found = []
    for row, segments in enumerate(batch.segments):
        for segment in range(1, int(segments.max()) + 1):
            own = (segments[1:] == segment) & (batch.labels[row, 1:] != IGNORE)
            found.append(logits[row, :-1][own])
    return found


@pytest.mark.parametrize("length", [2048, 150])
@torch.no_grad()
def test_packed_rows_give_the_logits_and_the_loss_of_separate_ones(
    nano: tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor], length: int
) -> None:
    model, processor = nano
    records = scene_records(5, ["turns", "name", "relation", "why", "count_colour"], 6)
    pixels = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))
    batch = collated(processor, records, pixels, length=length)
    assert (len(batch.ids) > 1) == (length == 150) and not batch.left_out
    apart = [alone(model, processor, record, pixels) for record in records]
    losses = sum(loss.item() for _, loss in apart)
    assert PackedLoss(model)(batch).item() == pytest.approx(losses, rel=1e-5)
    ours = packed_logits(model, batch)
    # Rows are filled first-fit, so a later conversation may stand in an earlier row.
    for logits, _ in apart:
        near = [each for each in ours if each.shape == logits.shape and torch.allclose(each, logits, atol=1e-4, rtol=1e-5)]
        assert len(near) >= 1
    assert sorted(map(len, ours)) == sorted(len(logits) for logits, _ in apart)


@pytest.mark.parametrize("text", [llama, qwen2, gpt2])
@pytest.mark.parametrize("tower", [clip, resnet])
@torch.no_grad()
def test_packing_is_exact_for_other_language_models_and_towers(tower: object, text: object) -> None:
    model = make_model(tower, text)
    processor = make_processor(model.config)
    region, other = Region("region1", Box(2, 3, 40, 50)), Region("region2", Box(10, 0, 64, 30))
    kinds = [("is <region1> red ?", (region,)), ("a <region2> is <region1> ?", (region, other)), ("red ?", ())]
    records = [
        Record(f"r/{index}", "a.png", (64, 64), regions, (RecordTurn(question, "a red ball"),), "toy", "CC0-1.0")
        for index, (question, regions) in enumerate(kinds)
    ]
    pixels = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = collated(processor, records, pixels)
    assert len(batch.ids) == 1 and len(batch.regions[0]) == 2, "a shared region is pooled once"
    apart = [alone(model, processor, record, pixels) for record in records]
    for ours, (theirs, _) in zip(packed_logits(model, batch), apart, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5
    assert PackedLoss(model)(batch).item() == pytest.approx(sum(loss.item() for _, loss in apart), abs=1e-5)


@torch.no_grad()
def test_changing_one_conversation_changes_nothing_in_the_others(
    nano: tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor],
) -> None:
    model, processor = nano
    records = scene_records(5, ["name", "relation", "turns"], 3)
    pixels = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))
    before = collated(processor, records, pixels)
    same_tokens = before.segments[0] == 2
    changed = before.ids.clone()
    words = same_tokens & (changed[0] > 100)  # no special token: the number of regions stays
    changed[0, words] = changed[0, words].roll(1) + 1
    assert bool((changed != before.ids).any())
    ours, theirs = (packed_logits(model, each) for each in (before, replace(before, ids=changed)))
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[2], theirs[2])
    assert not torch.equal(ours[1], theirs[1])


def test_a_token_sees_the_prefix_and_its_own_conversation_up_to_itself() -> None:
    mask = attention(torch.tensor([[0, 0, 1, 1, 2, 2, PADDING]]))[0, 0]
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],
        [1, 1, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 0, 0, 0],
    ]


def conversation(name: str, size: int) -> Conversation:
    return Conversation(name, [7] * size, [IGNORE] + [7] * (size - 1), [])


@pytest.mark.parametrize(
    ("sizes", "rows", "left_out"),
    [
        ([], [], []),
        ([8], [[8]], []),
        ([9], [], ["0"]),
        ([5, 4, 3], [[5, 3], [4]], []),
        ([8, 8, 12, 1], [[8], [8], [1]], ["2"]),
    ],
)
def test_conversations_go_to_the_first_row_with_room_and_what_fits_nowhere_is_named(
    sizes: list[int], rows: list[list[int]], left_out: list[str]
) -> None:
    made, left = pack([1, 2], [conversation(str(index), size) for index, size in enumerate(sizes)], length=10)
    assert left == left_out
    for row, wanted in zip(made, rows, strict=True):
        assert [row.segments.count(number + 1) for number in range(len(wanted))] == wanted
        assert row.segments[:2] == [0, 0] and row.positions[:3] == [0, 1, 2]
        assert row.positions[row.segments.index(1)] == 2 and len(row.ids) <= 10


def test_the_prefix_ends_with_the_image(nano: tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]) -> None:
    model, processor = nano
    prefix = prefix_ids(processor)
    assert prefix.count(model.config.image_token_id) == model.config.num_image_tokens
    assert prefix[-1] == model.config.image_end_token_id


def test_a_batch_counts_its_regions_over_all_images(
    nano: tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor], tmp_path: Path
) -> None:
    _, processor = nano
    prefix = prefix_ids(processor)
    samples = []
    for seed in (1, 2):
        records = scene_records(seed, ["name"], 2)
        conversations, regions = encode_records(processor, prefix, records)
        rows, _ = pack(prefix, conversations, length=2048)
        samples.append(Sample(torch.zeros(3, 8, 8), RegionInputs(normalised_boxes(regions, records[0].size_wh)), rows, []))
    batch = Samples.collate(_with(processor), samples)
    assert batch.row_images.tolist() == [0, 1]
    first = len(batch.regions[0])
    assert all(region < first for region in batch.row_regions[0]) and min(batch.row_regions[1]) >= first


def test_closed_questions_are_read_a_second_time_with_their_options(
    nano: tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor],
) -> None:
    _, processor = nano
    prefix = prefix_ids(processor)
    (plain, *_) = scene_records(3, ["colour"], 1)
    turn = plain.turns[0]
    closed = replace(plain, turns=(replace(turn, options=(turn.answer, "none of these")), RecordTurn("Is it large?", "yes")))
    once, _ = encode_records(processor, prefix, [closed, plain])
    twice, regions = encode_records(processor, prefix, [closed, plain], RecordFormat(letters=True))
    assert [each.record_id for each in twice] == [closed.id, closed.id, plain.id]
    assert [twice[0].ids, twice[2].ids] == [each.ids for each in once]
    read = processor.tokenizer.decode(twice[1].ids)
    assert "a:" in read and "b:" in read and "none of these" in read
    learned = [token for token, label in zip(twice[1].ids, twice[1].labels, strict=True) if label != IGNORE]
    assert processor.decode_answer(learned) in ("a", "b")
    assert len(regions) == len({each.box.xyxy for each in closed.regions})


def test_single_turns_are_read_as_if_each_were_asked_alone(
    nano: tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor],
) -> None:
    _, processor = nano
    prefix = prefix_ids(processor)
    first, second = (Region(f"region{number}", Box(number, 0, number + 8, 8)) for number in (1, 2))
    asked = (
        RecordTurn("What is <region1>?", "a star"),
        RecordTurn("What is <region2>?", "a key"),
        RecordTurn("Is it <region1>?", "no"),
    )
    record = replace(scene_records(3, ["colour"], 1)[0], regions=(first, second), turns=asked)
    apart, regions = encode_records(processor, prefix, [record], RecordFormat(single_turns=True))
    alone = [
        encode_records(processor, prefix, [replace(record, regions=(region,), turns=(turn,))])[0][0]
        for region, turn in zip((first, second, first), asked, strict=True)
    ]
    assert [each.ids for each in apart] == [each.ids for each in alone]
    assert [each.regions for each in apart] == [[0], [1], [0]], "a region that two turns name is encoded once"
    assert [each.box for each in regions] == [first.box, second.box]
    assert encode_records(processor, prefix, [replace(record, turns=asked[:1])], RecordFormat(single_turns=True))[0] == apart[:1]


def test_only_the_named_sets_are_read_turn_by_turn() -> None:
    sets = {"coco-train": 1.0, "vcr-train": 1.0}
    settings = RecordSettings(
        model="nano", trained=("projector",), data=sets, batch=4, letters=True, single_turns=("coco-train",)
    )
    assert RecordFormat.by_part(settings) == {
        "coco-train": RecordFormat(True, True),
        "vcr-train": RecordFormat(True, False),
    }
