"""A model on a server is the same object as one in this process."""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from roi_agent import Workspace, build_agent, load_detector, load_region_model, load_segmenter
from roi_agent.client import Connection, RemoteRegionModel
from roi_agent.loading import load_models
from roi_agent.model.detection.detector import Candidates
from roi_agent.model.errors import (
    BoxOutOfBounds,
    Cancelled,
    DeadlineExceeded,
    InvalidSetting,
    PromptTooLong,
    RoiAgentError,
    ServerUnreachable,
    Unauthorised,
    UnknownRegion,
    UserError,
    all_errors,
)
from roi_agent.model.geometry.regions import parse_regions
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.answers import Answer
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.questions import ClosedQuestion
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.detect import detect
from roi_agent.tools.segment import segment, segment_everything
from tests.serving import Serving, free_port, serving

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
UMBRELLA, FLAG, SQUARE = [123, 194, 303, 377], [141, 9, 246, 134], [315, 145, 504, 334]
KEY = "a-key-of-16-chars"


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    with serving(key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def remote(served: Serving) -> RegionModel:
    return load_region_model(served.address, api_key=KEY)


@pytest.fixture(scope="module")
def local() -> RegionModel:
    return load_region_model("nano")


def alike(there: Answer, here: Answer) -> bool:
    assert there.confidence == pytest.approx(here.confidence, abs=1e-4)
    assert [token.text for token in there.tokens] == [token.text for token in here.tokens]
    fields = ("text", "regions", "notes", "finish")
    return all(getattr(there, name) == getattr(here, name) for name in fields) and (
        there.usage.prompt_tokens == here.usage.prompt_tokens and there.usage.completion_tokens == here.usage.completion_tokens
    )


@pytest.mark.parametrize(
    ("question", "boxes", "options"),
    [
        ("What is <region1>?", [UMBRELLA], {}),
        ("What is here?", [], {}),
        ("Is <region1> left of <region2>?", [UMBRELLA, SQUARE], {"top_logprobs": 2}),
        ("What is <region1>?", [[10, 10, 14, 14]], {}),  # smaller than a cell: a note
        ("What is <region1>?", [FLAG], {"temperature": 1.5, "seed": 3}),
        ("What is <region1>?", [FLAG], {"max_new_tokens": 2}),
        ("What is <region1>?", [UMBRELLA], {"stop": ("umbrella",)}),
    ],
)
def test_questions_streams_and_tasks_get_the_local_answer(
    local: RegionModel, remote: RegionModel, question: str, boxes: Any, options: dict[str, Any]
) -> None:
    here = local.ask(SCENE, question, boxes, **options)
    assert alike(remote.ask(SCENE, question, boxes, **options), here)
    stream = remote.stream(SCENE, question, boxes, **options)
    assert "".join(stream) == here.text and alike(stream.answer(), here)
    assert alike(asyncio.run(remote.aask(SCENE, question, boxes, **options)), here)


def test_conversations_batches_and_choices(local: RegionModel, remote: RegionModel) -> None:
    chats = [model.chat(SCENE, [UMBRELLA, SQUARE]) for model in (local, remote)]
    for question in ("Is <region1> left of <region2>?", "Why?"):
        here, there = (chat.ask(question) for chat in chats)
        assert alike(there, here)
    each = [model.ask_each(SCENE, "What is <region>?", [UMBRELLA, FLAG, SQUARE]) for model in (local, remote)]
    assert all(alike(there, here) for here, there in zip(*each, strict=True))
    assert remote.ask_each(SCENE, "What is <region>?", []) == []
    chosen, choice = (model.choose(SCENE, "What colour is <region1>?", ["blue", "pink"], [FLAG]) for model in (local, remote))
    assert (
        (choice.text, choice.index, choice.regions) == (chosen.text, chosen.index, chosen.regions) == ("pink", 1, chosen.regions)
    )
    assert choice.scores == pytest.approx(chosen.scores, abs=1e-4)
    assert remote.ask(SCENE.read_bytes(), "What is <region1>?", [FLAG]).usage.cached_tokens > 0


def test_choices_after_earlier_turns(remote: RegionModel, local: RegionModel) -> None:
    image, regions = load_image(SCENE), parse_regions([UMBRELLA, SQUARE], size_wh=load_image(SCENE).size_wh)
    earlier = Turn("Is <region1> left of <region2>?", "yes")
    reasons = ["region1 is at the left of region2", "region1 is above region2"]
    questions: list[ClosedQuestion] = [
        ([earlier, Turn("Why?")], regions, reasons),
        ([Turn("What colour is <region1>?")], regions, ["orange", "pink", "blue"]),
    ]
    here, there = (model.choose_all(image, questions) for model in (local, remote))
    assert [each.text for each in here] == [each.text for each in there] == [reasons[0], "orange"]
    for one, other in zip(here, there, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4) and one.options == other.options
    assert remote.choose_all(image, []) == []


async def test_async_streams_come_piece_by_piece(remote: RegionModel) -> None:
    assert [piece async for piece in remote.stream(SCENE, "What is <region1>?", [UMBRELLA])] == [
        "a", " large", " orange", " umbrella",
    ]  # fmt: skip


def test_a_stream_that_is_cancelled(remote: RegionModel) -> None:
    stream = remote.stream(SCENE, "What is <region1>?", [UMBRELLA], temperature=2.0, max_new_tokens=1500, seed=1)
    stream.cancel()
    with pytest.raises(Cancelled):
        stream.answer()


def test_an_agent_works_with_it(remote: RegionModel) -> None:
    agent = build_agent(region_model=remote)
    assert "yellow" in agent.run(SCENE, "What colour is the largest thing right of the umbrella?").answer


@pytest.mark.parametrize(
    ("error", "question", "boxes", "options"),
    [
        (UnknownRegion, "What is <region2>?", [UMBRELLA], {}),
        (BoxOutOfBounds, "What is <region1>?", [[0, 0, 999, 9]], {}),
        (PromptTooLong, "What is <region1>? " * 700, [UMBRELLA], {}),
        (InvalidSetting, "What is <region1>?", [UMBRELLA], {"temperature": 3}),
        (DeadlineExceeded, "What is <region1>?", [UMBRELLA], {"timeout_s": 1e-6}),
    ],
)
def test_errors_are_the_local_ones(
    local: RegionModel, remote: RegionModel, error: type[RoiAgentError], question: str, boxes: Any, options: dict[str, Any]
) -> None:
    told = []
    for model in (local, remote):
        with pytest.raises(error) as caught:
            model.ask(SCENE, question, boxes, **options)
        told.append(caught.value)
        with pytest.raises(error):
            model.stream(SCENE, question, boxes, **options).answer()
    assert told[0].do == told[1].do and (error is DeadlineExceeded or told[0].problem == told[1].problem)


def test_every_error_is_known_by_its_code() -> None:
    assert all_errors()["unknown_region"] is UnknownRegion and len(all_errors()) > 30


def test_servers_that_are_none_and_keys_that_are_wrong(served: Serving) -> None:
    with pytest.raises(Unauthorised, match="API key"):
        load_region_model(served.address, api_key="a-wrong-key-of-mine")
    with pytest.raises(ServerUnreachable, match="cannot be reached"):
        RemoteRegionModel(Connection(f"http://127.0.0.1:{free_port()}", max_retries=0))
    with pytest.raises(InvalidSetting, match="settings are for models in this process"):
        load_region_model(served.address, device="cpu")


def test_something_else_that_listens_is_no_server_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            for reply in (b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope", b""):
                connection, _ = listening.accept()
                connection.recv(4096)
                connection.sendall(reply)
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        for problem in ("answered", "cannot be reached"):
            with pytest.raises(ServerUnreachable, match=problem):
                RemoteRegionModel(Connection(address, max_retries=0))


@pytest.mark.sweep
def test_a_server_killed_and_started_again_under_load_costs_no_answer(local: RegionModel) -> None:
    port = free_port()
    with serving(port=port) as first:
        remote = RemoteRegionModel(Connection(first.address, max_retries=20))
        questions = ["What is <region1>?", "What colour is <region1>?"]
        expected = [local.ask(SCENE, question, [UMBRELLA]).text for question in questions]
        begun, left = threading.Semaphore(0), 15

        def ask_on() -> int:
            for _ in range(left):
                for question, text in zip(questions, expected, strict=True):
                    assert remote.ask(SCENE, question, [UMBRELLA]).text == text
                begun.release()
            return left

        with ThreadPoolExecutor(4) as pool:
            working = [pool.submit(ask_on) for _ in range(4)]
            for _ in range(8):
                assert begun.acquire(timeout=60)
            first.stop(signal.SIGKILL)
            assert not all(each.done() for each in working)
            with serving(port=port):
                assert [each.result(timeout=120) for each in working] == [left] * 4


# -- detector and segmenter


def test_finding_by_words_is_the_local_finding(served: Serving) -> None:
    here, there = load_detector("nano"), load_detector(served.address, api_key=KEY)
    images, phrases = [load_image(SCENE).pixels, Image.new("RGB", (64, 48), "white")], ["umbrella", "red square", "zeppelin"]
    for image, theirs in zip(images, there.candidates(images, phrases), strict=True):
        (mine,) = here.candidates([image], phrases)
        assert np.array_equal(mine.boxes, theirs.boxes) and np.array_equal(mine.scores, theirs.scores)
        assert (mine.unknown, mine.notes) == (theirs.unknown, theirs.notes)
    assert detect(seen(), phrases, detector=there).to_dict() == detect(seen(), phrases, detector=here).to_dict()


@pytest.mark.parametrize(
    "pointed", [{"boxes": [UMBRELLA, FLAG]}, {"points": [(210, 280), (20, 20, 0)]}, {"points": [(210, 280)], "several": True}]
)
def test_pointing_gives_the_local_masks(served: Serving, pointed: dict[str, Any]) -> None:
    here, there = load_segmenter("nano"), load_segmenter(served.address, api_key=KEY)
    mine = segment(seen(), segmenter=here, **pointed)
    assert segment(seen(), segmenter=there, **pointed).to_dict() == mine.to_dict()
    mask = mine.regions[0].mask
    assert mask is not None
    rough: dict[str, Any] = {"mask": mask.to_array(), "boxes": [UMBRELLA]}
    assert segment(seen(), segmenter=there, **rough).to_dict() == segment(seen(), segmenter=here, **rough).to_dict()


def test_everything_in_an_image_is_found_there_too(served: Serving) -> None:
    here, there = load_segmenter("nano"), load_segmenter(served.address, api_key=KEY)
    assert segment_everything(seen(), segmenter=there).to_dict() == segment_everything(seen(), segmenter=here).to_dict()


def test_an_agent_needs_no_model_in_its_own_process(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROI_AGENT_API_KEY", KEY)
    agent = build_agent(region_model=served.address, detector=served.address, segmenter=served.address)
    assert agent.run(SCENE, "What colour is the largest thing right of the umbrella?").answer == "yellow (region8)"


def test_what_a_model_is_limited_to_goes_over_the_wire(served: Serving, local: RegionModel, remote: RegionModel) -> None:
    limit = "nano knows only the rendered scenes of the toy world"
    detectors = [load_detector(each, api_key=KEY) for each in ("nano", served.address)]
    assert [getattr(each, "knows", None) for each in (local, remote, *detectors)] == [limit] * 4


def test_a_limited_model_on_a_server_overrules_no_detector_of_the_users_own(remote: RegionModel) -> None:
    def cats(image: Image.Image) -> list[dict[str, Any]]:
        return [{"box": UMBRELLA, "label": "cat", "score": 0.93}]

    result = build_agent(region_model=remote, detector=cats).run(SCENE, "How many cats are there?")
    assert (result.status, result.said) == ("answered", "one (region1)")
    assert any("the region model does not see that region1 is a cat" in doubt for doubt in result.doubts)


def test_a_limited_model_on_a_server_still_overrules_a_detector_of_the_same_limit(served: Serving, remote: RegionModel) -> None:
    for detector in (load_detector("nano"), load_detector(served.address, api_key=KEY)):
        result = build_agent(region_model=remote, detector=detector).run(SCENE, "Is there a star?")
        assert result.said == "no, no star was found"


class Anywhere:
    """A detector of phrases without a limit, which finds nothing."""

    name, threshold = "anywhere", 0.5

    def candidates(self, images: Sequence[Image.Image], phrases: Sequence[str]) -> list[Candidates]:
        return [Candidates(np.zeros((0, 4)), np.zeros((0, len(phrases))))] * len(images)


def test_a_server_names_no_limit_of_models_that_have_none() -> None:
    app = build_app(load_models(region_model=None, detector=Anywhere()), ServerSettings(), name="mine")
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert "knows" not in client.get("/v1/models").json()["data"][0]
        assert client.get("/v1/detect").json()["knows"] is None


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("/detect/candidates", {"phrases": ["Umbrella"]}, "not in lower case"),
        ("/segment/masks", {"prompts": [{}]}, "prompt is empty"),
        ("/segment/masks", {"prompts": [{"points": [[-1, 5, 1]]}]}, "the point"),
        ("/segment/masks", {"prompts": [{"points": [[5, 5, 2]]}]}, "the point"),
        ("/segment/masks", {"prompts": [{"box": [5, 5, 1, 1]}]}, "box"),
        ("/segment/masks", {"prompts": [{"mask": {"size": [2, 2], "counts": [0, 4]}}]}, "mask"),
    ],
)
def test_what_no_client_of_ours_sends_is_refused(served: Serving, path: str, body: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Connection(served.address, api_key=KEY).post(path, load_image(SCENE), body)


def test_a_detector_that_gives_no_candidates_says_so() -> None:
    app = build_app(load_models(detector=lambda image: []), ServerSettings(), name="nano")
    with TestClient(app, base_url="http://127.0.0.1") as client:
        told = client.get("/v1/detect")
        assert told.status_code == 400 and "a function" in told.json()["error"]["problem"]


def seen() -> Workspace:
    workspace = Workspace()
    workspace.add_image(SCENE)
    return workspace
