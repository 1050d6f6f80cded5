"""An agent in one loop: the tools from their OpenAI schemas alone, with no other framework.

Run: python examples/agent_loop.py examples/scene1.png "What is left of the square?"
It needs `pip install openai` and a chat model with tool calls: OPENAI_API_KEY is its key (any word, where a server wants none),
OPENAI_BASE_URL the address of any compatible server, MODEL the model's name.
"""

import os
import sys
from typing import Any

from openai import OpenAI

from roi_agent import Workspace, build_toolbox

if len(sys.argv) != 3 or not os.environ.get("OPENAI_API_KEY"):
    sys.exit(__doc__)
image, question = sys.argv[1:]
client = OpenAI()

# The folder keeps images and regions for the next run, and for the next command: roi-agent ask --workspace regions ...
with Workspace.opened("regions") as workspace:
    seen = workspace.add_image(image)
    toolbox = build_toolbox(workspace)
    tools: Any = toolbox.openai_tools()
    task = f"Answer questions about {seen.name}. Find regions first, then ask about them by their handles."
    messages: list[Any] = [{"role": "system", "content": task}, {"role": "user", "content": question}]
    for _ in range(10):
        reply = client.chat.completions.create(model=os.environ.get("MODEL", "gpt-4o-mini"), messages=messages, tools=tools)
        message = reply.choices[0].message
        if not message.tool_calls:
            print(message.content)
            break
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            assert call.type == "function"
            result = toolbox.call(call.function.name, call.function.arguments)
            print(f"  {call.function.name} {call.function.arguments} -> {result.text}")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result.text})
    else:
        print("no answer after ten rounds")
