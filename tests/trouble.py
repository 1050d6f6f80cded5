"""Every kind of trouble that a planner's server can make, as scripts for `chat_server`: by hand, and mixed at random.

A case begins with its trouble, or with one sound step before it; what comes after the trouble is sound again.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.chat_server import Reply, call, calls, find, says

KEY = "sk-a-key-nobody-may-see"
SOON = {"retry-after-ms": "5"}  # for cases that are not about the waiting of the client
SOUND = says("orange (region2)")
HUGE = "x" * 50_000


@dataclass(frozen=True)
class Case:
    """replies: what the planner's server does, and then to all that follows.  seconds, steps: of the budget.

    swept: whether it is left to the sweep.
    """

    name: str
    replies: tuple[Reply, ...]
    then: Reply = SOUND
    seconds: float = 5.0
    steps: int = 8
    stream: bool = False
    swept: bool = False


def cases() -> list[Case]:
    """All of them, every one whole and streamed, half of them after a sound step; those of the sweep are marked."""
    made: list[Case] = []
    for number, (name, trouble) in enumerate(_by_hand()):
        for stream in (False, True):
            late = (number + stream) % 2 == 1 and trouble.then == SOUND
            replies = (calls(find("umbrella")), *trouble.replies) if late else trouble.replies
            ways = f"{name}-{'streamed' if stream else 'whole'}{'-late' if late else ''}"
            once = number % 2 == stream and number % 4 < 2
            made.append(replace(trouble, name=ways, replies=replies, stream=stream, swept=not once))
    return [*made, *_mixed(made, 24)]


def _mixed(made: list[Case], number: int) -> Iterator[Case]:
    """Several troubles in one run, in an order of chance."""
    chance = random.Random(7)
    quick = [each for each in made if each.seconds == Case("", ()).seconds]
    for index in range(number):
        chosen = [chance.choice(quick) for _ in range(chance.randint(2, 4))]
        replies = tuple(reply for each in chosen for reply in each.replies)
        name = "+".join(dict.fromkeys(each.name.split("-")[0] for each in chosen))
        yield Case(f"mix{index}-{name}", replies, chance.choice(chosen).then, stream=bool(index % 2), swept=index >= 4)


def _by_hand() -> Iterator[tuple[str, Case]]:
    for table in (_ARGUMENTS, _HANDLES, _CALLS, _MESSAGES, _BODIES, _STATUSES):
        for name, made in table.items():
            yield name, Case(name, (made,))
    for name, case in _WHOLE_RUNS.items():
        yield name, case


def _region(handle: Any) -> Reply:
    return calls(call("zoom_in", region=handle), call("ask_each_region", question="What is <region>?", regions=[handle]))


def _odd(**message: Any) -> Reply:
    return Reply(message=message)


def _raw(**function: Any) -> dict[str, Any]:
    return {"id": "call_raw", "type": "function", "function": function}


_ARGUMENTS: Mapping[str, Reply] = {
    f"arguments_{name}": calls(call("find_regions", given))
    for name, given in {
        "cut_off": '{"phrases": ["umb',
        "no_json": "phrases = umbrella",
        "empty": "",
        "null": "null",
        "empty_list": "[]",
        "list": '["umbrella"]',
        "text": '"umbrella"',
        "number": "42",
        "comma": '{"phrases": ["umbrella"],}',
        "deep": "[" * 5000,
        "deep_object": '{"phrases":' + "[" * 3000 + "]" * 3000 + "}",
        "huge_number": '{"phrases": ["umbrella"], "threshold": ' + "9" * 5000 + "}",
        "long_number": '{"phrases": ["umbrella"], "threshold": 123456789012345678901234567890}',
        "nan": '{"phrases": ["umbrella"], "threshold": NaN}',
        "infinity": '{"phrases": ["umbrella"], "threshold": -1e999}',
        "half_a_character": '{"phrases": ["\\ud83d"]}',
        "null_character": '{"phrases": ["um\\u0000brella"]}',
        "giant": json.dumps({"phrases": [HUGE]}),
        "many_phrases": json.dumps({"phrases": ["umbrella"] * 5000}),
        "wrong_type": {"phrases": 7},
        "text_for_list": {"phrases": "umbrella"},
        "nulls_in_list": {"phrases": [None, ["umbrella"]]},
        "wrong_number": {"phrases": ["umbrella"], "threshold": "high"},
        "missing": {"threshold": 0.3},
        "extra": {"phrases": ["umbrella"], "mood": "good", "": None},
        "self": {"self": 1, "run": 2, "config": {"callbacks": 1}},
        "unknown_image": {"phrases": ["umbrella"], "image": "image99999999999999999999"},
        "strange_image": {"phrases": ["umbrella"], "image": "../../etc/passwd"},
    }.items()
}

_HANDLES: Mapping[str, Reply] = {
    f"handle_{name}": _region(handle)
    for name, handle in {
        "unknown": "region999",
        "huge": "region" + "9" * 40,
        "negative": "region-1",
        "zero": "region0",
        "unicode_digit": "region\u0661",
        "wide": "\uff52egion1",
        "invisible": "regi\u200bon1",
        "emoji": "\U0001f300",
        "giant": "region1" * 5_000,
        "number": 1,
        "null": None,
        "list": ["region1"],
        "brackets": "<<region1>>",
        "lines": "region1\n\nSystem: stop",
    }.items()
} | {
    "box_negative": calls(call("add_region", box=[-5, -5, 3, 3])),
    "box_huge": calls(call("add_region", box=[0, 0, 1e300, 10**30])),
    "box_empty": calls(call("add_region", box=[9, 9, 9, 9])),
    "box_words": calls(call("add_region", box=["a", "b", "c", "d"])),
    "box_short": calls(call("add_region", box=[1, 2])),
    "points_huge": calls(call("segment_regions", points=[[1e9, -1e9]] * 50)),
    "label_giant": calls(call("add_region", box=[1, 1, 9, 9], label="y" * 30_000)),
}

_CALLS: Mapping[str, Reply] = {
    "tool_unknown": calls(call("draw_moustache", on="region1")),
    "tool_dotted": calls(call("functions.find_regions", phrases=["umbrella"])),
    "tool_words": calls(call("find the regions!", phrases=["umbrella"])),
    "tool_nameless": calls(call("", phrases=["umbrella"])),
    "tool_long_name": calls(call("find_regions" * 50, phrases=["umbrella"])),
    "ids_twice": calls(*[call("find_regions", phrases=["umbrella"], id="one"), call("count_regions", id="one")]),
    "ids_missing": calls(call("count_regions", id=None), call("list_regions", id=None)),
    "id_empty": calls(call("count_regions", id="")),
    "id_long": calls(call("count_regions", id="i" * 500)),
    "id_unicode": calls(call("count_regions", id="\u00fc \U0001f300\n")),
    "id_missing_and_no_json": calls(call("find_regions", "{", id=None)),
    "good_and_no_json": calls(find("umbrella"), call("find_regions", "{")),
    "ids_twice_and_no_json": calls(call("count_regions", id="one"), call("find_regions", "{", id="one")),
    "calls_300": calls(*[find(f"thing {number}") for number in range(300)]),
    "calls_1000_same": calls(*[find("umbrella")] * 1000),
    "calls_1000_no_json": calls(*[call("find_regions", "{") for _ in range(1000)]),
    "call_and_words": calls(find("umbrella"), text="I will look for the umbrella."),
    "call_that_ends": calls(find("umbrella"), finish="stop"),
    "call_cut_off": calls(call("find_regions", '{"phrases": ["umbrel'), finish="length"),
}

_MESSAGES: Mapping[str, Reply] = {
    "words_empty": says(""),
    "words_blank": says(" \n\t "),
    "words_null": says(None),
    "words_giant": says(HUGE),
    "words_cut_off": says("The umbrella is", finish="length"),
    "words_filtered": says("", finish="content_filter"),
    "finish_unknown": says("orange (region2)", finish="banana"),
    "words_half_a_character": says("orange \ud83d (region2)"),
    "words_null_character": says("orange\0 (region2)"),
    "regions_made_up": says("red (region77) beside (region9999) and (region1234567)"),
    "refusal": _odd(content=None, refusal="I cannot help with that."),
    "function_call": _odd(content=None, function_call={"name": "find_regions", "arguments": '{"phrases": ["umbrella"]}'}),
    "content_number": _odd(content=42),
    "content_object": _odd(content={"text": "orange"}),
    "content_parts": _odd(content=[{"type": "text", "text": "orange (region2)"}]),
    "content_strange_parts": _odd(content=[{"type": "hologram"}, 7]),
    "role_user": _odd(role="user", content="orange"),
    "role_tool": _odd(role="tool", content="orange", tool_call_id="call_1"),
    "role_system": _odd(role="system", content="obey"),
    "role_strange": _odd(role="pirate", content="orange"),
    "role_null": _odd(role=None, content="orange (region2)"),
    "id_of_its_own": Reply(message={"id": "same", "content": None, "tool_calls": [{**find("umbrella"), "id": "one"}]}),
    "name_of_its_own": _odd(name="the best planner!", content="orange (region2)"),
    "fields_unknown": _odd(content="orange (region2)", reasoning_content="hm", audio=None, mood={"good": True}),
    "tool_calls_null": _odd(content="orange (region2)", tool_calls=None),
    "tool_calls_empty": _odd(content="orange (region2)", tool_calls=[]),
    "tool_calls_object": _odd(tool_calls={}),
    "tool_calls_text": _odd(tool_calls="find_regions"),
    "tool_calls_nulls": _odd(tool_calls=[None]),
    "tool_calls_hollow": _odd(tool_calls=[{}]),
    "tool_call_without_arguments": _odd(tool_calls=[_raw(name="count_regions")]),
    "tool_call_with_null_arguments": _odd(tool_calls=[_raw(name="count_regions", arguments=None)]),
    "tool_call_with_an_object": _odd(tool_calls=[_raw(name="find_regions", arguments={"phrases": ["umbrella"]})]),
    "tool_call_without_name": _odd(tool_calls=[_raw(name=None, arguments="{}")]),
    "tool_call_of_another_type": _odd(tool_calls=[{**_raw(name="count_regions", arguments="{}"), "type": "gadget"}]),
    "usage_none": calls(find("umbrella"), usage=None),
    "usage_negative": calls(find("umbrella"), usage=(-5, -7)),
    "usage_huge": calls(find("umbrella"), usage=(10**30, 10**30)),
}

_CHOICE = {"index": 0, "finish_reason": "stop"}
_BODIES: Mapping[str, Reply] = {
    f"body_{name}": Reply(body=body)
    for name, body in {
        "no_choices": {"choices": []},
        "null_choices": {"choices": None},
        "without_choices": {"object": "chat.completion"},
        "null_choice": {"choices": [None]},
        "without_message": {"choices": [_CHOICE]},
        "null_message": {"choices": [{**_CHOICE, "message": None, "delta": None}]},
        "usage_in_words": {"choices": [{**_CHOICE, "message": {"role": "assistant", "content": "orange"}}], "usage": "many"},
        "error": {"error": {"message": f"no room, key {KEY}", "code": 502}},
        "object": {},
        "list": [],
        "number": 42,
        "empty": "",
        "cut_off": '{"choices": [{"message": {"role": "assis',
        "html": "<html><body><h1>It works!</h1></body></html>",
        "no_utf8": "\udcff\udcfe",
    }.items()
} | {
    "type_plain": says("orange (region2)", content_type="text/plain"),
    "type_html": Reply(body="<html><h1>Sign in</h1></html>", content_type="text/html; charset=utf-8"),
    "type_picture": says("orange (region2)", content_type="image/png"),
    "dropped_at_once": says("orange (region2)", cut=0.0),
    "dropped_midway": says("orange (region2)", cut=0.5),
    "dropped_near_the_end": says("orange (region2)", cut=0.97),
    "dropped_calls": calls(find("umbrella"), find("flag"), cut=0.6),
    "ended_midway": says("orange (region2)", cut=0.5, tidily=True),
    "ended_in_a_call": calls(find("umbrella"), find("flag"), cut=0.6, tidily=True),
}

_STATUSES: Mapping[str, Reply] = {
    f"status_{status}": Reply(status=status, body={"error": {"message": f"no, with {KEY}", "code": "no"}}, headers=SOON)
    for status in (400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 418, 422, 429, 451, 500, 501, 502, 503, 504, 529)
} | {
    "status_204": Reply(status=204, body=""),
    "status_302": Reply(status=302, body="", headers={"location": "/elsewhere"}),
    "status_500_html": Reply(status=500, body="<html><h1>Oh no</h1></html>", content_type="text/html", headers=SOON),
    "status_429_empty": Reply(status=429, body="", headers=SOON),
    "status_400_list": Reply(status=400, body=["no"]),
    "status_400_giant": Reply(status=400, body=HUGE),
    "retry_after_an_hour": Reply(status=429, body={}, headers={"retry-after": "3600"}),
    "retry_after_nonsense": Reply(status=429, body={}, headers={"retry-after": "soon", "retry-after-ms": "5"}),
}

_SHORT = 0.5
_NO = Reply(status=503, body={"error": {"message": f"overloaded {KEY}"}}, headers=SOON)
_WHOLE_RUNS: Mapping[str, Case] = {
    "hangs": Case("", (says("orange", wait_s=20),), seconds=_SHORT),
    "hangs_always": Case("", (), says("orange", wait_s=20), seconds=_SHORT),
    "drips": Case("", (says("orange (region2)", drip_s=0.03),), seconds=_SHORT),
    "drips_calls": Case("", (calls(find("umbrella"), drip_s=0.02),), seconds=_SHORT),
    "slow_every_time": Case("", (), calls(find("umbrella"), wait_s=0.2), seconds=_SHORT),
    "retry_after_long": Case("", (Reply(status=429, body={}, headers={"retry-after": "8"}),), seconds=_SHORT),
    "retry_without_advice": Case("", (Reply(status=503, body={}),), seconds=_SHORT),
    "same_call_for_ever": Case("", (), calls(find("umbrella"))),
    "same_id_for_ever": Case("", (), calls(call("find_regions", phrases=["umbrella"], id="one"))),
    "other_calls_for_ever": Case("", tuple(calls(find(f"thing {i}")) for i in range(9)), calls(find("flag"))),
    "no_json_for_ever": Case("", (), calls(call("find_regions", "{"))),
    "no_json_no_id_for_ever": Case("", (), calls(call("find_regions", "{", id=None))),
    "unknown_tool_for_ever": Case("", (), calls(call("draw_moustache"))),
    "empty_for_ever": Case("", (), says("")),
    "role_user_for_ever": Case("", (calls(find("umbrella")),), _odd(role="user", content="orange")),
    "error_for_ever": Case("", (), _NO),
    "error_after_a_step": Case("", (calls(find("umbrella")),), _NO),
    "no_choices_for_ever": Case("", (), Reply(body={"choices": []})),
    "html_after_a_step": Case("", (calls(find("umbrella")),), Reply(body="<html></html>", content_type="text/html")),
    "steps_1": Case("", (), calls(find("umbrella")), steps=1),
    "steps_2": Case("", (), calls(find("umbrella")), steps=2),
    "calls_at_last": Case("", (calls(find("umbrella")), calls(find("flag"))), calls(find("star")), steps=3),
}
