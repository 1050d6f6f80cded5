"""Questions to an overloaded server, at its real sockets: turned away whole, in parts, and let in again."""

import http.client
import json
import threading
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from roi_agent.model.errors import QueueFull
from tests.server.test_limits import ASK, SCENE, Held, app_of, hold
from tests.serving import inside

QUESTION = "/v1/regions/ask"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return app_of(max_requests=1, max_body_bytes=2_000_000)


@pytest.fixture(scope="module")
def port(app: FastAPI) -> Iterator[int]:
    with inside(app) as port:
        yield port


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    yield connection
    connection.close()


@pytest.fixture
def body(connection: http.client.HTTPConnection) -> bytes:
    connection.request("POST", "/v1/images", SCENE.read_bytes(), {"content-type": "image/png"})
    return json.dumps({"image": json.loads(connection.getresponse().read())["url"], **ASK}).encode()


@pytest.fixture
def crowd(app: FastAPI, port: int, body: bytes) -> Iterator[Held]:
    """One question is inside, and no more may be."""
    step = app.state.roi.model.engine.runner.step
    held = hold(app.state.roi.model)
    first = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asking = threading.Thread(target=ask, args=(first, body))
    asking.start()
    assert held.reached.wait(30)
    yield held
    held.open.set()
    asking.join(30)
    first.close()
    app.state.roi.model.engine.runner.step = step


def ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, dict[str, str], bytes]:
    connection.request("POST", QUESTION, body, {"content-type": "application/json"})
    return answered(connection)


def answered(connection: http.client.HTTPConnection) -> tuple[int, dict[str, str], bytes]:
    told = connection.getresponse()
    return told.status, {name.lower(): value for name, value in told.getheaders()}, told.read()


def pieces(body: bytes, cut: int) -> list[bytes]:
    """A request, cut in two after so many bytes."""
    whole = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    request = whole % (QUESTION.encode(), len(body), body)
    return [request[:cut], request[cut:]]


def test_a_question_under_load_gets_a_429_and_is_then_answered(
    connection: http.client.HTTPConnection, body: bytes, crowd: Held, app: FastAPI
) -> None:
    for _ in range(3):  # the connection stays
        status, headers, content = ask(connection, body)
        assert (status, json.loads(content)["error"]["code"], headers["retry-after"]) == (429, QueueFull.code, "1")
    crowd.open.set()
    while app.state.load.in_progress:
        time.sleep(0.01)
    status, _, content = ask(connection, body)
    assert (status, json.loads(content)["answers"][0]["text"]) == (200, "orange")


@pytest.mark.parametrize("cut", [10, 60, 140, 200])
def test_a_question_that_comes_in_parts_gets_the_same_answer(
    connection: http.client.HTTPConnection, body: bytes, crowd: Held, cut: int
) -> None:
    whole = ask(connection, body)
    assert connection.sock is not None
    for piece in pieces(body, cut):
        connection.sock.sendall(piece)
        time.sleep(0.05)
    told = http.client.HTTPResponse(connection.sock, method="POST")
    told.begin()
    assert (told.status, told.read()) == (whole[0], whole[2])


def test_a_body_that_looks_like_a_question_is_none(connection: http.client.HTTPConnection, body: bytes, crowd: Held) -> None:
    """The second part of an upload is a whole request by its looks; only one answer may come."""
    question = b"".join(pieces(body, 0))
    connection.request("POST", QUESTION, iter([b"x", question]), {"content-length": str(1 + len(question))})
    assert answered(connection)[0] == 429
    assert ask(connection, body)[0] == 429  # and not the answer of the one before


def test_health_is_reported_under_load(connection: http.client.HTTPConnection, crowd: Held) -> None:
    connection.request("GET", "/healthz")
    assert answered(connection)[0] == 200


def test_those_turned_away_are_counted(connection: http.client.HTTPConnection, body: bytes, crowd: Held, app: FastAPI) -> None:
    counted = app.state.roi.metrics.turned_away
    before = counted._value.get()
    ask(connection, body)
    assert counted._value.get() == before + 1
