"""A server's log, clients that leave, and its end: a real process under plain HTTP."""

import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.server.clients import ASK, SCENE, UMBRELLA, complete, messages, roi, send
from tests.serving import Serving, serving


def test_every_answer_has_a_name_and_the_logs_hold_no_contents(served: Serving, handle: str) -> None:
    request = urllib.request.Request(f"{served.address}/v1/models", headers={"x-request-id": "mine-7"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["x-request-id"] == "mine-7"
    send(served, "/v1/regions/ask", {"image": handle, **ASK}, authorization="Bearer a-secret-of-mine")
    deadline = time.monotonic() + 10
    while not any("mine-7" in line for line in served.lines) and time.monotonic() < deadline:
        time.sleep(0.05)
    line = next(line for line in served.lines if "mine-7" in line)
    assert json.loads(line[line.index("{") :]) | {"ms": 0} == {
        "request": "mine-7", "method": "GET", "route": "/v1/models", "status": 200, "ms": 0,
    }  # fmt: skip
    logs = "".join(served.lines)
    assert "base64" not in logs and "a-secret-of-mine" not in logs and handle.rpartition("/")[2] not in logs


def counted(served: Serving, name: str) -> float:
    return next(float(line.split()[-1]) for line in send(served, "/metrics").splitlines() if line.startswith(f"{name} "))


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_place(served: Serving, handle: str, stream: bool) -> None:
    # So hot that the answer runs to its length: many steps that the engine is spared.
    body = {"model": "nano", "messages": messages("What is <region1>?", handle), **roi(UMBRELLA)}
    body |= {"n": 8, "temperature": 2.0, "max_tokens": 1500, "stream": stream}
    for seed in range(5):
        data = json.dumps(body | {"seed": seed}).encode()
        host, _, port = served.address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            connection.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
            time.sleep(0.05)
    deadline = time.monotonic() + 60
    while counted(served, "roi_engine_running") + counted(served, "roi_engine_waiting") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert counted(served, "roi_engine_running") == counted(served, "roi_engine_waiting") == 0
    assert send(served, "/readyz")["status"] == "ready"


def test_sigterm_answers_what_it_has_taken() -> None:
    with serving() as running:
        image = send(running, "/v1/images", SCENE.read_bytes(), kind="image/png")["url"]
        wanted: dict[str, Any] = {"model": "nano", "messages": messages("What is <region1>?", image), "extra_body": roi(UMBRELLA)}
        wanted |= {"stream": True, "temperature": 2.0, "max_tokens": 150}  # long answers: most of it is written after the signal
        client = openai.OpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=0)
        taken, stopped = threading.Semaphore(0), threading.Event()

        def ask(seed: int) -> list[str | None]:
            stream = complete(client, **wanted, seed=seed)
            taken.release()
            assert stopped.wait(60)
            return [chunk.choices[0].finish_reason for chunk in stream]

        with ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(ask, seed) for seed in range(16)]
            assert all(taken.acquire(timeout=60) for _ in range(16))
            running.process.send_signal(signal.SIGTERM)
            stopped.set()
            assert all(each.result(timeout=60)[-1] in ("stop", "length") for each in asked)
        assert running.stop() == 0
        client.close()
