"""An agent answers questions about an image; its trace, trace/trace.html, shows every step with its picture.

It runs offline. With a key, change one line: PLANNER = "openai:gpt-4o-mini" (pip install 'roi-agent[openai]', OPENAI_API_KEY).
"""

import sys
from pathlib import Path

from roi_agent import build_agent

PLANNER = "offline"
IMAGE = Path(__file__).parent / "scene1.png"


def main(folder: Path) -> None:
    agent = build_agent(planner=PLANNER)

    result = agent.run(IMAGE, "What colour is the flag that is nearest to the umbrella?")
    print(result.answer, f"(confidence {result.confidence:.2f})" if result.confidence is not None else "")
    for region in result.regions:
        print(" ", region.name, region.label, [round(value) for value in region.box.xyxy])
    for step in result.trace.steps:
        if step.kind == "tool":
            print(f"  step {step.number}: {step.name} took {step.seconds:.2f} s")

    # The conversation continues: "it" refers to the last answer.
    print(agent.run(None, "Is it larger than the yellow square?", thread=result.thread).answer)

    print("the steps with their pictures:", result.trace.save(folder) / "trace.html")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "trace"))
