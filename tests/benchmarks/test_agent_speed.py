"""What an answer of the agent costs beside the tools that it calls.  Run: make bench"""

import statistics
import time
from pathlib import Path
from typing import Any

from PIL import Image

from roi_agent import Workspace, build_agent, build_toolbox, load_detector, load_region_model, load_segmenter
from roi_agent.model.data.scenes import make_scene, render_image

_ROUNDS = 12
_TASK = "What colour is the largest thing right of the leftmost thing?"


def test_the_agent_beside_its_tools_alone(tmp_path: Path) -> None:
    models: dict[str, Any] = {"region_model": load_region_model(), "detector": load_detector(), "segmenter": load_segmenter()}
    agents = {"agent": build_agent(**models), "agent, kept in a folder": build_agent(**models, folder=tmp_path)}
    times: dict[str, list[float]] = {name: [] for name in (*agents, "its tools alone")}
    for index in range(_ROUNDS + 1):
        image = Image.fromarray(render_image(make_scene(index), 384))
        for name, agent in list(agents.items())[:: 1 if index % 2 else -1]:
            start = time.perf_counter()
            result = agent.run(image, _TASK)
            times[name].append(time.perf_counter() - start)
        workspace = Workspace()
        workspace.add_image(image)
        toolbox = build_toolbox(workspace, **models)
        start = time.perf_counter()
        for step in result.trace.steps:
            if step.kind == "tool":
                assert toolbox.call(step.name, step.arguments).error is None
        times["its tools alone"].append(time.perf_counter() - start)
        if index:
            print(f"\nscene {index}: {result.usage.planner_turns} turns, {result.usage.tool_calls} calls", end="")
    print()
    for name, seconds in times.items():
        kept = seconds[1:]  # the first pays for what Python loads at first use
        print(f"{name:>24}: median {statistics.median(kept):.3f} s, longest {max(kept):.3f} s of {len(kept)}")
