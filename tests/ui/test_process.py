"""The page in a server process: what would hold it up for ever, and what it leaves behind."""

import os
from pathlib import Path

import httpx2

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
