"""ABLATIONS.md, section by section."""

from pathlib import Path

from tests.benchmarks.ablation import BATCH, QUESTIONS
from tests.benchmarks.ablation_scenes import FAMILIES

RESULTS = Path(__file__).parent / "ABLATIONS.md"
_HEAD = f"""# What the options beyond the paper bring, and what generated records do

Written by `make ablations`. In the tables of options, nano goes on from its shipped weights in steps of
{BATCH} scenes with {QUESTIONS} questions each (seeds from 1,000,000 on), with the same seeds, steps and data under each option;
region encoder, projector and language model learn, the tower is frozen. Then it answers held-out questions (seeds from 0 on) of
the families {", ".join(FAMILIES)}, greedily, and only the exact answer is right.

- *difference*: to the first row on the same questions, in points, with its 95 % interval.
- *shuffled*: the same model with the regions exchanged among the things of a scene.
- *untrained*: the option switched on for the shipped weights, without any training.
- *ms*: a picture that is new to the engine, with one question about each of up to four regions; the median of twenty. To be
  compared within one table, for the machine was busy.

"""


def write_section(title: str, text: str) -> None:
    """One section of the report, anew; the others stay."""
    report = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    sections = dict(part.split("\n", 1) for part in report.split("\n## ")[1:])
    sections[title] = f"\n{text}\n"
    RESULTS.write_text(_HEAD + "\n".join(f"## {name}\n{body.rstrip()}\n" for name, body in sections.items()), encoding="utf-8")
