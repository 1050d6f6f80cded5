"""The settings of a training in phases, read from a YAML file; unknown keys and invalid values are refused."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.sampler import ALONE, MOST
from roi_agent.model.train.base_settings import LearningSettings, RunSettings
from roi_agent.model.train.config_files import as_tuple, build, check_numbers, check_weights, read_values
from roi_agent.model.train.task import Schedule

OBJECTIVES = ("words", "tower", "questions", "vocabulary", "phrases", "boxes", "prompts")


@dataclass(frozen=True, kw_only=True)
class PhaseSettings(LearningSettings):
    """A phase of training.

    objective: `words` (questions over symbolic regions, without images), `tower` (what is in each box, without the
        language model) or `questions` (the paper's loss: answers about pixels); for a detector `vocabulary` (prompts of every
        word) or `phrases` (prompts of some phrases, true and false); for a segmenter `boxes` (masks from boxes alone) or
        `prompts` (from boxes, points and masks).
    precision: on a CPU, bf16 speeds up convolutions but not a small language model.
    final_rate: 1 keeps the rate constant, in a phase that must discover a rule rather than refine it.
    steps: batches.  scenes: per batch.  questions: conversations per scene, or the maximum number of phrases, or prompts.
    rates: shares of the learning rate by prefixes of parameter names.
    family_weights: relative frequency of question families, 1 by default.  alone: share of questions without regions that they
        do not mention.  most_regions: maximum in a question.
    """

    name: str
    objective: str
    steps: int
    scenes: int
    questions: int
    warmup: float = 0.03
    final_rate: float = 0.02
    weight_decay: float = 0.01
    alone: float = ALONE
    most_regions: int = MOST
    family_weights: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.-]*", self.name):
            raise InvalidSetting(f"a phase is called {self.name!r}", do="name it with letters, digits, - and _: it has a folder")
        where = f"phase {self.name}: "
        if self.objective not in OBJECTIVES:
            raise InvalidSetting(f"{where}objective {self.objective!r}", do=f"choose one of {', '.join(OBJECTIVES)}")
        self.check_learning(where)
        check_numbers(self, above=("steps", "scenes"), from_zero=("questions",), shares=("alone",), where=where)
        if self.objective == "phrases" and self.questions < 1:
            raise InvalidSetting(f"{where}questions is {self.questions}", do="give the maximum number of phrases in a prompt")
        check_weights(f"{where}rates", self.rates)
        if wrong := {name: share for name, share in self.rates.items() if share > 1}:
            raise InvalidSetting(f"{where}rates are {wrong}", do="give shares above 0 and up to 1")
        check_weights(f"{where}family_weights", self.family_weights, zero=True)
        if not 2 <= self.most_regions <= MOST:
            raise InvalidSetting(f"{where}most_regions is {self.most_regions}", do=f"give 2 to {MOST}")
        if not self.trained:
            raise InvalidSetting(f"{where}nothing is trained", do="name modules of the model under trained")


@dataclass(frozen=True, kw_only=True)
class TrainSettings(RunSettings):
    """A run: a preset, and its phases in order."""

    preset: str
    phases: tuple[PhaseSettings, ...]

    def __post_init__(self) -> None:
        self.check_run()
        names = [phase.name for phase in self.phases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidSetting(f"two phases are called {twice[0]!r}", do="give each a name of its own")

    @classmethod
    def load(cls, config: str | Path) -> "TrainSettings":
        """A YAML file, or the name of one in `model/train/configs/`.  Raises ModelNotFound and InvalidSetting."""
        values = read_values(config)
        given: Any = values.pop("phases", [])
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            raise InvalidSetting(f"phases is {given!r}", do="give a list of mappings, one for each phase")
        phases = tuple(
            build(PhaseSettings, {"trained": (), **{name: as_tuple(value) for name, value in each.items()}}) for each in given
        )
        return build(cls, {**values, "phases": phases})

    def first_scene(self, phase: PhaseSettings) -> int:
        """The index of a phase's first training scene: no two phases share scenes."""
        return sum(each.steps * each.scenes for each in self.phases[: self.phases.index(phase)])

    def schedule(self, phase: PhaseSettings) -> Schedule:
        """The schedule of a phase.  Any finite loss is accepted, since objectives differ between phases."""
        return phase.schedule_for(self, steps=phase.steps, batch=phase.scenes, micro_batch=phase.scenes)
