"""The program behind `make demo`: the agent answers a question, shows its steps, and writes a page with a picture of each.

The shipped nano models and the offline planner run on the CPU; no key, account or download is needed.
"""

import shutil
import time
from pathlib import Path

from rich.console import Console

from roi_agent import build_agent
from roi_agent.agent.events import Finished, Stepped
from roi_agent.trace.terminal import show_answer, show_step

IMAGE = Path(__file__).parent / "scene1.png"
OUT = Path("demo")
TASK = "What colour is the largest thing right of the umbrella?"


def main() -> None:
    console = Console(highlight=False)
    start = time.perf_counter()
    agent = build_agent(planner="offline")
    console.print(f"The agent looks at {IMAGE.name}: {TASK}\n", markup=False)
    for event in agent.stream(IMAGE, TASK, words=False):
        if isinstance(event, Stepped):
            show_step(console, event.step)
        elif isinstance(event, Finished):
            trace = event.result.trace
    show_answer(console, trace)

    shutil.rmtree(OUT, ignore_errors=True)
    trace.save(OUT)
    console.print(f"\nThe run took {time.perf_counter() - start:.1f} s. {OUT / 'trace.html'} shows every step with its picture,")
    console.print(f"and {OUT / 'answer.png'} shows the regions of the answer. Ask your own questions:\n")
    for command in ('run examples/scene2.png "How many things are there?"', f"replay {OUT}", "--help"):
        console.print(f"  .venv/bin/roi-agent {command}", markup=False)


if __name__ == "__main__":
    main()
