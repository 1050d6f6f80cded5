"""Region questions in an existing OpenAI function-calling loop: four lines are new, each with a comment.

    python examples/function_calling.py examples/scene1.png "What colour is the umbrella?"

It runs offline, against a stand-in for OpenAI's API on this machine. With a key, change one line: client = OpenAI(), or
OpenAI(base_url=...) for any compatible server; MODEL is the model's name.
"""

import os
import sys
from datetime import date
from typing import Any

from offline_api import offline_api
from openai import OpenAI

from roi_agent import Workspace, build_toolbox

MODEL = os.environ.get("MODEL", "gpt-4o-mini")


def today() -> str:
    """Return today's date: an existing tool of the loop."""
    return date.today().isoformat()


def main(image: str, question: str) -> None:
    client = OpenAI(base_url=offline_api(), api_key="none")  # with a key: OpenAI()
    schema = {"name": "today", "description": "Today's date.", "parameters": {"type": "object", "properties": {}}}
    tools: Any = [{"type": "function", "function": schema}]

    workspace = Workspace()  # new
    seen = workspace.add_image(image)  # new
    toolbox = build_toolbox(workspace)  # new
    tools += toolbox.openai_tools()  # new

    system = f"You answer questions about {seen.name}. Find regions first, then ask about them by their handles."
    messages: list[Any] = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    for _ in range(16):
        message = client.chat.completions.create(model=MODEL, messages=messages, tools=tools).choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            print(message.content)
            return
        for call in message.tool_calls:
            assert call.type == "function"
            name, arguments = call.function.name, call.function.arguments
            reply = today() if name == "today" else toolbox.call(name, arguments).to_json()
            print(f"  {name} {arguments}")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": reply})
    print("no answer after sixteen rounds")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
