"""The wordings in which readers ask; all of them stand in `prompts/data_questions.md`."""

import re
from random import Random

from roi_agent.prompts import load_blocks

_HANDLE = re.compile(r"region[1-9][0-9]*")


def draw_wording(block: str, rng: Random, **names: str) -> str:
    """One wording of a block, with regions by their names and other words as they are.

    A name such as region1 becomes the mention `<region1>`; a longer text is put in as it is.
    """
    line = rng.choice(load_blocks("data_questions")[block].splitlines())
    return line.format(**{key: f"<{name}>" if _HANDLE.fullmatch(name) else name for key, name in names.items()})
