"""Questions about regions with masks, and about points that become masks: the same answers by every door."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from starlette.testclient import TestClient

from roi_agent import Workspace, load_region_model, load_segmenter
from roi_agent.loading import load_models
from roi_agent.model.checkpoints.adapt import load_adapted
from roi_agent.model.engine import Engine, Runner
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, PointInvalid, RoiAgentError
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.ask import ask
from roi_agent.tools.segment import point_at
from tests.commands import Runner as Command
from tests.engine.asked import ids_of, request, without_end
from tests.masked import filled

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
NANO = Path(__file__).parents[2] / "model" / "nano"


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


# -- the engine, and every door


def test_a_mask_is_part_of_what_a_vector_is_kept_under(nano: LocalRegionModel, scene: LoadedImage, thing: Region) -> None:
    regions = masked_variants(thing, scene)
    asked = [
        request(nano, scene, [each], question) for each in regions for question in ("What is <region1>?", "Where is <region1>?")
    ]
    expected = [_generated(nano, each) for each in asked]
    engine = Engine(Runner(nano.model, nano.processor))
    for _ in range(2):  # computed anew, and kept
        assert [ids_of(each.result()) for each in engine.submit_all(asked)] == expected
    (kept,) = engine.cache._images.values()
    assert len(kept.vectors) == 4 and len({tuple(vector.tolist()) for vector in kept.vectors.values()}) == 4
    alone = Engine(Runner(nano.model, nano.processor))
    assert [ids_of(alone.submit(each).result()) for each in reversed(asked)] == expected[::-1]


def _generated(nano: LocalRegionModel, asked: Any) -> list[int]:
    output = nano.model.generate(
        input_ids=torch.tensor([list(asked.ids)]),
        pixel_values=nano.processor.pixels([asked.image.pixels]),
        boxes=[nano.processor.region_inputs(asked.regions, asked.image)],
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
    assert inputs[0]["boxes"][0].coverage.shape == (1, 7, 7) and inputs[0]["boxes"][0].crops is None
    assert torch.equal(logits[0], logits[2]) and not torch.allclose(logits[0], logits[1], atol=1e-3)
    assert isinstance(nano.processor(scene, "What is <region1>?", [replace(whole, mask=None)])["boxes"][0], torch.Tensor)


def test_with_the_option_off_masks_are_ignored(scene: LoadedImage, thing: Region) -> None:
    plain = load_region_model("nano")
    assert isinstance(plain, LocalRegionModel) and not plain.model.config.mask_pooling
    answers = [plain.ask(scene, "What is <region1>?", [each]) for each in masked_variants(thing, scene)]
    assert len({(answer.text, answer.confidence) for answer in answers}) == 1
    assert isinstance(plain.processor(scene, "What is <region1>?", [thing])["boxes"][0], torch.Tensor)


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
