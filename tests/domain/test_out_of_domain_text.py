"""What clients that drop `roi` learn of an image that the model does not know: the text of the answer says so."""

import base64
import io
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from openai import OpenAI
from PIL import Image
from pydantic import SecretStr

from roi_agent.loading import load_region_model
from roi_agent.model.domain.domains import OUTSIDE
from roi_agent.model.images.loading import load_image
from roi_agent.model.toy.world.scenes import make_scene, render
from tests import photos
from tests.serving import Serving

QUESTION = "What is <region1>?"
ROI: dict[str, Any] = {"regions": [{"name": "region1", "box": [100, 60, 250, 200]}]}
WARNING = f"\n\nNote: {OUTSIDE}: nano knows only the rendered scenes of the toy world; do not rely on the answer."


@pytest.fixture(scope="module")
def openai(served: Serving) -> OpenAI:
    return OpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=0)


def url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


PHOTO, SCENE = url(photos.opened(photos.CHELSEA)), url(render(make_scene(7), 384).image)


def asked(image: str, *later: tuple[str, str]) -> list[Any]:
    content = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": image}}]
    return [{"role": "user", "content": content}, *({"role": role, "content": text} for role, text in later)]


@pytest.mark.parametrize("count", [1, 2])
def test_the_text_says_that_an_image_lies_outside(openai: OpenAI, count: int) -> None:
    for image, within in ((PHOTO, False), (SCENE, True)):
        found = openai.chat.completions.create(model="nano", messages=asked(image), n=count, extra_body={"roi": ROI})
        for choice in found.choices:
            text, roi = str(choice.message.content), choice.model_dump()["roi"]
            assert roi["in_domain"] is within and text.endswith(WARNING) is not within and text.count(OUTSIDE) == (not within)
            assert text.removesuffix(WARNING), "the answer itself comes first"


def test_streams_say_it_at_their_end(openai: OpenAI) -> None:
    for image, within in ((PHOTO, False), (SCENE, True)):
        whole = openai.chat.completions.create(model="nano", messages=asked(image), extra_body={"roi": ROI})
        events = openai.chat.completions.create(model="nano", messages=asked(image), stream=True, extra_body={"roi": ROI})
        text = "".join(choice.delta.content or "" for event in events for choice in event.choices)
        assert text == whole.choices[0].message.content and text.endswith(WARNING) is not within


def test_langchains_client_gets_it_too(served: Serving) -> None:
    chat = ChatOpenAI(model="nano", base_url=f"{served.address}/v1", api_key=SecretStr("none"), extra_body={"roi": ROI})
    message = HumanMessage(asked(PHOTO)[0]["content"])
    assert chat.invoke([message]).text.endswith(WARNING)
    assert "".join(chunk.text for chunk in chat.stream([message])).endswith(WARNING)


def test_an_earlier_answer_is_read_without_it(openai: OpenAI) -> None:
    bare, noted = (
        openai.chat.completions.create(
            model="nano",
            messages=asked(PHOTO, ("assistant", f"a large brown moon{end}"), ("user", "What colour is it?")),
            extra_body={"roi": ROI},
        )
        for end in ("", WARNING)
    )
    assert noted.usage and bare.usage and noted.usage.prompt_tokens == bare.usage.prompt_tokens
    assert noted.choices[0].message.content == bare.choices[0].message.content


def test_our_own_client_keeps_text_and_note_apart(served: Serving) -> None:
    remote, local = load_region_model(served.address), load_region_model("nano")
    image, boxes = load_image(photos.CHELSEA), [ROI["regions"][0]["box"]]
    expected = local.ask(image, QUESTION, boxes)
    stream = remote.stream(image, QUESTION, boxes)
    assert "".join(stream) == expected.text
    for answer in (stream.answer(), remote.ask(image, QUESTION, boxes), remote.ask_each(image, "What is <region>?", boxes)[0]):
        assert (answer.text, answer.in_domain) == (expected.text, False)
        assert sum(note.startswith(OUTSIDE) for note in answer.notes) == 1
