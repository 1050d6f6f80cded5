"""How a question names regions, by one rule at every door: near spellings are read; what names none, and no name, is said."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from roi_agent import load_region_model
from roi_agent.loading import load_models
from roi_agent.model.errors import InvalidSetting, RoiAgentError, UnknownRegion
from roi_agent.model.protocol.mentions import WHOLE_IMAGE, with_mentions
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from tests.commands import Runner
from tests.protocol.doors import DATA_URL, NAMES, SCENE, Door, Doors, toolbox

UMBRELLA = [123, 194, 303, 377]

MEANT = [
    "<region1>", "<1>", "<Region1>", "<region 1>", "<region_1>", "<region-1>", "<region01>", "<region1/>", "< region1 >",
    "<REGION 1>", "<region #1>", "<01>", "<region1 />",
]  # fmt: skip
BARE = ["region1", "Region1", "region 1", "region_1", "region-1", "region01", "REGION 1", "region #1"]
NONE = [
    "<region0>", "<region>", "<regions>", "<region1, region2>", "<region 12345>", "<star>", "<box1>", "</region1>", "<bbox>",
    "<0>", "<region1.5>", "<region one>",
]  # fmt: skip
PLAIN = [
    "What is this?", "Is 3 < 5 and 7 > 2?", "Which region is it?", "Are all 2 regions red?", "Is it <- or ->?", "subregion1",
    "<b@c.de>", "In the regional 1?", "Is <region1> left of <region12>?", "I <3 it",
]  # fmt: skip


@pytest.mark.parametrize("mention", MEANT)
def test_what_can_only_mean_a_region_is_read_as_it(mention: str) -> None:
    assert with_mentions(f"What is {mention}?") == "What is <region1>?"


@pytest.mark.parametrize("bare", BARE)
def test_a_handle_without_brackets_means_a_region_that_is_given_and_no_other(bare: str) -> None:
    assert with_mentions(f"What is {bare}?", ["region1"]) == "What is region1?"
    assert with_mentions(f"Is <1> red? Is {bare} small?") == "Is <region1> red? Is region1 small?"
    with pytest.raises(InvalidSetting, match=rf"names {bare} without brackets; write <region1>"):
        with_mentions(f"What is {bare}?", ["region2"])


@pytest.mark.parametrize("none", NONE)
def test_what_names_no_region_is_said(none: str) -> None:
    with pytest.raises(UnknownRegion, match="which is not a region"):
        with_mentions(f"What is {none}?", ["region1"])


def test_several_in_one_word_are_not_guessed() -> None:
    with pytest.raises(InvalidSetting, match="names regions 1 without brackets"):
        with_mentions("Are regions 1 and 2 red?", ["region1", "region2"])


@pytest.mark.parametrize("text", PLAIN)
def test_other_words_stay_as_they_are(text: str) -> None:
    assert with_mentions(text) == text


@pytest.mark.parametrize("mention", ["<region>", "<region >", "< Region>", "<REGION/>"])
def test_each_region_has_near_spellings_too(mention: str) -> None:
    assert with_mentions(f"What is {mention}?", each=True) == "What is <region>?"


@given(st.text(alphabet="<>region12 0#_-/aé", max_size=30))
def test_reading_twice_is_reading_once(text: str) -> None:
    try:
        read = with_mentions(text, ["region1", "region2"])
    except RoiAgentError:
        return
    assert with_mentions(read, ["region1", "region2"]) == read


# The same at every door


@pytest.fixture(scope="module")
def nano() -> RegionModel:
    return load_region_model("nano")


@pytest.fixture(scope="module")
def client(nano: RegionModel) -> Iterator[TestClient]:
    app = build_app(load_models(region_model=nano), ServerSettings(), name="nano")
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(params=NAMES)
def door(request: pytest.FixtureRequest, nano: RegionModel, client: TestClient, run: Runner) -> Door:
    found: Door = getattr(Doors(nano, client, run), request.param)
    return found


def test_every_door_reads_the_same(door: Door) -> None:
    for mention in ("<region1>", "<Region 1>", "<1>"):
        assert door(f"What is {mention}?", [UMBRELLA]) == ("a large orange umbrella", [])
    for bare in ("region1", "Region 1"):
        with pytest.raises(InvalidSetting, match="without brackets"):
            door(f"What is {bare}?", [])
    with pytest.raises(UnknownRegion, match="<star>, which is not a region"):
        door("What is <star>?", [UMBRELLA])
    with pytest.raises(UnknownRegion):
        door("What is <1>?", [])


def test_a_question_without_a_region_is_about_the_whole_image_and_says_so(door: Door, nano: RegionModel) -> None:
    whole = nano.ask(SCENE, "What is this?", [[0, 0, 512, 512]])
    text, notes = door("What is this?", [])
    assert notes == [WHOLE_IMAGE]
    assert text in (whole.text, "a large orange umbrella", "a medium brown cloud")


def test_the_whole_image_is_the_region_of_an_answer_and_none_of_the_workspace(nano: RegionModel) -> None:
    (region,) = nano.ask(SCENE, "What is this?").regions
    assert region.box.xyxy == (0, 0, 512, 512) and region.source == "whole image"
    reply = toolbox(nano, [UMBRELLA]).call("ask_about_regions", {"question": "What is this?"})
    assert reply.regions == () and reply.data["regions"] == [] and WHOLE_IMAGE in reply.text
    chosen = toolbox(nano, [UMBRELLA]).call("choose_answer", {"question": "What is this?", "options": ["a cup", "a ball"]})
    assert chosen.regions == () and WHOLE_IMAGE in chosen.text


def test_each_of_many_is_read_the_same(nano: RegionModel) -> None:
    expected = [each.text for each in nano.ask_each(SCENE, "What is <region>?", [UMBRELLA, [141, 9, 246, 134]])]
    assert [each.text for each in nano.ask_each(SCENE, "What is <region >?", [UMBRELLA, [141, 9, 246, 134]])] == expected
    reply = toolbox(nano, [UMBRELLA]).call("ask_each_region", {"question": "What is <Region/>?"})
    assert reply.data["answers"][0]["text"] == expected[0]
    for question in ("What is <1>?", "What is region 1?"):
        reply = toolbox(nano, [UMBRELLA]).call("ask_each_region", {"question": question})
        assert reply.error and "write <region>, which stands for each of them" in reply.text


def test_a_conversation_reads_earlier_turns_too(client: TestClient) -> None:
    image = {"type": "image_url", "image_url": {"url": DATA_URL}}
    messages = [
        {"role": "user", "content": [image, {"type": "text", "text": "Is <Region 1> below <2>?"}]},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "Why?"},
    ]
    roi = {"regions": [{"box": UMBRELLA}, {"box": [141, 9, 246, 134]}]}
    body = client.post("/v1/chat/completions", json={"model": "nano", "messages": messages, "roi": roi}).json()
    assert body["choices"][0]["message"]["content"] == "region1 is below region2"
