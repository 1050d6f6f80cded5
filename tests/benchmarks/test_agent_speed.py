"""What an answer of the agent costs beside the tools that it calls."""

import time
from pathlib import Path
from typing import Any

from PIL import Image

from roi_agent import Workspace, build_agent, build_toolbox, load_detector, load_region_model, load_segmenter
from roi_agent.model.toy.world.scenes import make_scene, render_image
from tests.benchmarks.conftest import Table

ROUNDS = 12
TASK = "What colour is the largest thing right of the leftmost thing?"


def test_the_agent_beside_its_tools_alone(table: Table, tmp_path: Path) -> None:
    models: dict[str, Any] = {"region_model": load_region_model(), "detector": load_detector(), "segmenter": load_segmenter()}
    agents = {"agent": build_agent(**models), "kept": build_agent(**models, folder=tmp_path)}
    times: dict[str, list[float]] = {name: [] for name in (*agents, "tools")}
    for index in range(ROUNDS + 1):  # the first pays for what Python loads at first use
        image = Image.fromarray(render_image(make_scene(index), 384))
        for name, agent in list(agents.items())[:: 1 if index % 2 else -1]:
            start = time.perf_counter()
            result = agent.run(image, TASK)
            times[name].append(time.perf_counter() - start)
        workspace = Workspace()
        workspace.add_image(image)
        toolbox = build_toolbox(workspace, **models)
        start = time.perf_counter()
        for step in result.trace.steps:
            if step.kind == "tool":
                assert toolbox.call(step.name, step.arguments).error is None
        times["tools"].append(time.perf_counter() - start)
    alone, kept, tools = (seconds[1:] for seconds in times.values())
    table.compare("agent, offline planner: one task in a scene", ("agent", "its tools alone"), (alone, tools))
    table.compare("agent: one task", ("kept in a folder", "not kept"), (kept, alone))
