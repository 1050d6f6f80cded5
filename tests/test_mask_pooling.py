"""Regions pooled by their masks: the published pooling where the mask is the box, and the same answers by every door."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from starlette.testclient import TestClient
from torch import Tensor

from roi_agent import Workspace, load_region_model, load_segmenter
from roi_agent.loading import load_models
from roi_agent.model.adapt import load_adapted
from roi_agent.model.boxes import Box
from roi_agent.model.coverage import mask_coverage
from roi_agent.model.engine import Engine, Runner
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, MaskInvalid, PointInvalid, RoiAgentError
from roi_agent.model.images import LoadedImage, load_image
from roi_agent.model.local import LocalRegionModel
from roi_agent.model.masks import Mask
from roi_agent.model.region_encoder import RegionEncoder
from roi_agent.model.regions import Region, parse_regions
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.ask import ask
from roi_agent.tools.segment import point_at
from tests.commands import Runner as Command
from tests.engine.asked import ids_of, request, without_end
from tests.test_region_encoder import features_for, make_encoder

SCENE = Path(__file__).parent.parent / "examples" / "scene1.png"
NANO = Path(__file__).parent.parent / "model" / "nano"
BINS = 3  # of the small encoder


def region(array: NDArray[np.bool_], box: Box | None = None) -> Region:
    mask = Mask.from_array(array)
    return Region("region1", box or mask.box, mask=mask)


def filled(size_wh: tuple[int, int], x1: int, y1: int, x2: int, y2: int) -> NDArray[np.bool_]:
    array = np.zeros(size_wh[::-1], bool)
    array[y1:y2, x1:x2] = True
    return array


# -- coverage


@st.composite
def masked_regions(draw: st.DrawFn) -> Region:
    """A mask of any pixels of a small image, and a box of it, tight or any other that meets the mask."""
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    array = np.array(draw(st.lists(st.booleans(), min_size=width * height, max_size=width * height))).reshape(height, width)
    array[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    mask = Mask.from_array(array)
    if draw(st.booleans()):
        return Region("region1", mask.box, mask=mask)
    xs = sorted(draw(st.lists(st.floats(0, width), min_size=2, max_size=2)))
    ys = sorted(draw(st.lists(st.floats(0, height), min_size=2, max_size=2)))
    box = mask.box
    if xs[1] - xs[0] > 1e-3 and ys[1] - ys[0] > 1e-3 and mask.meets(Box(xs[0], ys[0], xs[1], ys[1])):
        box = Box(xs[0], ys[0], xs[1], ys[1])
    return Region("region1", box, mask=mask)


def pixel_by_pixel(given: Region, bins: int) -> NDArray[np.float64]:
    assert given.mask is not None
    box, array = given.box, given.mask.to_array()
    shares = np.zeros((bins, bins))
    for row in range(bins):
        for column in range(bins):
            left, right = (box.x1 + box.width * each / bins for each in (column, column + 1))
            top, bottom = (box.y1 + box.height * each / bins for each in (row, row + 1))
            for y, x in zip(*np.nonzero(array), strict=True):
                across, down = min(right, x + 1) - max(left, x), min(bottom, y + 1) - max(top, y)
                shares[row, column] += max(across, 0) * max(down, 0)
    return shares / (box.width * box.height / bins**2)


@settings(max_examples=150, deadline=None)
@given(masked_regions(), st.integers(1, 5))
def test_coverage_is_the_share_of_each_bins_area(given: Region, bins: int) -> None:
    coverage = mask_coverage([given], bins)
    assert coverage.shape == (1, bins, bins) and coverage.dtype == torch.float32
    assert np.allclose(coverage[0], pixel_by_pixel(given, bins), atol=1e-6)
    assert coverage.min() >= 0 and coverage.max() <= 1 and coverage.sum() > 0


@pytest.mark.parametrize(
    ("array", "box", "expected"),
    [
        (filled((4, 4), 0, 0, 4, 4), None, [[1, 1], [1, 1]]),  # the full frame
        (filled((9, 7), 8, 6, 9, 7), None, [[1, 1], [1, 1]]),  # one pixel in the corner
        (filled((8, 8), 2, 2, 3, 3), Box(0, 0, 8, 8), [[1 / 16, 0], [0, 0]]),  # much smaller than the box
        (filled((8, 8), 0, 0, 4, 8), Box(0, 0, 8, 8), [[1, 0], [1, 0]]),  # at the edge
        (filled((8, 8), 0, 0, 8, 8), Box(1.3, 0.2, 7.9, 5.1), [[1, 1], [1, 1]]),  # larger than the box
        (filled((8, 8), 4, 4, 5, 5), Box(4.5, 4.5, 4.5 + 1e-9, 8), [[1, 1], [1, 1]]),  # a box without any width
    ],
)
def test_known_coverages(array: NDArray[np.bool_], box: Box | None, expected: list[list[float]]) -> None:
    assert mask_coverage([region(array, box)], 2)[0].tolist() == expected


def test_regions_without_masks_are_covered_whole() -> None:
    plain = Region("region1", Box(0, 0, 3, 3))
    both = mask_coverage([plain, region(filled((9, 9), 0, 0, 1, 1), Box(0, 0, 9, 9))], BINS)
    assert torch.equal(both[0], torch.ones(BINS, BINS)) and both[1].sum() == pytest.approx(1 / 9)
    assert mask_coverage([], BINS).shape == (0, BINS, BINS)


# -- pooling


@torch.no_grad()
def pooled(encoder: Any, maps: list[Tensor], regions: list[Region], size_wh: tuple[int, int]) -> Tensor:
    boxes = torch.tensor([each.box.normalised(size_wh) for each in regions], dtype=torch.float32)
    coverage = mask_coverage(regions, BINS)
    vectors: Tensor = encoder.pool(maps, [boxes], [coverage])[0]
    return vectors


@pytest.fixture(scope="module")
def encoders() -> tuple[RegionEncoder, RegionEncoder]:
    """With the option and as published, of the same weights."""
    return make_encoder(2, mask_pooling=True), make_encoder(2)


@pytest.fixture(scope="module")
def maps(encoders: tuple[RegionEncoder, RegionEncoder]) -> list[Tensor]:
    with torch.no_grad():
        return encoders[1].fuse(features_for(encoders[1], images=1))


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 40), height=st.integers(1, 40), data=st.data())
def test_a_mask_that_is_the_box_gives_exactly_the_published_pooling(
    encoders: tuple[RegionEncoder, RegionEncoder], maps: list[Tensor], width: int, height: int, data: st.DataObject
) -> None:
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    encoder, published = encoders
    with torch.no_grad():
        whole = region(filled((width, height), x1, y1, x2, y2))
        boxes = torch.tensor([whole.box.normalised((width, height))], dtype=torch.float32)
        assert torch.equal(pooled(encoder, maps, [whole], (width, height)), published.pool(maps, [boxes])[0])


@settings(max_examples=60, deadline=None)
@given(region=masked_regions())
def test_masked_and_plain_regions_in_one_batch_are_what_they_are_alone(
    encoders: tuple[RegionEncoder, RegionEncoder], maps: list[Tensor], region: Region
) -> None:
    encoder = encoders[0]
    assert region.mask is not None
    size_wh = region.mask.size_wh
    together = pooled(encoder, maps, [region, replace(region, mask=None), region], size_wh)
    box = torch.tensor([region.box.normalised(size_wh)], dtype=torch.float32)
    with torch.no_grad():
        plain = encoder.pool(maps, [box])[0][0]
    assert together.isfinite().all()
    assert torch.allclose(together[0], pooled(encoder, maps, [region], size_wh)[0], atol=1e-5)
    assert torch.allclose(together[1], plain, atol=1e-5)
    assert torch.allclose(together[0], together[2], atol=1e-5)


@torch.no_grad()
def test_what_lies_far_off_the_mask_does_not_count() -> None:
    encoder = make_encoder(1, mask_pooling=True, roi_size=8)
    maps = [torch.randn(1, 16, 16, 16)]
    changed = [maps[0].clone()]
    changed[0][:, :, :, 9:] += 5  # more than a bin from the mask, in the left half
    box, coverage = torch.tensor([[0.0, 0, 1, 1]]), torch.zeros(1, 8, 8)
    coverage[:, :, :3] = 1
    assert torch.allclose(encoder.pool(maps, [box], [coverage])[0], encoder.pool(changed, [box], [coverage])[0], atol=1e-5)
    assert not torch.allclose(encoder.pool(maps, [box])[0], encoder.pool(changed, [box])[0], atol=1e-2)
    assert not torch.allclose(encoder.pool(maps, [box])[0], encoder.pool(maps, [box], [coverage])[0], atol=1e-2)


@torch.no_grad()
def test_many_regions_are_pooled_in_chunks_with_their_own_masks() -> None:
    encoder = make_encoder(2, mask_pooling=True)
    maps = encoder.fuse(features_for(encoder, images=2))
    boxes, coverage = torch.tensor([[0.1, 0.1, 0.9, 0.9]]).repeat(130, 1), torch.rand(130, BINS, BINS)
    first, second = encoder.pool(maps, [boxes[:70], boxes[70:]], [coverage[:70], coverage[70:]])
    assert torch.allclose(first[69], encoder.pool(maps, [boxes[:1], boxes[:0]], [coverage[69:70], coverage[:0]])[0][0], atol=1e-5)
    assert torch.allclose(second[59], encoder.pool(maps, [boxes[:0], boxes[:1]], [coverage[:0], coverage[129:]])[1][0], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "coverage", "error"),
    [
        ({}, torch.ones(1, BINS, BINS), InvalidSetting),
        ({"mask_pooling": True}, torch.zeros(1, BINS, BINS), MaskInvalid),
        ({"mask_pooling": True}, torch.full((1, BINS, BINS), 1.5), MaskInvalid),
        ({"mask_pooling": True}, torch.full((1, BINS, BINS), float("nan")), MaskInvalid),
        ({"mask_pooling": True}, torch.ones(1, BINS + 1, BINS + 1), MaskInvalid),
        ({"mask_pooling": True}, torch.ones(2, BINS, BINS), MaskInvalid),
    ],
)
def test_coverage_that_makes_no_sense_is_refused(options: dict[str, Any], coverage: Tensor, error: type[RoiAgentError]) -> None:
    encoder = make_encoder(2, **options)
    maps = encoder.fuse(features_for(encoder, images=1))
    with pytest.raises(error):
        encoder.pool(maps, [torch.tensor([[0.1, 0.1, 0.9, 0.9]])], [coverage])


def test_a_mask_off_its_box_is_refused_at_the_door() -> None:
    mask = filled((20, 20), 0, 0, 5, 5)
    with pytest.raises(MaskInvalid, match="region1: the mask has no pixel in the box"):
        parse_regions([{"mask": mask, "box": [10, 10, 20, 20]}], size_wh=(20, 20))
    (kept,) = parse_regions([{"mask": mask, "box": [4.5, 4.5, 20, 20]}], size_wh=(20, 20))
    assert mask_coverage([kept], 1).item() == pytest.approx(0.25 / 15.5**2)


# -- the engine, and every door


@pytest.fixture(scope="module")
def nano() -> LocalRegionModel:
    model = load_region_model("nano", mask_pooling=True)
    assert isinstance(model, LocalRegionModel)
    return model


@pytest.fixture(scope="module")
def scene() -> LoadedImage:
    return load_image(SCENE)


@pytest.fixture(scope="module")
def thing() -> Region:
    """The umbrella, as the segmenter sees it."""
    workspace = Workspace()
    workspace.add_image(SCENE)
    ((found,), _) = point_at(workspace, [(200, 280)], segmenter=load_segmenter("nano"))
    return found


def masked_variants(thing: Region, scene: LoadedImage) -> list[Region]:
    """One box with a whole mask, two parts of it, and none."""
    assert thing.mask is not None
    array = thing.mask.to_array()
    upper, lower = array.copy(), array.copy()
    middle = int((thing.box.y1 + thing.box.y2) / 2)
    upper[middle:], lower[:middle] = False, False
    masks = [thing.mask, Mask.from_array(upper), Mask.from_array(lower), None]
    return [replace(thing, mask=mask, image=None) for mask in masks]


def test_a_mask_is_part_of_what_a_vector_is_kept_under(nano: LocalRegionModel, scene: LoadedImage, thing: Region) -> None:
    regions = masked_variants(thing, scene)
    asked = [
        request(nano, scene, [each], question) for each in regions for question in ("What is <region1>?", "Where is <region1>?")
    ]
    expected = [_generated(nano, each) for each in asked]
    engine = Engine(Runner(nano.model, nano.processor))
    for _ in range(2):  # computed anew, and kept
        assert [ids_of(each.result()) for each in engine.submit_all(asked)] == expected
    (kept,) = engine.cache._kept.values()
    assert len(kept.vectors) == 4 and len({tuple(vector.tolist()) for vector in kept.vectors.values()}) == 4
    alone = Engine(Runner(nano.model, nano.processor))
    assert [ids_of(alone.submit(each).result()) for each in reversed(asked)] == expected[::-1]


def _generated(nano: LocalRegionModel, asked: Any) -> list[int]:
    pointed = nano.processor.region_inputs(asked.regions, asked.image)
    output = nano.model.generate(
        input_ids=torch.tensor([list(asked.ids)]),
        pixel_values=nano.processor.pixels([asked.image.pixels]),
        boxes=[pointed.boxes],
        coverage=[pointed.coverage] if pointed.coverage is not None else None,
        max_new_tokens=asked.decoding.max_new_tokens,
        do_sample=False,
        eos_token_id=nano.processor.end_ids(),
        pad_token_id=0,
    )
    return without_end(nano, output[0, len(asked.ids) :].tolist())


@torch.no_grad()
def test_the_processor_gives_the_model_its_masks(nano: LocalRegionModel, scene: LoadedImage, thing: Region) -> None:
    whole, upper, *_ = masked_variants(thing, scene)
    inputs = [nano.processor(scene, "What is <region1>?", [each]) for each in (whole, upper, whole)]
    logits = [nano.model(**each).logits for each in inputs]
    assert inputs[0]["coverage"][0].shape == (1, 7, 7) and "crops" not in inputs[0]
    assert torch.equal(logits[0], logits[2]) and not torch.allclose(logits[0], logits[1], atol=1e-3)
    assert "coverage" not in nano.processor(scene, "What is <region1>?", [replace(whole, mask=None)])


def test_with_the_option_off_masks_are_ignored(scene: LoadedImage, thing: Region) -> None:
    plain = load_region_model("nano")
    assert isinstance(plain, LocalRegionModel) and not plain.model.config.mask_pooling
    answers = [plain.ask(scene, "What is <region1>?", [each]) for each in masked_variants(thing, scene)]
    assert len({(answer.text, answer.confidence) for answer in answers}) == 1
    assert "coverage" not in plain.processor(scene, "What is <region1>?", [thing])


def test_asking_talking_and_choosing_read_masks(nano: LocalRegionModel, scene: LoadedImage, thing: Region) -> None:
    whole, _, lower, _ = masked_variants(thing, scene)
    for each in (whole, lower):
        answer = nano.ask(scene, "What is <region1>?", [each])
        chat = nano.chat(scene, [each])
        assert chat.ask("What is <region1>?").confidence == pytest.approx(answer.confidence, abs=1e-5)
    options = ["a large orange umbrella", "a small red star"]
    chosen = [nano.choose(scene, "What is <region1>?", options, [each]) for each in (whole, lower)]
    assert chosen[0].text == options[0] and chosen[0].scores != chosen[1].scores


def test_a_processor_of_another_kind_is_refused(nano: LocalRegionModel) -> None:
    _, plain = load_adapted(NANO)
    with pytest.raises(CheckpointMismatch, match="mask_bins 7 and its processor 0"):
        Runner(nano.model, plain)


@pytest.fixture(scope="module")
def client(nano: LocalRegionModel) -> Iterator[TestClient]:
    app = build_app(load_models(region_model=nano), ServerSettings(), name="nano")
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made


def asked_over_http(client: TestClient, regions: list[dict[str, Any]]) -> Any:
    image = client.post("/v1/images", content=SCENE.read_bytes(), headers={"content-type": "image/png"}).json()["url"]
    question = {"turns": [{"question": "What is <region1>?"}], "regions": regions}
    return client.post("/v1/regions/ask", json={"image": image, "questions": [question]})


def test_masks_travel_over_http(client: TestClient, nano: LocalRegionModel, scene: LoadedImage, thing: Region) -> None:
    confidences = []
    for each in masked_variants(thing, scene):
        wire = {key: value for key, value in each.to_dict().items() if value is not None}
        (answer,) = asked_over_http(client, [wire]).json()["answers"]
        here = nano.ask(scene, "What is <region1>?", [each])
        assert (answer["text"], answer["confidence"]) == (here.text, pytest.approx(here.confidence, abs=1e-5))
        confidences.append(answer["confidence"])
    assert len(set(confidences)) > 2  # the masks count


@pytest.mark.parametrize(
    ("mask", "status"),
    [
        ({"size": [512, 512], "counts": [0, 512 * 512]}, 200),
        ({"size": [512, 512], "counts": [1] * 250_001}, 400),
        ({"size": [512, 512], "counts": "1" * 1_000_001}, 400),
        ({"size": [512, 512], "counts": [512 * 512]}, 400),  # empty
        ({"size": [10, 10], "counts": [0, 100]}, 400),  # of another image
    ],
)
def test_masks_over_http_are_bounded_and_checked(client: TestClient, mask: dict[str, Any], status: int) -> None:
    answer = asked_over_http(client, [{"mask": mask}])
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["code"] in ("mask_invalid", "request_invalid")


# -- points, which are segmented first


class Nothing:
    """A segmenter that finds nothing; the interface of a SamPredictor."""

    def set_image(self, image: NDArray[np.uint8]) -> None:
        self.size = image.shape[:2]

    def predict(self, **_: Any) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float32]]:
        return np.zeros((1, *self.size), bool), np.array([0.9]), np.full((1, 256, 256), -9, np.float32)


def test_a_point_is_asked_about_in_one_call(nano: LocalRegionModel) -> None:
    workspace = Workspace()
    workspace.add_image(SCENE)
    asked = ask(workspace, "What is <region1>?", model=nano, points=[(200, 280)], segmenter=load_segmenter("nano"))
    assert asked.answer.text == "a large orange umbrella"
    (found,) = asked.regions
    assert found.mask is not None and found.prompt == "point 200,280" and found.source == "segment"
    again = ask(workspace, "Is <region1> left of <region2>?", model=nano, points=[(400, 240)], segmenter=load_segmenter("nano"))
    assert [each.name for each in again.regions] == ["region1", "region2"] and again.answer.text == "yes"


@pytest.mark.parametrize(
    ("points", "segmenter", "error", "said"),
    [
        ([(200, 280)], None, InvalidSetting, "without a segmenter"),
        ([(200, 2800)], "nano", PointInvalid, "outside the image"),
        ([("a", 2)], "nano", PointInvalid, "not two finite numbers"),
        ("here", "nano", PointInvalid, "the points are"),
        ([(200, 280)], Nothing(), PointInvalid, "nothing is found at 200,280"),
    ],
)
def test_points_that_lead_nowhere_are_refused(
    nano: LocalRegionModel, points: Any, segmenter: Any, error: type[RoiAgentError], said: str
) -> None:
    workspace = Workspace()
    workspace.add_image(SCENE)
    given = load_segmenter("nano") if segmenter == "nano" else segmenter
    with pytest.raises(error, match=said):
        ask(workspace, "What is <region1>?", model=nano, points=points, segmenter=given)
    assert not workspace.regions()


def test_a_crop_shows_its_part_of_a_mask() -> None:
    workspace = Workspace()
    workspace.add_image(np.zeros((60, 80, 3), np.uint8))
    (added,) = workspace.add_regions([{"mask": filled((80, 60), 10, 20, 30, 50)}])
    crop = workspace.add_crop(added, margin=0.1)
    seen = workspace.seen_in(added, crop)
    assert seen.mask is not None and seen.mask.size_wh == crop.size_wh and seen.mask.box == seen.box
    assert seen.mask.area == 20 * 30


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["What is <region1>?", "--point", "200,280"], "a large orange umbrella"),
        (["Is <region2> left of <region1>?", "--point", "200,280", "--box", "315,145,504,334"], "yes"),
        (["Is <region1> left of <region2>?", "--point", "200,280", "--point", "400,240"], "yes"),
        (["What colour is <region1>?", "--point", "200,280", "--choose", "orange", "--choose", "blue"], "orange"),
    ],
)
def test_the_command_asks_about_points(run: Command, arguments: list[str], answer: str, tmp_path: Path) -> None:
    for more in ([], ["--workspace", str(tmp_path / "kept")]):
        result = run("ask", str(SCENE), *arguments, *more)
        assert (result.code, result.out) == (0, answer + "\n") and "region1 is the box" in result.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--point", "200"], "point_invalid"),
        (["--point", "200,900"], "point_invalid"),
        (["--point", "nan,3"], "point_invalid"),
        (["--point", "200,280", "--segmenter", "nowhere"], "model_not_found"),
    ],
)
def test_the_command_refuses_points_that_lead_nowhere(run: Command, arguments: list[str], code: str) -> None:
    result = run("ask", str(SCENE), "What is <region1>?", *arguments)
    assert result.code == 2 and code in result.err and not result.out
