"""The page in a server process: what would hold it up for ever, and what it leaves behind."""

import os
import signal
from pathlib import Path

import httpx2
import pytest

from roi_agent.ui.actions import SCENES
from tests.serving import serving


def test_a_device_or_a_pipe_in_place_of_a_file_does_not_hold_up_the_server(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    with serving("--ui") as running, httpx2.Client(base_url=running.address, timeout=20) as client:
        client.get("/ui/")
        for path in ("/dev/zero", str(tmp_path / "fifo.png")):
            for function in range(12):
                file = {"path": path, "meta": {"_type": "gradio.FileData"}}
                for data in ([file], [None, None, file], [{"image": file, "boxes": []}, None]):
                    body = {"data": data, "fn_index": function, "session_hash": "a"}
                    client.post("/ui/gradio_api/queue/join", json=body)
        assert client.get("/healthz").status_code == 200
        assert running.stop() == 0


def test_what_visitors_send_and_open_leaves_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving("--ui", "--visitor-memory", "8MiB", "--page-memory", "16MiB") as running:
        for number in range(6):
            with httpx2.Client(base_url=running.address, timeout=60) as client:
                functions = {each["api_name"]: each["id"] for each in client.get("/ui/config").json()["dependencies"]}
                (handle,) = client.post("/ui/gradio_api/upload", files={"files": ("a.png", SCENES[0].read_bytes())}).json()
                for name, data, event in (
                    ("_open_file", [handle], None),
                    ("_point", [], {"index": [200, 60], "value": None}),
                    ("_talk", ["What colour is the square?", "agent"], None),
                ):
                    session = f"s{number}{name.replace('_', '')}"
                    body = {"data": data, "event_data": event, "fn_index": functions[name], "session_hash": session}
                    assert client.post("/ui/gradio_api/queue/join", json=body).status_code == 200
                    assert "process_completed" in client.get("/ui/gradio_api/queue/data", params={"session_hash": session}).text
                large = client.post("/ui/gradio_api/upload", files={"files": ("a.png", b"x" * (9 << 20))})
                assert large.status_code == 503 and large.text.startswith("page_full: ")
        left = sorted(tmp_path.rglob("*"))
        running.stop(signal.SIGKILL)
    assert left == sorted(tmp_path.rglob("*"))
    assert [each for each in left if each.is_file()] == []
