"""The page without a browser: visitors and their limits, boxes that are drawn, the chat, files, and the key."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from roi_agent.agent.planners import load_planner
from roi_agent.loading import load_models
from roi_agent.model.boxes import Box
from roi_agent.model.errors import InvalidSetting, UnknownImage
from roi_agent.model.regions import Region
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models
from roi_agent.ui import drawing, markup, mount, talking
from roi_agent.ui.actions import SCENES, Actions, Seen
from roi_agent.ui.visitors import Visitors, new_name
from roi_agent.ui.work import Work
from tests.commands import Runner

UMBRELLA, SQUARE = (123, 194, 303, 377), (315, 145, 504, 334)
NAME = "0" * 32


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture
def visitors() -> Visitors:
    return Visitors(most=10, keep_s=60, image_bytes=1 << 30)


@pytest.fixture
def actions(models: Models, visitors: Visitors) -> Actions:
    async def lane(work: Any) -> Any:
        return work()

    return Actions(visitors, models, load_planner("offline"), lane)


@pytest.fixture
def work(actions: Actions) -> Work:
    return opened(actions)


def opened(actions: Actions, name: str = NAME, scene: int = 0) -> Work:
    work = actions.open_scene(name, scene).work
    assert work is not None
    return work


def drawn(*boxes: tuple[float, ...], labels: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """As the browser tells it, newest first."""
    named = [*labels, *[""] * (len(boxes) - len(labels))]
    items = [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in boxes]
    return [{"label": label, **item} for label, item in zip(named, items, strict=True)][::-1]


def names(work: Work) -> list[str]:
    return [region.name for region in work.regions]


def last(work: Work) -> str:
    return str(work.messages[-1]["content"])


def said(actions: Actions, text: str, mode: str = "model") -> list[Seen]:
    return list(actions.talk(NAME, text, mode))


# -- visitors


def test_visitors_are_forgotten_after_a_time_and_beyond_a_number(work: Work) -> None:
    now = [0.0]
    visitors = Visitors(most=2, keep_s=10, image_bytes=1 << 30, clock=lambda: now[0])
    first, second, third = (new_name() for _ in range(3))
    for name in (first, second):
        visitors.put(name, work)
    now[0] = 5
    assert visitors.find(first) is work  # and is now the one who was here last
    visitors.put(third, work)
    assert visitors.find(second) is None and len(visitors) == 2
    now[0] = 14
    assert visitors.find(third) is work
    now[0] = 15.5
    assert visitors.find(first) is None and len(visitors) == 1
    now[0] = 99
    assert len(visitors) == 0
    with pytest.raises(UnknownImage, match="no image is open; open one"):
        visitors.get(third)


def test_images_take_a_limited_memory_and_the_newest_stays(work: Work) -> None:
    visitors = Visitors(most=10, keep_s=10, image_bytes=2 * work.image_bytes)
    kept = [new_name() for _ in range(3)]
    for name in kept:
        visitors.put(name, work)
    assert [visitors.find(name) is not None for name in kept] == [False, True, True]
    tight = Visitors(most=10, keep_s=10, image_bytes=1)
    tight.put(kept[0], work)
    assert tight.find(kept[0]) is work


@pytest.mark.parametrize("name", [None, "", "me", "0" * 31, "G" * 32, 7, ["0" * 32], "../" * 10])
def test_a_name_that_we_did_not_give_is_replaced(actions: Actions, visitors: Visitors, name: object) -> None:
    seen = actions.open_scene(name, 0)
    assert re.fullmatch("[0-9a-f]{32}", seen.visitor) and visitors.find(name) is None
    assert visitors.find(seen.visitor) is seen.work is not None


def test_limits_are_numbers_above_zero() -> None:
    with pytest.raises(InvalidSetting, match="visitors is 0"):
        ServerSettings(visitors=0)
    with pytest.raises(InvalidSetting, match="visitor_s is -1"):
        ServerSettings(visitor_s=-1)


def test_visitors_keep_their_own_work(actions: Actions) -> None:
    one, other = opened(actions), opened(actions, "1" * 32, 1)
    drawing.edit(one, drawn(UMBRELLA))
    assert names(one) == ["region1"] and names(other) == []
    list(actions.talk("1" * 32, "What is region1?", "model"))
    assert "unknown region" in last(other) and one.messages == []


# -- drawing


def test_a_draft_may_be_moved_and_a_used_region_keeps_its_meaning(work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    drawing.edit(work, drawn((125, 200, 305, 380), labels=("region1",)))
    assert names(work) == ["region1"] and work.regions[0].box.xyxy == (125, 200, 305, 380)
    work.settle()
    drawing.edit(work, drawn(SQUARE, labels=("region1",)))
    assert names(work) == ["region2"] and work.workspace.region("region1").box.xyxy == (125, 200, 305, 380)
    work.settle()
    assert names(work) == ["region2"] and work.workspace.region("region2").box.xyxy == SQUARE


def test_handles_stay_when_an_earlier_draft_is_deleted(work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    drawing.edit(work, drawn(UMBRELLA, SQUARE, labels=("region1",)))
    assert names(work) == ["region1", "region2"]
    drawing.edit(work, drawn(SQUARE, labels=("region2",)))
    assert names(work) == ["region2"]
    drawing.delete(work, "region2")
    assert names(work) == [] and len(work.workspace.regions()) == 2


def test_the_last_draft_leaves_no_trace_and_what_is_drawn_again_comes_back(work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    drawing.delete(work, "region1")
    assert work.workspace.regions() == ()
    drawing.edit(work, drawn(UMBRELLA))
    work.settle()
    drawing.delete(work, "region1")
    drawing.edit(work, drawn(UMBRELLA))
    assert names(work) == ["region1"]


def test_a_label_is_of_the_draft_and_later_of_a_new_region(work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    drawing.rename(work, "region1", "  my   umbrella ")
    assert [(region.name, region.label) for region in work.regions] == [("region1", "my umbrella")]
    work.settle()
    drawing.rename(work, "region1", "")
    assert [(region.name, region.label) for region in work.regions] == [("region2", None)]


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((10, 10, 10, 10), None),
        ((10, 10, 10.5, 90), None),
        ((-50, -50, 40, 40), (0, 0, 40, 40)),
        ((500, 500, 900, 900), (500, 500, 512, 512)),
        ((600, 600, 700, 700), None),
        ((90, 90, 10, 10), None),
        ((0, 0, 512, 512), (0, 0, 512, 512)),
    ],
)
def test_boxes_are_cut_at_the_edge_and_clicks_are_none(work: Work, box: tuple[float, ...], kept: tuple[int, ...] | None) -> None:
    drawing.edit(work, drawn(box))
    assert [region.box.xyxy for region in work.regions] == ([] if kept is None else [kept])


@pytest.mark.parametrize(
    "items",
    [None, "boxes", [{}] * 201, [{"xmin": 1}], [{"xmin": "a", "ymin": 0, "xmax": 1, "ymax": 1}], drawn((0, 0, float("nan"), 9))],
)
def test_news_that_cannot_be_change_nothing(actions: Actions, work: Work, items: Any) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    seen = actions.hear(NAME, {"kind": "draw", "work": work.key, "page": "p", "number": 3, "boxes": items})
    assert seen.status is not None and "invalid_setting" in seen.status
    assert names(work) == ["region1"] and drawing.marks(work)["heard"] == {"p": 3}  # so that the browser takes the boxes back


def test_what_the_browser_is_told_says_which_of_its_drawings_it_holds(actions: Actions, work: Work) -> None:
    first = drawing.marks(work)
    for number in range(1, 12):
        news = {"kind": "draw", "work": work.key, "page": f"page{number}", "number": number, "boxes": drawn(UMBRELLA)}
        actions.hear(NAME, news)
    told = drawing.marks(work)
    assert told["version"] > first["version"] and first["heard"] == {} and len(told["boxes"]) == 1
    assert told["heard"] == {f"page{number}": number for number in range(4, 12)}  # of many pages the latest


@pytest.mark.parametrize("news", [None, [], {"kind": "draw", "boxes": []}, {"kind": "draw", "work": "old", "boxes": []}])
def test_late_news_of_an_earlier_image_is_let_go(actions: Actions, work: Work, news: Any) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    assert actions.hear(NAME, news).status is None and names(work) == ["region1"]


def test_a_large_image_is_shown_smaller_and_its_boxes_are_in_its_own_pixels(actions: Actions, tmp_path: Path) -> None:
    Image.new("RGB", (2560, 1000), "grey").save(tmp_path / "large.png")
    work = actions.open_file(NAME, str(tmp_path / "large.png")).work
    assert work is not None and drawing.picture(work).size == (1280, 500)
    drawing.edit(work, drawn((100, 100, 200, 300)))
    assert work.regions[0].box.xyxy == (200, 200, 400, 600)
    (box,) = drawing.boxes(work)
    assert [box[side] for side in ("xmin", "ymin", "xmax", "ymax")] == [100, 100, 200, 300]
    drawing.edit(work, [box | {"xmin": 100.4}])  # the browser's own rounding
    assert work.regions[0].box.xyxy == (200, 200, 400, 600)


def test_lighting_dims_the_others_and_brings_back_what_was_hidden(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA, SQUARE))
    light = {"kind": "light", "work": work.key, "name": "region2"}
    actions.hear(NAME, light)
    colours = {box["label"]: box["color"] for box in drawing.marks(work)["boxes"]}
    assert set(colours) == {"region1", "\u25b6 region2"} and colours["region1"] == "rgb(148, 163, 184)"
    actions.hear(NAME, light)
    assert work.lit is None
    work.settle()
    drawing.delete(work, "region2")
    actions.hear(NAME, light)
    assert names(work) == ["region1", "region2"] and work.lit == "region2"
    assert actions.hear(NAME, light | {"name": "region9"}).status is None and work.lit is None


# -- finding and talking


async def test_finding_by_words_and_by_a_point(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn((0, 0, 50, 50)))
    seen = await actions.find(NAME, "orange umbrella")
    assert seen.status is not None and "1 found in image1: region2 (orange umbrella" in seen.status
    assert names(work) == ["region1", "region2"]
    bare = drawing.picture(work)
    assert "picture" not in drawing.marks(work)
    await actions.point(NAME, (410, 240))
    assert names(work)[-1] == "region3" and work.regions[-1].mask is not None
    assert drawing.marks(work)["picture"].endswith("-region3") and drawing.picture(work).tobytes() != bare.tobytes()
    assert work.regions[-1].box.xyxy == pytest.approx(SQUARE, abs=12)
    assert max(drawing.drawn(work).size) <= drawing.SIDE
    for act in (actions.find(NAME, "  "), actions.point(NAME, (2000, 5)), actions.find("f" * 32, "umbrella")):
        seen = await act
        assert seen.status is not None and 'role="alert"' in seen.status and "\n" not in seen.status


def test_the_chat_streams_and_goes_on_over_turns(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    grown = []
    for seen in actions.talk(NAME, "What is this?", "model"):
        assert seen.work is work
        grown.append(last(work))
    assert len(set(grown)) > 3 and grown[-1].startswith("a large orange umbrella") and "about [region1]" in grown[-1]
    drawing.edit(work, drawn(UMBRELLA, SQUARE, labels=("region1",)))
    said(actions, "Is region1 left of <region2>?")
    assert last(work).startswith("yes")
    said(actions, "Why?")
    assert last(work).startswith("[region1](#region1) is at the left of [region2](#region2)")
    said(actions, "What is region2?")
    assert last(work).startswith("a large yellow square") and len(work.messages) == 8
    actions.restart(NAME)
    assert work.messages == [] and work.turns == [] and names(work) == ["region1", "region2"]


@pytest.mark.parametrize(("text", "told"), [("", "the question is empty"), ("x" * 2001, "2001 characters")])
@pytest.mark.parametrize("mode", ["model", "agent"])
def test_questions_that_cannot_be_asked_are_told_in_one_line(
    actions: Actions, work: Work, text: str, told: str, mode: str
) -> None:
    said(actions, text, mode)
    assert told in last(work) and last(work).startswith("**invalid setting**") and len(work.messages) == 1


def test_a_failed_question_leaves_the_conversation(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    said(actions, "What is region1?")
    before = list(work.turns)
    said(actions, "What is region7?")
    assert last(work).startswith("**unknown region**") and "region1" in last(work)
    assert work.turns == before


def test_an_answer_that_is_stopped_stays_as_far_as_it_was_written_and_is_no_part_of_the_conversation(
    actions: Actions, work: Work
) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    for _ in range(20):  # the answer may be there before the visitor's wish is
        actions.restart(NAME)
        talk = actions.talk(NAME, "What is region1?", "model")
        next(talk)
        while last(work) == "" or "What" in last(work):
            next(talk)
        actions.stop(NAME)
        ending = list(talk)[-1]
        if "stopped" in last(work):
            break
    assert last(work).startswith("a") and last(work).endswith("<small>stopped</small>") and "umbrella" not in last(work)
    assert work.turns == [] and not ending.talking
    actions.stop(NAME)  # nothing goes on
    said(actions, "What is region1?")
    assert last(work).startswith("a large orange umbrella")


def test_an_agent_that_is_stopped_tells_what_it_found(actions: Actions, work: Work) -> None:
    talk = actions.talk(NAME, "What colour is the largest thing right of the umbrella?", "agent")
    next(talk)
    while not any("metadata" in each for each in work.messages):
        next(talk)
    actions.stop(NAME)
    list(talk)
    assert "it was cancelled. Found out so far" in last(work) and len(work.messages) < 7 and work.trace is not None


def test_without_an_image_a_question_is_told_what_to_do(actions: Actions) -> None:
    (seen,) = said(actions, "What is region1?")
    assert seen.work is None and seen.status is not None and "no image is open" in seen.status


def test_the_agent_tells_its_steps_and_the_page_shows_what_the_answer_rests_on(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    said(actions, "What colour is the largest thing right of the umbrella?", "agent")
    titles = [each["metadata"]["title"] for each in work.messages if "metadata" in each]
    assert any("find" in title for title in titles) and last(work).startswith("yellow")
    shown = [each for each in work.messages if str(each["content"]).startswith("![Picture of step")]
    assert len(shown) == len(work.pictures) >= 2
    assert all(Image.open(io.BytesIO(data)).format == "JPEG" for data in work.pictures.values())
    assert work.trace is not None and names(work)[0] == "region1" and len(names(work)) == 1 + len(work.trace.regions)


def test_what_is_drawn_and_asked_about_while_the_agent_works_is_shown_afterwards(actions: Actions, work: Work) -> None:
    talk = actions.talk(NAME, "What colour is the largest thing right of the umbrella?", "agent")
    next(talk)
    while not any("metadata" in each for each in work.messages):
        next(talk)
    drawing.edit(work, drawn((20, 20, 90, 90)))
    work.settle()
    list(talk)
    assert (20, 20, 90, 90) in [region.box.xyxy for region in work.regions]


# -- what is shown

EVIL = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) **b** `c`"


def test_what_others_say_is_never_markup() -> None:
    region = Region("region1", Box(0, 0, 9, 9), label='"><script>alert(1)</script>')
    for text in (markup.chips([region], lit=None, open_names=["region1"]), markup.chips([region], lit="region1", open_names=[])):
        assert "<script" not in text and "&lt;script&gt;" in text
    for text in (markup.plain(EVIL), markup.linked(EVIL), talking.told(InvalidSetting(EVIL, do=EVIL))):
        assert "<img" not in text and "](java" not in text and r"\`c" in text
    assert "<img" not in markup.status(EVIL) + markup.status(error=InvalidSetting(EVIL))
    assert markup.linked("is <region2> left of region10?") == "is [region2](#region2) left of [region10](#region10)?"


def test_an_empty_page_says_what_to_do() -> None:
    assert "drag a box" in markup.chips([], lit=None, open_names=[])
    assert "once the agent has worked" in markup.files("/ui/files/x", trace=False)
    assert markup.status() == ""


@pytest.mark.parametrize("data", [b"", b"no image", SCENES[0].read_bytes()[:300], b"GIF89a"])
def test_a_broken_file_is_refused_and_the_earlier_image_kept(actions: Actions, work: Work, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(data)
    for path in (str(tmp_path / "broken.png"), str(tmp_path / "gone.png"), None):
        seen = actions.open_file(NAME, path)
        assert seen.work is work and seen.status is not None and "<b>image_unreadable</b>" in seen.status


def test_the_scenes_are_those_of_the_examples() -> None:
    examples = Path(__file__).parent.parent / "examples"
    assert [each.read_bytes() for each in SCENES] == [(examples / each.name).read_bytes() for each in SCENES]


# -- files and the key


def served(models: Models, **given: Any) -> Iterator[TestClient]:
    application = build_app(models, ServerSettings(**given), name="nano")
    mount(application, models, ServerSettings(**given), load_planner("offline"), application.state.roi.finding.run)
    with TestClient(application, base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def client(models: Models) -> Iterator[TestClient]:
    yield from served(models)


@pytest.fixture(scope="module")
def keyed(models: Models) -> Iterator[TestClient]:
    yield from served(models, api_key="a-long-secret")


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


def test_the_page_is_at_ui_and_the_root_leads_there(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/ui/"
    page = client.get("/ui/")
    assert page.status_code == 200 and "roi-question" in page.text
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert client.get("/v1/models").status_code == 200
    assert client.get("/ui/", headers={"host": "evil.example"}).status_code == 400
    missing = client.get(f"/ui/files/{NAME}/regions.json")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "unknown_image"


def test_the_page_is_no_way_around_the_key(keyed: TestClient) -> None:
    inside = ("/", "/ui/", "/ui/config", "/ui/gradio_api/info", f"/ui/files/{NAME}/regions.json", "/ui/../ui/config")
    for path in inside:
        for headers in ({}, basic("wrong-secret"), {"authorization": "Basic %%%"}, {"authorization": "Basic /w=="}):
            answer = keyed.get(path, headers=headers, follow_redirects=False)
            assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic realm="), path
    assert keyed.post("/ui/gradio_api/queue/join", json={}).status_code == 401
    assert keyed.post("/ui/gradio_api/upload", files={"files": b"x"}).status_code == 401
    assert keyed.get("/ui/", headers=basic("a-long-secret")).status_code == 200
    assert keyed.get("/ui/", headers={"authorization": "Bearer a-long-secret"}).status_code == 200


def test_what_browsers_send_by_themselves_opens_no_other_route(keyed: TestClient) -> None:
    refused = keyed.get("/v1/models", headers=basic("a-long-secret"))
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert keyed.get("/v1/models", headers={"authorization": "Bearer a-long-secret"}).status_code == 200


def test_a_page_of_another_site_cannot_use_the_page(client: TestClient) -> None:
    for site, status in (("cross-site", 400), ("same-origin", 200)):
        sent = client.post("/ui/gradio_api/upload", files={"files": b"x"}, headers={"sec-fetch-site": site})
        assert sent.status_code == status


def test_a_missing_extra_says_how_to_install_it(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "gradio" in name else name)
    result = run("serve", "--ui")
    assert result.code == 2 and result.err.startswith("missing_extra: this needs gradio, gradio_image_annotation")
    assert "pip install 'roi-agent[ui]'" in result.err
