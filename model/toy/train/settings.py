"""The settings of a training run, read from a YAML file; unknown keys and impossible values fail."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.sampler import ALONE, MOST
from roi_agent.model.train.config_files import build, check_numbers, read_values
from roi_agent.model.train.task import Schedule

OBJECTIVES = ("words", "tower", "questions", "vocabulary", "phrases", "boxes", "prompts")


@dataclass(frozen=True, slots=True)
class PhaseSettings:
    """One phase of training.

    objective: `words` (questions over symbolic regions, without images), `tower` (what is in each box, without the
        language model) or `questions` (the paper's loss: answers about pixels); for a detector `vocabulary` (prompts of every
        word) or `phrases` (prompts of some phrases, true and false); for a segmenter `boxes` (masks from boxes alone) or
        `prompts` (from boxes, points and masks).
    trained: names of the modules that learn; all others are frozen.
    precision: float32 or bf16, in which what learns is still kept in float32; on a CPU, bf16 pays for convolutions and not for a
        small language model.
    warmup: share of the steps in which the learning rate rises.  final_rate: what is left of it at the end, as a share of the
        peak; 1 keeps it up, in a phase that must find a rule and not polish it.
    scenes: scenes in a batch; questions: conversations about each, or the most phrases that are looked for, or
        prompts; steps: batches.
    rates: by the start of their names, modules that learn at a share of the learning rate.
    family_weights: how often a family is asked, 1 where it is not named; alone: the share of questions asked with no other
        regions given than those they mention; most_regions: in one question.
    """

    name: str
    objective: str
    trained: tuple[str, ...]
    steps: int
    scenes: int
    questions: int
    learning_rate: float
    warmup: float = 0.03
    final_rate: float = 0.02
    weight_decay: float = 0.01
    precision: str = "float32"
    alone: float = ALONE
    most_regions: int = MOST
    family_weights: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.-]*", self.name):
            raise InvalidSetting(f"a phase is called {self.name!r}", do="name it with letters, digits, - and _: it has a folder")
        if self.objective not in OBJECTIVES:
            raise InvalidSetting(f"phase {self.name}: objective {self.objective!r}", do=f"choose one of {', '.join(OBJECTIVES)}")
        if self.precision not in ("float32", "bf16"):
            raise InvalidSetting(f"phase {self.name}: precision is {self.precision!r}", do="use float32 or bf16")
        check_numbers(self, above=("steps", "scenes", "learning_rate"), where=f"phase {self.name}: ")
        for key in ("warmup", "final_rate", "alone"):
            if not 0 <= getattr(self, key) <= 1:
                raise InvalidSetting(f"phase {self.name}: {key} is {getattr(self, key)}", do="give a share from 0 to 1")
        if self.objective == "phrases" and self.questions < 1:
            raise InvalidSetting(f"phase {self.name}: questions is {self.questions}", do="give the most phrases of a prompt")
        if wrong := {name: share for name, share in self.rates.items() if not 0 < share <= 1}:
            raise InvalidSetting(f"phase {self.name}: rates are {wrong}", do="give shares above 0 and up to 1")
        if not 2 <= self.most_regions <= MOST:
            raise InvalidSetting(f"phase {self.name}: most_regions is {self.most_regions}", do=f"give 2 to {MOST}")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """A whole run: a preset, a seed, and its phases in order."""

    preset: str
    phases: tuple[PhaseSettings, ...]
    seed: int = 0
    save_every: int = 500
    log_every: int = 25
    workers: int = 1

    def __post_init__(self) -> None:
        check_numbers(self, above=("save_every", "log_every"))
        names = [phase.name for phase in self.phases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidSetting(f"two phases are called {twice[0]!r}", do="give each a name of its own")

    @classmethod
    def load(cls, config: str | Path) -> "TrainSettings":
        """A YAML file, or the name of one in `model/train/configs/`.  Raises ModelNotFound and InvalidSetting."""
        values = read_values(config)
        phases = tuple(
            build(PhaseSettings, {**each, "trained": tuple(each.get("trained", ()))}) for each in values.pop("phases", ())
        )
        return build(cls, {**values, "phases": phases})

    def first_scene(self, phase: PhaseSettings) -> int:
        """Where a phase's scenes begin among those of training: no two phases see the same."""
        return sum(each.steps * each.scenes for each in self.phases[: self.phases.index(phase)])

    def schedule(self, phase: PhaseSettings) -> Schedule:
        """How a phase is trained.  Any loss that is a number is taken: what is asked changes from phase to phase."""
        return Schedule(
            steps=phase.steps,
            batch=phase.scenes,
            micro_batch=phase.scenes,
            learning_rate=phase.learning_rate,
            warm=round(phase.steps * phase.warmup),
            final_rate=phase.final_rate,
            bf16=phase.precision == "bf16",
            seed=self.seed,
            save_every=self.save_every,
            log_every=self.log_every,
            workers=self.workers,
        )
