"""What `make demo` runs: a conversation about regions of a rendered scene, and a picture of it.

The shipped nano model answers on the CPU; no key, account or download is needed.
"""

import time
from pathlib import Path

from rich.console import Console

from roi_agent import load_region_model
from roi_agent.model.protocol import Answer
from roi_agent.tools.view import draw_regions

HERE = Path(__file__).parent
PICTURE = Path("demo") / "answers.png"
BOXES = [
    [123, 194, 303, 377],  # region1: an umbrella
    [141, 9, 246, 134],  # region2: a flag
    [16, 54, 84, 135],  # region3: another flag
    [315, 145, 504, 334],  # region4: a square
]
QUESTIONS = [
    "What is <region1>?",
    "What colour is <region2>?",
    "Do <region1> and <region3> have the same colour?",
    "Is <region1> left of <region4>?",
    "Are <region2> and <region3> the same kind of thing?",
    "Which of <region1>, <region2>, <region3> and <region4> is the leftmost?",
    "How many of <region1>, <region2>, <region3> and <region4> are flags?",
]


def main() -> None:
    console = Console(highlight=False)
    start = time.perf_counter()
    image = HERE / "scene1.png"
    model = load_region_model("nano")
    console.print(f"The shipped nano GPT4RoI, loaded in {time.perf_counter() - start:.1f} s, looks at {image.name}.\n")

    caption = []
    for question in QUESTIONS:
        answer = model.ask(image, question, regions=BOXES)
        caption.append(show(console, question, answer))

    console.print("\nA conversation:")
    chat = model.chat(image, regions=BOXES[:2])
    for question in ("Is <region1> below <region2>?", "Why?"):
        caption.append(show(console, question, chat.ask(question)))

    PICTURE.parent.mkdir(exist_ok=True)
    draw_regions(chat.image.pixels, answer.regions, caption).save(PICTURE)
    console.print(f"\nThe picture with the regions is in {PICTURE}. Ask your own:")
    console.print('  .venv/bin/roi-agent ask examples/scene1.png "What is <region1>?" --box 176,389,302,465', markup=False)


def show(console: Console, question: str, answer: Answer) -> str:
    """Print one question with its answer; returns the line for the picture."""
    console.print(
        f"  {question}  [bold]{answer.text}[/bold]  [dim]({answer.confidence:.0%} sure, {answer.timing.total_s:.2f} s)[/dim]"
    )
    return f"{question} {answer.text}"


if __name__ == "__main__":
    main()
