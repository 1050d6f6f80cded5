"""A scripted server that speaks OpenAI's chat API, in a process of its own: sound answers, streams, and every kind of trouble.

A script is a list of replies under the name of a model; each request for that model takes the next one.

    POST /v1/chat/completions    as OpenAI's, and as strict: see `chat_protocol`
    POST /scripts                {"name": ..., "replies": [...], "then": ...}
    GET  /scripts/NAME           {"requests": [...], "complaints": [...]}

The process ends when its standard input does, with the tests that started it.
"""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

PIECES = 40  # that a long text is streamed in, at most


@dataclass(frozen=True)
class Reply:
    """What the server answers.

    text, calls, usage, finish: of a sound answer.  usage: tokens read and written; None states none.
    message: fields of the message that replace the sound ones, however wrong.  body: in place of the whole body, as JSON, or a
        text as it is.
    wait_s: before the answer begins.  drip_s: between any two bytes.
    cut: the share of the body after which the connection breaks off; tidily: as if that were all of it.
    """

    text: str | None = None
    calls: tuple[dict[str, Any], ...] = ()
    usage: tuple[int, int] | None = (100, 10)
    finish: str | None = None
    message: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    wait_s: float = 0.0
    drip_s: float = 0.0
    cut: float | None = None
    tidily: bool = False


_numbers = count(1)


def call(tool: str, arguments: Any = None, /, *, id: str | None = "new", **given: Any) -> dict[str, Any]:
    """A call of a tool.  arguments: a text is taken as it is.  id: by default one that no other call has."""
    text = arguments if isinstance(arguments, str) else json.dumps(given if arguments is None else arguments)
    made = {"id": f"call_{next(_numbers)}" if id == "new" else id, "type": "function"}
    return {**made, "function": {"name": tool, "arguments": text}}


def says(text: str | None, **more: Any) -> Reply:
    """An answer in words."""
    return Reply(text=text, **more)


def calls(*made: dict[str, Any], **more: Any) -> Reply:
    """One or more calls in one message."""
    return Reply(calls=made, **more)


def find(*phrases: str) -> dict[str, Any]:
    """A call of find_regions."""
    return call("find_regions", phrases=list(phrases))


class ChatServer:
    """The server as tests use it."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"

    def script(self, *replies: Reply, then: Reply | None = None, name: str | None = None) -> str:
        """Tell the server what to answer; returns the name of the model.  then: to every request after the last reply."""
        model = name or f"model-{next(_numbers)}"
        told = {"name": model, "replies": [asdict(each) for each in replies], "then": asdict(then) if then else None}
        self._fetch("/scripts", json.dumps(told).encode())
        return model

    def requests(self, model: str) -> list[dict[str, Any]]:
        """What the model was asked since its script was told."""
        told: list[dict[str, Any]] = self._fetch(f"/scripts/{model}")["requests"]
        return told

    def complaints(self, model: str) -> list[str]:
        """What was wrong with these requests."""
        told: list[str] = self._fetch(f"/scripts/{model}")["complaints"]
        return told

    def _fetch(self, path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.root + path, data=data, timeout=30) as response:
            return json.load(response)


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A server for as long as the block lasts."""
    command = [sys.executable, "-m", "tests.chat_server"]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        yield ChatServer(int(process.stdout.readline()))
        process.stdin.close()


# The server's own process from here on.


@dataclass
class _Script:
    replies: list[dict[str, Any]]
    then: dict[str, Any] | None
    requests: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def next(self) -> dict[str, Any] | None:
        return self.replies.pop(0) if self.replies else self.then


class _Api(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    scripts: dict[str, _Script] = {}  # noqa: RUF012
    lock = threading.Lock()

    def do_GET(self) -> None:
        script = self.scripts[self.path.removeprefix("/scripts/")]
        self._send(200, json.dumps({"requests": script.requests, "complaints": script.complaints}).encode())

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/scripts":
            self.scripts[given["name"]] = _Script(given["replies"], given["then"])
            self._send(200, b"{}")
        elif self.path == "/v1/chat/completions" and given.get("model") in self.scripts:
            with suppress(BrokenPipeError, ConnectionResetError):  # the other side may have given up
                self._complete(self.scripts[given["model"]], given)
        else:
            self._refuse(404, f"there is no {self.path}")

    def _complete(self, script: _Script, asked: dict[str, Any]) -> None:
        from tests.chat_protocol import Malformed, check_request

        with self.lock:
            script.requests.append(asked)
            try:
                check_request(asked)
                reply = script.next()
                if reply is None:
                    raise Malformed("the script is over")
            except Malformed as error:
                script.complaints.append(str(error))
                return self._refuse(400, str(error))
        stream = bool(asked.get("stream")) and reply["status"] == 200
        if reply["body"] is None and reply["status"] == 200:
            usage_asked = bool(asked.get("stream_options", {}).get("include_usage"))
            body = _streamed(reply, asked["model"], usage_asked) if stream else _whole(reply, asked["model"])
        elif isinstance(reply["body"], str):
            body = reply["body"].encode("utf-8", "surrogateescape")
        else:
            body = _events([reply["body"]]) if stream else json.dumps(reply["body"]).encode()
        self._send(reply["status"], body, "text/event-stream" if stream else "application/json", reply)

    def _send(self, status: int, body: bytes, kind: str = "application/json", reply: dict[str, Any] | None = None) -> None:
        how = reply or asdict(Reply())
        time.sleep(how["wait_s"])
        sent = body if how["cut"] is None else body[: int(len(body) * how["cut"])]
        self.send_response(status)
        for name, value in {"content-type": how["content_type"] or kind, **how["headers"]}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(sent if how["tidily"] else body)))
        self.end_headers()
        for start in range(len(sent)) if how["drip_s"] else ():
            self.wfile.write(sent[start : start + 1])
            time.sleep(how["drip_s"])
        if not how["drip_s"]:
            self.wfile.write(sent)
        self.close_connection = self.close_connection or how["cut"] is not None

    def _refuse(self, status: int, why: str) -> None:
        error = {"message": why, "type": "invalid_request_error", "param": None, "code": None}
        self._send(status, json.dumps({"error": error}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _whole(reply: dict[str, Any], model: str) -> bytes:
    """The answer as one body."""
    message = {"role": "assistant", "content": reply["text"], **({"tool_calls": reply["calls"]} if reply["calls"] else {})}
    choice = {"index": 0, "message": message | reply["message"], "finish_reason": _finish(reply)}
    return json.dumps({**_head(model, "chat.completion"), "choices": [choice], **_usage(reply)}).encode()


def _streamed(reply: dict[str, Any], model: str, usage_asked: bool) -> bytes:
    """The answer as events: the role, the words, the calls in pieces, why it ends, what it took."""
    deltas: list[Any] = [{"role": "assistant", "content": "" if reply["text"] else None}]
    deltas += [{"content": piece} for piece in _pieces(reply["text"] or "")]
    for index, each in enumerate(reply["calls"]):
        function = each["function"]
        deltas.append({"tool_calls": [{**each, "index": index, "function": {**function, "arguments": ""}}]})
        for piece in _pieces(function["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    if reply["message"]:
        odd = dict(reply["message"])
        if isinstance(odd.get("tool_calls"), list):
            odd["tool_calls"] = [{"index": i, **e} if isinstance(e, dict) else e for i, e in enumerate(odd["tool_calls"])]
        deltas.append(odd)
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(reply)}]})
    if usage_asked:
        chunks.append({"choices": [], **_usage(reply)})
    return _events([_head(model, "chat.completion.chunk") | chunk for chunk in chunks])


def _pieces(text: str) -> list[str]:
    size = max(5, -(-len(text) // PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _events(chunks: list[Any]) -> bytes:
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 0, "model": model}


def _finish(reply: dict[str, Any]) -> str:
    return reply["finish"] or ("tool_calls" if reply["calls"] else "stop")


def _usage(reply: dict[str, Any]) -> dict[str, Any]:
    if reply["usage"] is None:
        return {}
    read, written = reply["usage"]
    return {"usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}}


def main() -> None:
    """Serve until standard input ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
