"""Photos over the limit of 50 megapixels: refused as long as nobody allows them, and read whole where somebody does."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from roi_agent import Workspace, load_region_model
from roi_agent.loading import load_models
from roi_agent.model.errors import ImageTooLarge, InvalidSetting
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import load_image
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from tests.commands import Runner
from tests.ui.stranger import Stranger, served

WIDE = (8000, 6400)  # 51 megapixels
LIMIT = 60_000_000


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "large.jpg"
    Image.new("RGB", WIDE, (90, 120, 150)).save(path)
    return path


def test_an_image_that_was_allowed_is_taken_everywhere(photo: Path) -> None:
    with pytest.raises(ImageTooLarge, match="over the limit of 50000000"):
        load_image(photo)
    loaded = load_image(photo, max_pixels=LIMIT)
    assert load_image(loaded) is loaded and Workspace().add_image(loaded).size_wh == WIDE
    answer = load_region_model("nano").ask(loaded, "What is <region1>?", [[7000, 6000, 7900, 6300]], max_new_tokens=1)
    assert answer.regions[0].box.xyxy == (7000, 6000, 7900, 6300)
    with pytest.raises(ImageTooLarge):
        load_image(loaded, max_pixels=50_000_000)
    assert Mask(WIDE, (0, WIDE[0] * WIDE[1])).area == WIDE[0] * WIDE[1]


def test_a_command_allows_them_by_an_option(run: Runner, photo: Path) -> None:
    asked = ["ask", str(photo), "What is <region1>?", "--box", "7000,6000,7900,6300", "--max-new-tokens", "1", "--json"]
    refused = run(*asked)
    assert refused.code == 2 and "--max-pixels" in refused.err
    told = json.loads(run(*asked, "--max-pixels", str(LIMIT)).out)
    assert told["regions"][0]["box"] == [7000, 6000, 7900, 6300]
    assert run("detect", str(photo), "flag .", "--max-pixels", str(LIMIT)).code == 0
    assert run(*asked, "--max-pixels", "1000").code == 2


def test_a_server_allows_them_by_a_setting(photo: Path) -> None:
    for settings, status in ((ServerSettings(), 400), (ServerSettings(max_image_pixels=LIMIT), 201)):
        with TestClient(build_app(load_models(), settings, name="nano"), base_url="http://127.0.0.1") as client:
            answered = client.post("/v1/images", content=photo.read_bytes(), headers={"content-type": "image/jpeg"})
            assert answered.status_code in (status, 200 if status == 201 else 413), answered.text
    for pixels in (0, 10**9):
        with pytest.raises(InvalidSetting, match="max_image_pixels"):
            ServerSettings(max_image_pixels=pixels)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {},
            "image_too_large.*over the limit of 50000000; make it smaller, or raise the limit.*--max-pixels for commands",
        ),
        (
            {"max_image_pixels": LIMIT, "visitor_bytes": 1 << 27},
            "page_full.*upload a smaller one, or raise the limit.*--visitor",
        ),
        ({"max_image_pixels": LIMIT}, "large.jpg|data:image|picture"),
    ],
)
def test_the_page_takes_the_setting_of_its_server_and_says_what_to_do(photo: Path, given: dict[str, int], told: str) -> None:
    with served(load_models(), **given) as client:
        stranger = Stranger(client)
        (handle,) = stranger.upload(photo.read_bytes()).json()
        seen = stranger.act("_open_file", handle)
        assert re.search(told, seen) and ("roi-error" in seen) == ("--" in told)
