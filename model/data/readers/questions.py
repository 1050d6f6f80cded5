"""The wordings of the readers' questions, from `prompts/data_questions.md`."""

import re
from random import Random

from roi_agent.prompts import load_blocks

_HANDLE = re.compile(r"region[1-9][0-9]*")


def draw_wording(block: str, rng: Random, **names: str) -> str:
    """Draw a wording of a block and fill it in.

    A value such as region1 becomes the mention `<region1>`; any other text is inserted unchanged.
    """
    line = rng.choice(load_blocks("data_questions")[block].splitlines())
    return line.format(**{key: f"<{name}>" if _HANDLE.fullmatch(name) else name for key, name in names.items()})
