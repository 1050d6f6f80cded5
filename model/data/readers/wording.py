"""The wordings in which readers ask; all of them stand in `prompts/data_questions.md`."""

from random import Random

from roi_agent.prompts import load_blocks


def ask(block: str, rng: Random, **names: str) -> str:
    """One wording of a block, with regions by their names and other words as they are.

    A name such as region1 becomes the mention `<region1>`.
    """
    line = rng.choice(load_blocks("data_questions")[block].splitlines())
    return line.format(**{key: f"<{name}>" if name.startswith("region") else name for key, name in names.items()})
