"""What one connection may take of the server: bytes of headers and of JSON, and time, at a real server's sockets."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from tests.server.test_limits import app_of
from tests.serving import inside

MIB = 1 << 20


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with inside(app_of(max_requests=8, max_body_bytes=16 * MIB)) as port:
        yield port


@pytest.fixture(scope="module")
def hurried() -> Iterator[int]:
    """Of a server that waits for nobody."""
    with inside(app_of(head_s=0.5, body_s=0.5)) as port:
        yield port


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        yield connection


def answer_to(port: int, request: bytes) -> tuple[int, dict[str, Any]]:
    """Status and error of what comes back until the server closes the connection."""
    with connected(port) as connection:
        sending = threading.Thread(target=send_all, args=(connection, request))
        sending.start()
        came = b"".join(iter(lambda: connection.recv(65536), b""))
        sending.join(30)
    head, _, body = came.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def send_all(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the server has heard enough
        connection.sendall(data)


# -- headers

LONG = b"x" * (2 * MIB)
START = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n"
CHUNKED = b"POST /v1/images HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        START + b"a: " + LONG + b"\r\n\r\n",
        START + LONG + b": a\r\n\r\n",
        START + b"a: b\r\n" * 30_000 + b"\r\n",
        START + b"a: " + b"x" * 66_000 + b"\r\n\r\n",
        b"GET /" + LONG + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        CHUNKED + b"0\r\na: " + LONG + b"\r\n\r\n",
        CHUNKED + b"5;a=" + LONG + b"\r\nhello\r\n0\r\n\r\n",
        b"\r\n" * MIB,
    ],
    ids=["value", "name", "many", "just too long", "address", "trailer", "chunk extension", "empty lines"],
)
def test_more_than_64_kib_of_headers_are_refused_while_they_come_in(port: int, sent: bytes) -> None:
    status, error = answer_to(port, sent)
    assert (status, error["code"]) == (431, "request_too_large") and "65536 bytes" in error["message"]


def test_headers_just_below_the_limit_are_taken(port: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/healthz", headers={"a": "x" * 64_000})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def test_what_is_no_http_is_refused_in_the_form_of_every_error(port: int) -> None:
    status, error = answer_to(port, b"\x16\x03\x01 hello\r\n\r\n")
    assert (status, error["code"]) == (400, "request_invalid")


# -- time

BODY = b"POST /v1/images HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        (b"GET /healthz HT", "headers"),
        (START, "headers"),
        (BODY, "body"),
        (BODY + b"x", "body"),
        (CHUNKED, "body"),
        (CHUNKED + b"0\r\n", "body"),
        (START + b"\r\n" + BODY + b"x", "body"),
    ],
)
def test_a_request_that_stops_coming_is_refused(hurried: int, sent: bytes, part: str) -> None:
    with connected(hurried) as connection:
        connection.sendall(sent)
        came = b"".join(iter(lambda: connection.recv(65536), b""))
    *_, head, body = came.split(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert b" 408 " in head and error["code"] == "request_invalid" and f"{part} did not arrive within" in error["message"]


@pytest.mark.parametrize("sent", [b"", b"\r\n", START + b"\r\n\r\n\r\n"])
def test_a_connection_without_a_request_is_closed(hurried: int, sent: bytes) -> None:
    with connected(hurried) as connection:
        connection.sendall(sent)
        came = b"".join(iter(lambda: connection.recv(65536), b""))
    assert (b"200 OK" in came) == (START in sent) and b"408" not in came


@pytest.mark.parametrize("key", [None, "a-key-of-16-chars"])
def test_bodies_that_never_end_do_not_keep_others_out(key: str | None) -> None:
    """As many as may be inside: until they are refused health and metrics are still told, and then all is as before."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    head = BODY.replace(b"\r\n\r\n", f"\r\nauthorization: Bearer {key}\r\n\r\n".encode())
    with inside(app_of(max_requests=8, body_s=3.0, api_key=key)) as port, ExitStack() as held:
        for _ in range(8):
            held.enter_context(connected(port)).sendall(head + b"x")
        while (full := status_of(port, "/v1/models", headers)) == 200:
            time.sleep(0.01)
        assert full == 429
        assert [status_of(port, path, headers) for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
        assert status_of(port, "/metrics", {}) == (401 if key else 200)
        while status_of(port, "/v1/models", headers) != 200:
            time.sleep(0.05)


def status_of(port: int, path: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("size", [100_000, 17 * MIB])
@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
def test_a_client_that_sends_all_before_it_reads_gets_the_answer(port: int, size: int, connection: bytes) -> None:
    head = b"POST /v1/nowhere HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: %s\r\ncontent-length: %d\r\n\r\n" % (connection, size)
    with connected(port) as client:
        client.sendall(head + b"x" * size)
        assert client.recv(65536).split()[1] == (b"404" if size < 16 * MIB else b"413")


def test_a_refused_body_is_read_for_a_while_only(hurried: int) -> None:
    with connected(hurried) as client:
        client.sendall(BODY.replace(b"100", b"1000000000") + b"x")
        came = b"".join(iter(lambda: client.recv(65536), b""))
    assert came.count(b"HTTP/1.1 ") == 1 and b" 413 " in came


def test_a_body_that_comes_slowly_and_does_come_is_read(hurried: int) -> None:
    with connected(hurried) as connection:
        connection.sendall(BODY.replace(b"100", b"%d" % (40 << 10)))
        for _ in range(40):
            connection.sendall(b"x" * 1024)
            time.sleep(0.03)
        assert b"400" in connection.recv(65536).partition(b"\r\n")[0]  # read, and no image
