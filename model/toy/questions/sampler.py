"""Draws the things that a question is about, their handles, and its wording."""

from collections.abc import Callable, Sequence
from itertools import permutations
from random import Random

from roi_agent.model.data.english import join_words
from roi_agent.model.toy.world.scenes import Scene
from roi_agent.prompts import load_blocks

ALONE = 0.6  # share of questions without other given regions
MOST = 5  # maximum regions in one question
_BYSTANDERS = 3  # maximum given regions that the question does not mention
_LAST_NUMBER = 30  # highest number of a handle


class QuestionSampler:
    """Draws things of a scene for questions, and gives them handles.

    keep: use the first handles for all further questions, as in a conversation.
    alone: share of questions without other given regions.  most: maximum regions in one question.
    """

    def __init__(self, scene: Scene, rng: Random, *, keep: bool = False, alone: float = ALONE, most: int = MOST) -> None:
        self.things, self.rng, self.keep, self.alone, self.most = scene.things, rng, keep, alone, most
        self.handles: dict[int, str] = {}

    def pick(self, count: int, condition: Callable[..., bool] = lambda *things: True) -> list[int] | None:
        """Draw `count` distinct things that meet the condition and give them handles; return their indices, or None.

        Sometimes further things, which the question does not mention, get handles too.
        """
        kept = self.keep and bool(self.handles)
        candidates = list(permutations(self.handles if kept else range(len(self.things)), count))
        self.rng.shuffle(candidates)
        chosen = next((each for each in candidates if condition(*(self.things[i] for i in each))), None)
        if chosen is not None and not kept:
            self._assign_handles(chosen)
        return list(chosen) if chosen is not None else None

    def several(self, least: int = 2) -> list[int]:
        """Draw `least` to `most` things and give them handles; in a conversation, return all things with handles."""
        if not (self.keep and self.handles):
            count = self.rng.randint(min(least, len(self.things)), min(self.most, len(self.things)))
            chosen = self.rng.sample(range(len(self.things)), count)
            if self.keep:
                self._number_handles(chosen)
            else:
                self._assign_handles(chosen)
            return chosen
        chosen = list(self.handles)
        self.rng.shuffle(chosen)
        return chosen

    def question(self, wording: str, indices: Sequence[int], **words: str) -> str:
        """Draw a wording and fill in the mentions; wordings such as "these regions" are used only without other regions."""
        mentions = [f"<{self.handles[index]}>" for index in indices]
        lines = load_blocks("toy_world")[wording].splitlines()
        if len(indices) < len(self.handles):
            lines = [line for line in lines if "{all}" in line or "{a}" in line] or lines
        line = self.rng.choice(lines)
        return line.format(a=mentions[0], b=mentions[1] if len(mentions) > 1 else "", all=join_words(mentions), **words)

    def coin(self) -> bool:
        """Return True or False with equal chance."""
        return self.rng.random() < 0.5

    def _assign_handles(self, chosen: Sequence[int]) -> None:
        others = [index for index in range(len(self.things)) if index not in chosen]
        bystanders = 0 if self.rng.random() < self.alone else self.rng.randint(0, min(_BYSTANDERS, len(others)))
        self._number_handles([*chosen, *self.rng.sample(others, bystanders)])

    def _number_handles(self, chosen: Sequence[int]) -> None:
        count = len(chosen)
        numbers = list(range(1, count + 1)) if self.rng.random() < 0.75 else self.rng.sample(range(1, _LAST_NUMBER + 1), count)
        self.rng.shuffle(numbers)
        self.handles = {index: f"region{number}" for index, number in zip(chosen, numbers, strict=True)}
