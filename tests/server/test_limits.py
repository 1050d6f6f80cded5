"""The server's keys, limits and faults, in this process where they can be arranged."""

import asyncio
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from roi_agent.lanes import Lane
from roi_agent.loading import load_models
from roi_agent.model.engine import EngineSettings
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import (
    ImageTooLarge,
    ImageUnreadable,
    InvalidSetting,
    QueueFull,
    RequestTooLarge,
    Unauthorised,
    UnknownImage,
)
from roi_agent.model.images.loading import load_image
from roi_agent.server import build_app
from roi_agent.server.images import ImageStore
from roi_agent.settings import ServerSettings, api_key_from_environment

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
KEY = "a-key-of-16-chars"
ASK = {"questions": [{"turns": [{"question": "What colour is <region1>?"}], "regions": [{"box": [123, 194, 303, 377]}]}]}


def app_of(engine: EngineSettings | None = None, **options: Any) -> FastAPI:
    return build_app(load_models(engine=engine), ServerSettings(**options), name="nano")


def client_of(app: FastAPI, **headers: str) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", headers=headers, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(app_of(max_body_bytes=2_000_000, max_questions=4)) as made:
        yield made


def model_of(client: TestClient) -> LocalRegionModel:
    model = client.app.state.roi.model  # type: ignore[attr-defined]
    assert isinstance(model, LocalRegionModel)
    return model


def uploaded(client: TestClient) -> str:
    url: str = client.post("/v1/images", content=SCENE.read_bytes(), headers={"content-type": "image/png"}).json()["url"]
    return url


# -- the key


def test_every_route_but_health_wants_the_key() -> None:
    app = app_of(api_key=KEY)
    with client_of(app) as client:
        paths = {path: next(iter(methods)) for path, methods in app.openapi()["paths"].items()}
        for path, method in {**paths, "/nowhere": "get"}.items():
            for header in (
                {},
                {"authorization": f"Bearer {KEY}x"},
                {"authorization": KEY[:-1]},
                {"authorization": "Bearer none"},
            ):
                told = client.request(method, path, headers=[(name, value) for name, value in header.items()])
                if path in ("/healthz", "/readyz"):
                    assert told.status_code == 200
                else:
                    assert told.status_code == 401 and told.json()["error"]["code"] == Unauthorised.code
                    assert told.headers["www-authenticate"] == "Bearer" and KEY not in told.text
        assert client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"host": "0.0.0.0"}, "can be reached from other machines"),
        ({"host": "example.org"}, "can be reached from other machines"),
        ({"host": "::"}, "can be reached from other machines"),
        ({"api_key": "short"}, "too short"),
        ({"api_key": "with a new\nline"}, "invalid characters"),
        ({"port": 70000}, "the port is 70000"),
        ({"max_requests": 0}, "max_requests is 0"),
        ({"drain_s": float("nan")}, "drain_s is nan"),
    ],
)
def test_settings_that_would_be_unsafe_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSetting, match=problem):
        ServerSettings(**options)


def test_beyond_this_machine_only_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROI_AGENT_API_KEY", KEY)
    assert api_key_from_environment() == KEY
    assert not ServerSettings.from_environment(host="0.0.0.0").local
    assert all(ServerSettings(host=host).local for host in ("127.0.0.1", "127.0.0.5", "::1", "localhost"))


def test_a_page_under_a_name_of_its_own_does_not_reach_a_local_server(client: TestClient) -> None:
    assert client.get("/v1/models", headers={"host": "evil.example.org"}).status_code == 400


# -- limits


def test_a_body_that_is_too_large_is_refused_however_it_comes(client: TestClient) -> None:
    large = b"x" * 2_000_001
    told = client.post("/v1/images", content=large)
    assert (told.status_code, told.json()["error"]["code"]) == (413, RequestTooLarge.code)
    in_pieces = client.post("/v1/images", content=iter([large[:1_500_000], large[1_500_000:]]))
    assert (in_pieces.status_code, in_pieces.json()["error"]["code"]) == (413, RequestTooLarge.code)


def test_too_many_questions_at_once_are_refused(client: TestClient) -> None:
    told = client.post("/v1/regions/ask", json={"image": uploaded(client), "questions": ASK["questions"] * 5})
    assert told.status_code == 400 and "ask at most 4 at once" in told.json()["error"]["message"]


def test_a_full_queue_says_when_to_retry() -> None:
    with client_of(app_of(EngineSettings(max_waiting=2))) as client:
        image = uploaded(client)
        batch = {"image": image, "questions": ASK["questions"] * 3}
        for path, wanted in (("/v1/regions/ask", batch), ("/v1/chat/completions", chat(image, n=8))):
            statuses = [client.post(path, json=wanted) for _ in range(2)]
            full = [each for each in statuses if each.status_code != 200]
            assert full and all((each.status_code, each.json()["error"]["code"]) == (429, QueueFull.code) for each in full)
            assert all(each.headers["retry-after"] == "1" for each in full)
        deadline = time.monotonic() + 10  # what was taken back is let go at the engine's next step
        while client.post("/v1/regions/ask", json={"image": image, **ASK}).status_code != 200:
            assert time.monotonic() < deadline


def test_more_requests_than_allowed_get_a_429() -> None:
    app = app_of(max_requests=1)
    with client_of(app) as client:
        image, held = uploaded(client), hold(model_of(client))
        first = threading.Thread(target=client.post, args=("/v1/regions/ask",), kwargs={"json": {"image": image, **ASK}})
        first.start()
        assert held.reached.wait(30)
        told = client.get("/v1/models")
        assert (told.status_code, told.json()["error"]["code"]) == (429, QueueFull.code)
        assert client.get("/healthz").status_code == 200  # whoever looks after the process still sees it live
        held.open.set()
        first.join(30)
        assert client.get("/v1/models").status_code == 200


async def test_a_lane_takes_so_much_at_once_and_so_much_waiting() -> None:
    lane, go = Lane(at_once=1, waiting=1), threading.Event()
    running = [asyncio.ensure_future(lane.run(lambda: go.wait(30))) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(QueueFull, match="2 calls are already waiting"):
        await lane.run(lambda: None)
    go.set()
    assert await asyncio.gather(*running) == [True, True]
    assert await lane.run(lambda: 7) == 7


# -- faults


class Held:
    """Holds the engine at its next step until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()


def hold(model: LocalRegionModel) -> Held:
    held, step = Held(), model.engine.runner.step

    def waiting(*given: Any) -> Any:
        held.reached.set()
        assert held.open.wait(30)
        return step(*given)

    model.engine.runner.step = waiting  # type: ignore[method-assign, assignment]
    return held


def chat(image: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "What colour is <region1>?"}, {"type": "image_url", "image_url": {"url": image}}]
    regions = {"regions": [{"box": [123, 194, 303, 377]}]}
    return {"model": "nano", "messages": [{"role": "user", "content": content}], "roi": regions, **more}


def test_a_server_whose_engine_hangs_is_live_and_not_ready() -> None:
    with client_of(app_of(ready_s=2.0)) as client:
        assert client.get("/readyz").status_code == 200
        image, held = uploaded(client), hold(model_of(client))
        asked = threading.Thread(target=client.post, args=("/v1/regions/ask",), kwargs={"json": {"image": image, **ASK}})
        asked.start()
        assert held.reached.wait(30)
        while (told := client.get("/readyz")).status_code == 200:  # for a second, from before
            time.sleep(0.05)
        assert told.status_code == 503 and "did not answer within 2 seconds" in told.json()["error"]["message"]
        assert client.get("/healthz").status_code == 200
        held.open.set()
        asked.join(30)
        assert client.get("/readyz").status_code == 200


def test_however_often_readiness_is_asked_the_model_answers_once_a_second() -> None:
    with client_of(app_of()) as client, ThreadPoolExecutor(8) as pool:
        engine = model_of(client).engine
        before, begin = engine.counters().answered, time.monotonic()
        told = list(pool.map(client.get, ["/readyz"] * 40))
        allowed = 1 + int(time.monotonic() - begin)  # the start asked already
        assert {each.status_code for each in told} == {200}
        assert engine.counters().answered - before <= allowed


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_breaks_is_reported_and_the_next_question_is_answered(stream: bool) -> None:
    with client_of(app_of()) as client:
        image, runner = uploaded(client), model_of(client).engine.runner
        step = runner.step
        runner.step = lambda *given: 1 / 0  # type: ignore
        told = client.post("/v1/chat/completions", json=chat(image, stream=stream))
        runner.step = step  # type: ignore[method-assign]
        if stream:
            last = told.text.strip().rpartition("data: ")[2]
            assert '"code": "engine_failed"' in last and "[DONE]" not in told.text
        else:
            assert (told.status_code, told.json()["error"]["code"]) == (500, "engine_failed")
            assert told.headers["x-should-retry"] == "false"
        assert client.post("/v1/chat/completions", json=chat(image)).json()["choices"][0]["message"]["content"] == "orange"


def test_an_internal_error_of_the_server_reveals_nothing_of_its_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("a secret of the inside")

    monkeypatch.setattr(client.app.state.roi.images, "get", broken)  # type: ignore[attr-defined]
    told = client.post("/v1/regions/ask", json={"image": "roi://images/x", **ASK})
    assert (told.status_code, told.json()["error"]["code"]) == (500, "internal_error") and "secret" not in told.text


# -- images


def test_images_are_kept_by_budget_and_time() -> None:
    now = 0.0
    store = ImageStore(2 * (4 * 512 * 512 + 8 * 512), 60.0, clock=lambda: now)
    first, image = store.add(SCENE.read_bytes())
    assert store.add(SCENE.read_bytes()) == (first, image) and len(store) == 1  # not decoded again
    others = [store.add(SCENE.with_name(f"scene{n}.png").read_bytes())[0] for n in (2, 1, 3)]
    assert len(store) == 2 and others[1] == first and store.nbytes <= 2 * image.nbytes
    with pytest.raises(UnknownImage):
        store.get(f"roi://images/{others[0]}")  # used longest ago
    assert store.get(f"roi://images/{first}") is image
    now = 61.0
    with pytest.raises(UnknownImage, match="expired"):
        store.get(f"roi://images/{first}")
    again, _ = store.add(SCENE.read_bytes())
    assert again != first and len(store) == 1


def test_handles_cannot_be_made_from_an_image_nor_paths_be_read(tmp_path: Path) -> None:
    store, other = ImageStore(2**30, 60.0), ImageStore(2**30, 60.0)
    assert store.add(SCENE.read_bytes())[0] != other.add(SCENE.read_bytes())[0]
    for name in (str(SCENE), f"file://{SCENE}", "http://localhost/x.png", "roi:images/x", ""):
        with pytest.raises(ImageUnreadable):
            store.get(name)
    assert load_image(SCENE).digest() == store.get("roi://images/" + store.add(SCENE.read_bytes())[0]).digest()


def test_an_image_counts_with_all_that_it_takes() -> None:
    """Pillow keeps four bytes a pixel of a picture in colours, and an address for each of its rows."""
    wide, tall = (load_image(Image.new("RGB", size)) for size in ((1000, 10), (10, 1000)))
    assert (wide.nbytes, tall.nbytes) == (4 * 10_000 + 8 * 10, 4 * 10_000 + 8 * 1000)
    store = ImageStore(2**30, 60.0)
    _, image = store.add(SCENE.read_bytes())
    assert store.nbytes == image.nbytes


@pytest.mark.parametrize("size", [(1, 65_536), (65_536, 1), (1, 10_000_000)])
def test_an_image_with_a_side_that_is_too_long_is_refused_before_it_is_decoded(client: TestClient, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    told = client.post("/v1/images", content=file.getvalue(), headers={"content-type": "image/png"})
    assert (told.status_code, told.json()["error"]["code"]) == (413, ImageTooLarge.code)
    assert "65535" in told.json()["error"]["message"]
