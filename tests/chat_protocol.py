"""What OpenAI's chat API accepts, as a check of a request; only rules that its own server holds to as well.

One goes further: the arguments of an earlier call must be a JSON object, because vLLM and others read them.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TOP_LEVEL = {
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "stream",
    "stream_options",
    "response_format",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "user",
    "metadata",
    "store",
    "logprobs",
    "top_logprobs",
}
FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "refusal", "audio", "tool_calls", "function_call"},
    "tool": {"role", "content", "tool_call_id"},
}
PARTS = {"text": {"type", "text"}, "image_url": {"type", "image_url"}}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
LONGEST_ID = 40


class Malformed(Exception):
    """A request that the API refuses; the text says where and why."""


def check_request(asked: Mapping[str, Any]) -> None:
    """Error: Malformed."""
    _refuse(bool(unknown := set(asked) - TOP_LEVEL), f"unknown parameters {sorted(unknown)}")
    _refuse(not asked.get("messages"), "messages is empty")
    _refuse("stream_options" in asked and not asked.get("stream"), "stream_options without stream")
    _refuse("tools" in asked and not asked["tools"], "tools is an empty list")
    _refuse("tool_choice" in asked and "tools" not in asked, "tool_choice without tools")
    for tool in asked.get("tools", ()):
        _refuse(set(tool) != {"type", "function"} or tool["type"] != "function", "a tool is no function")
        _refuse(not NAME.fullmatch(tool["function"]["name"]), f"a tool is named {tool['function']['name']!r}")
    _check_history(asked["messages"])


def _check_history(messages: Sequence[Mapping[str, Any]]) -> None:
    open_ids: list[str] = []
    for number, message in enumerate(messages):
        where, role = f"messages[{number}]", message.get("role")
        _refuse(role not in FIELDS, f"{where} has the role {role!r}")
        _refuse(bool(unknown := set(message) - FIELDS[str(role)]), f"{where} has unknown fields {sorted(unknown)}")
        _refuse("name" in message and not NAME.fullmatch(str(message["name"])), f"{where} has the name {message.get('name')!r}")
        if role == "tool":
            _refuse(message.get("tool_call_id") not in open_ids, f"{where} answers no call before it")
            open_ids.remove(message["tool_call_id"])
        else:
            _refuse(bool(open_ids), f"{where} comes before the calls {open_ids} are answered")
        called = role == "assistant" and (message.get("tool_calls") is not None or message.get("function_call"))
        _check_content(message.get("content"), where, str(role), optional=bool(called))
        if role == "assistant" and message.get("tool_calls") is not None:
            open_ids = list(_call_ids(message["tool_calls"], where))
    _refuse(bool(open_ids), f"the calls {open_ids} are not answered")


def _check_content(content: Any, where: str, role: str, *, optional: bool) -> None:
    if content is None:
        _refuse(not optional, f"{where} has no content")
    elif not isinstance(content, str):
        _refuse(not isinstance(content, list) or not content, f"{where} has the content {content!r:.80}")
        for part in content:
            kind = part.get("type")
            _refuse(set(part) != PARTS.get(kind), f"{where} has a part {sorted(part)} of the type {kind!r}")
            _refuse(kind == "image_url" and role != "user", f"{where} shows a picture")
            _refuse(kind == "image_url" and set(part["image_url"]) - {"url", "detail"} != set(), f"{where} has a strange picture")


def _call_ids(calls: Sequence[Mapping[str, Any]], where: str) -> Iterable[str]:
    _refuse(not calls, f"{where} has an empty list of calls")
    seen: set[str] = set()
    for call in calls:
        _refuse(set(call) != {"id", "type", "function"} or call["type"] != "function", f"{where} has a strange call")
        id_, function = call["id"], call["function"]
        _refuse(not isinstance(id_, str) or not 0 < len(id_) <= LONGEST_ID, f"{where} has the id {id_!r:.80}")
        _refuse(id_ in seen, f"{where} has the id {id_!r} twice")
        _refuse(set(function) != {"name", "arguments"}, f"{where} has a strange function")
        _refuse(not NAME.fullmatch(str(function["name"])), f"{where} calls {function['name']!r:.80}")
        _refuse(not _is_object(function["arguments"]), f"{where} has the arguments {function['arguments']!r:.80}")
        seen.add(id_)
        yield id_


def _is_object(arguments: Any) -> bool:
    try:
        return isinstance(arguments, str) and isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise Malformed(why)
