"""What one connection may take of the server: bytes of headers and of JSON, and time, at a real server's sockets."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.serving import inside
from tests.test_server_limits import app_of

MIB = 1 << 20


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with inside(app_of(max_requests=8, max_body_bytes=16 * MIB)) as port:
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
