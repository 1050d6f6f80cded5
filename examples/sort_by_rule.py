"""The agent as a node of a larger LangGraph graph: images are sorted by a visual rule, with the evidence for each.

    python examples/sort_by_rule.py IMAGES/ "Is there a red thing left of a flag?" OUT/

writes OUT/sorted.csv (image, verdict, answer, confidence, doubts, picture) and a picture of the regions behind each verdict.
Without arguments, it sorts the example scenes.

It runs offline. With a key, change one line: PLANNER = "openai:gpt-4o-mini" (pip install 'roi-agent[openai]', OPENAI_API_KEY).
"""

import csv
import sys
from pathlib import Path
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field

from roi_agent import build_agent
from roi_agent.agent.agent import Agent

PLANNER = "offline"
RULE = "Are there more orange things than green things?"


class Verdict(BaseModel):
    """Whether the rule holds of an image."""

    holds: bool = Field(description="Whether the rule holds.")


class Row(TypedDict):
    """One row of the table."""

    image: str
    verdict: str
    answer: str
    confidence: str
    doubts: str
    picture: str


class Sorting(TypedDict):
    """The state of the graph: remaining images, rule, output folder, and rows so far."""

    left: list[Path]
    rule: str
    out: Path
    rows: list[Row]


def build_graph(agent: Agent):  # type: ignore[no-untyped-def]  # LangGraph names the type
    """Build the graph: start -> judge -> (judge again while images remain) -> report."""

    def judge(state: Sorting) -> dict[str, object]:
        image, *left = state["left"]
        result = agent.run(image, state["rule"], answer_as=Verdict)
        verdict = "unclear" if not isinstance(result.data, Verdict) else "yes" if result.data.holds else "no"
        picture = result.trace.picture()
        name = f"{image.stem}.png" if picture else ""
        if picture:
            picture.save(state["out"] / name)
        confidence = "" if result.confidence is None else f"{result.confidence:.2f}"
        row = Row(
            image=image.name,
            verdict=verdict,
            answer=result.said,
            confidence=confidence,
            doubts="; ".join(result.doubts),
            picture=name,
        )
        return {"left": left, "rows": [*state["rows"], row]}

    def report(state: Sorting) -> dict[str, object]:
        rows = sorted(state["rows"], key=lambda row: ("yes", "no", "unclear").index(row["verdict"]))
        with (state["out"] / "sorted.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(Row.__annotations__))
            writer.writeheader()
            writer.writerows(rows)
        return {"rows": rows}

    graph = StateGraph(Sorting)
    graph.add_node("judge", judge)
    graph.add_node("report", report)
    graph.add_edge(START, "judge")
    graph.add_conditional_edges("judge", lambda state: "judge" if state["left"] else "report")
    graph.add_edge("report", END)
    return graph.compile()


def main(folder: Path, rule: str, out: Path) -> None:
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if not images:
        sys.exit(f"there is no image in {folder}")
    out.mkdir(parents=True, exist_ok=True)
    graph = build_graph(build_agent(planner=PLANNER))
    limit = {"recursion_limit": len(images) + 10}
    for row in graph.invoke(Sorting(left=images, rule=rule, out=out, rows=[]), limit)["rows"]:
        print(f"{row['verdict']:8} {row['image']:24} {row['answer']}")
    print(f"the table is in {out / 'sorted.csv'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    if len(given) not in (0, 3):
        sys.exit(__doc__)
    main(Path(given[0]), given[1], Path(given[2])) if given else main(Path(__file__).parent, RULE, Path("sorted"))
