"""The commands that serve: options that would do nothing, and a port that is taken."""

import socket

import pytest

from tests.commands import Runner
from tests.serving import ROOT


@pytest.mark.parametrize(
    ("arguments", "option", "switch"),
    [
        (["serve", "--planner", "openai:gpt-4o-mini"], "--planner", "--ui"),
        (["serve", "--planner", "offline"], "--planner", "--ui"),
        (["serve", "--base-url", "http://localhost:1/v1"], "--base-url", "--ui"),
        (["serve", "--visitors", "3"], "--visitors", "--ui"),
        (["serve", "--mcp", "--base-url", "http://localhost:1/v1"], "--base-url", "--ui"),
        (["serve", "--allow-folder", "examples"], "--allow-folder", "--mcp"),
        (["mcp", "--port", "8765"], "--port", "--http"),
        (["mcp", "--host", "127.0.0.1"], "--host", "--http"),
        (["mcp", "--allow-folder", "examples"], "--allow-folder", "--http"),
        (["mcp", "--allow-origin", "https://a.org"], "--allow-origin", "--http"),
        (["mcp", "--image-memory", "1GB"], "--image-memory", "--http"),
    ],
    ids=" ".join,
)
def test_an_option_without_the_one_that_it_belongs_to_is_refused(
    run: Runner, monkeypatch: pytest.MonkeyPatch, arguments: list[str], option: str, switch: str
) -> None:
    monkeypatch.chdir(ROOT)
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"invalid_setting: {option} is given without {switch}; give {switch} too, or leave {option} out\n"


def test_an_origin_is_checked_before_anything_is_loaded(run: Runner) -> None:
    result = run("serve", "--allow-origin", "*")
    assert result.code == 2 and result.err.startswith("invalid_setting: the origin '*'") and result.err.count("\n") == 1


@pytest.mark.parametrize("command", [["serve"], ["mcp", "--http"]], ids=" ".join)
def test_a_port_that_is_taken_is_reported_in_one_line(run: Runner, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(*command, "--port", str(port))
    told = f"invalid_setting: cannot listen on 127.0.0.1:{port}: Address already in use; use another --port, or 0 for any\n"
    assert (done.code, done.out, done.err) == (2, "", told)
