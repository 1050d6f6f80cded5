"""Files by their addresses, and below the home folder, wherever a user may name a path."""

from pathlib import Path

import pytest
from PIL import Image

from roi_agent import Workspace
from roi_agent.model.errors import ImageUnreadable
from roi_agent.model.images.loading import load_image
from tests.commands import Runner


@pytest.mark.parametrize(
    "given", ["~/my photo.png", "file://{}/my%20photo.png", "file:{}/my%20photo.png", "FILE://localhost{}/my%20photo.png"]
)
def test_a_file_is_given_by_its_address_or_below_the_home_folder(
    tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (40, 30), "red").save(tmp_path / "my photo.png")
    source = given.format(tmp_path)
    assert load_image(source).size_wh == Workspace().add_image(source).size_wh == (40, 30)
    assert load_image(source).source == "my photo.png"
    assert run("ask", source, "What is <region1>?", "--box", "1,2,20,22", "--max-new-tokens", "1").code == 0


@pytest.mark.parametrize(
    "given", ["file://example.org/a.png", "file:", "file:///a%00.png", "file://", "~nobody-of-that-name/a.png"]
)
def test_an_address_of_no_file_here_is_refused(given: str) -> None:
    with pytest.raises(ImageUnreadable, match=r"give a path|check the path"):
        load_image(given)


def test_a_path_below_a_folder_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names in data sets are joined to their folder, which they may not leave."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    for name in ("~/a.png", f"file:{tmp_path}/a.png"):
        with pytest.raises(ImageUnreadable):
            load_image(Path(".") / name)
