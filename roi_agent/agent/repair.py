"""Repair of planner messages, so that every chat API accepts the conversation again."""

import re
from collections.abc import Collection, Sequence
from itertools import count
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.messages.tool import tool_call

from roi_agent.prompts import load_blocks

UNREADABLE = "unreadable_call"  # replaces the name of a call whose arguments are not a JSON object
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # names that OpenAI's API accepts
_ID = re.compile(r"[!-~]{1,40}")  # ids that it accepts
_MAX_SHOWN = 200  # characters of invalid arguments


def repair_message(
    result: Sequence[BaseMessage], used_ids: Collection[str], max_calls: int
) -> tuple[AIMessage, list[ToolMessage]]:
    """Return the planner's message with valid calls, and replies to the calls that cannot be run.

    result: the output of the model: its message, and replies to structured answers.  used_ids: ids of earlier calls.
    max_calls: of one message.  A valid message is returned unchanged.
    """
    first = result[0] if result else AIMessage("")
    if not isinstance(first, AIMessage):  # servers may answer in any role
        return AIMessage(replace_lone_surrogates(first.text)), []
    replies = [each for each in result[1:] if isinstance(each, ToolMessage)]
    if _is_valid(first, used_ids, max_calls):
        return first, replies
    calls = [*first.tool_calls, *(_unreadable_call(call["name"], call["args"], call["id"]) for call in first.invalid_tool_calls)]
    kept = [_with_valid_name(call) for call in calls[:max_calls]]
    ids = _new_ids([call["id"] for call in kept], used_ids)
    new_id = dict(zip([call["id"] for call in reversed(kept)], reversed(ids), strict=True))
    texts, text = load_blocks("agent"), str(first.text)
    if len(calls) > max_calls:
        text += "\n" + texts["too_many"].format(left=len(calls) - max_calls, most=max_calls)
    message = AIMessage(
        replace_lone_surrogates(text).strip(),
        id=first.id,
        tool_calls=[{**call, "id": id_} for call, id_ in zip(kept, ids, strict=True)],
        usage_metadata=first.usage_metadata,
        additional_kwargs={key: value for key, value in first.additional_kwargs.items() if key == "refusal"},
    )
    replies = [each.model_copy(update={"tool_call_id": new_id.get(each.tool_call_id, each.tool_call_id)}) for each in replies]
    for call in message.tool_calls:
        if call["name"] == UNREADABLE:
            replies.append(refusal(texts["unreadable"].format(**call["args"]), call))
    return message, replies


def refusal(text: str, call: ToolCall) -> ToolMessage:
    """Build the reply to a call that is not run."""
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"], status="error")


def replace_lone_surrogates(given: Any) -> Any:
    """Replace lone surrogates, which cannot be encoded, in the strings of a JSON value."""
    if isinstance(given, str):
        return given.encode("utf-8", "replace").decode()
    if isinstance(given, dict):
        return {replace_lone_surrogates(key): replace_lone_surrogates(value) for key, value in given.items()}
    return [replace_lone_surrogates(each) for each in given] if isinstance(given, list) else given


def _is_valid(message: AIMessage, used_ids: Collection[str], max_calls: int) -> bool:
    ids = [str(call["id"] or "") for call in message.tool_calls]
    return (
        not message.invalid_tool_calls
        and len(ids) <= max_calls
        and len({*ids} - {*used_ids}) == len(ids)
        and all(_ID.fullmatch(each) for each in ids)
        and all(_NAME.fullmatch(call["name"]) for call in message.tool_calls)
        and all(replace_lone_surrogates(call["args"]) == call["args"] for call in message.tool_calls)
        and (message.name is None or _NAME.fullmatch(message.name) is not None)
        and replace_lone_surrogates(message.text) == message.text
    )


def _unreadable_call(name: str | None, text: str | None, id_: str | None) -> ToolCall:
    return tool_call(name=UNREADABLE, args={"tool": name or "?", "arguments": str(text)[:_MAX_SHOWN]}, id=id_)


def _with_valid_name(call: ToolCall) -> ToolCall:
    """Give a call a name that APIs accept; the tool node then reports an unknown tool."""
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", call["name"])[:64] or "nameless"
    return {**call, "name": name, "args": replace_lone_surrogates(call["args"])}


def _new_ids(ids: Sequence[str | None], used_ids: Collection[str]) -> list[str]:
    """Replace ids that are invalid or already used."""
    used, unique_ids = {*used_ids}, list[str]()
    numbers = count(len(used) + 1)
    for each in ids:
        if each is None or not _ID.fullmatch(each) or each in used:
            each = next(new for number in numbers if (new := f"call_{number}") not in used and new not in ids)
        used.add(each)
        unique_ids.append(each)
    return unique_ids
