"""Settings shared by all trainings, and their checks."""

from dataclasses import dataclass
from typing import Any

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.train.config_files import check_numbers
from roi_agent.model.train.task import Schedule

MAX_SEED = 2**32 - 1  # of NumPy


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of a run.

    seed: of weights, order and noise.  save_every, log_every: steps between checkpoints, and between rows of the log.
    workers: reading processes per training process; 0 reads in the training process.
    """

    seed: int = 0
    save_every: int = 500
    log_every: int = 10
    workers: int = 2

    def check_run(self) -> None:
        """Error: InvalidSetting."""
        check_numbers(self, above=("save_every", "log_every"), from_zero=("seed", "workers"))
        if self.seed > MAX_SEED:
            raise InvalidSetting(f"seed is {self.seed}", do=f"give a number up to {MAX_SEED}")


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """Trainable modules and optimisation.

    trained: names of modules; all others are frozen.  learning_rate: the peak.  warmup: share of the steps in which the rate
    rises.  final_rate: the rate at the end of the cosine, as a share of the peak.
    precision: float32; or bf16, which computes in bfloat16 and keeps trained weights in float32.
    """

    trained: tuple[str, ...]
    learning_rate: float
    warmup: float = 0.0
    final_rate: float = 0.0
    weight_decay: float = 0.0
    precision: str = "float32"

    def check_learning(self, where: str = "") -> None:
        """where: the beginning of the error.  Error: InvalidSetting."""
        if not isinstance(self.trained, tuple) or not all(isinstance(each, str) for each in self.trained):
            raise InvalidSetting(f"{where}trained is {self.trained!r}", do="give a list of modules")
        if self.precision not in ("float32", "bf16"):
            raise InvalidSetting(f"{where}precision is {self.precision!r}", do="use float32 or bf16")
        check_numbers(
            self,
            above=("learning_rate",),
            from_zero=("weight_decay",),
            shares=("final_rate",),
            below_one=("warmup",),
            where=where,
        )

    def schedule_for(self, run: RunSettings, *, steps: int, batch: int, micro_batch: int, **more: Any) -> Schedule:
        """The schedule of these settings.  more: other fields of `Schedule`, or overrides of derived ones."""
        values = {"warmup_steps": round(steps * self.warmup), **more}
        return Schedule(
            steps=steps,
            batch=batch,
            micro_batch=micro_batch,
            learning_rate=self.learning_rate,
            final_rate=self.final_rate,
            bf16=self.precision == "bf16",
            seed=run.seed,
            save_every=run.save_every,
            log_every=run.log_every,
            workers=run.workers,
            **values,
        )
