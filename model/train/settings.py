"""The settings of a training on records, read from a YAML file; unknown keys and impossible values fail."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.gpt4roi.configuration import PRESETS
from roi_agent.model.train.base_settings import LearningSettings, RunSettings
from roi_agent.model.train.config_files import as_tuple, build, check_numbers, check_weights, read_values
from roi_agent.model.train.task import Schedule

PARTS = ("vision_tower", "region_encoder", "projector", "language_model")
_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685) on the language model's linear layers, in place of training the layers themselves.

    rank, alpha, dropout: as in PEFT.  modules: names of the layers.
    """

    rank: int = 64
    alpha: int = 128
    dropout: float = 0.05
    modules: tuple[str, ...] = _LINEAR

    def __post_init__(self) -> None:
        check_numbers(self, above=("rank", "alpha"), below_one=("dropout",))


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is held out.  data: folder of the record set.  every: steps.  records: how many are asked.  max_new_tokens: of an
    answer."""

    data: str
    every: int = 500
    records: int = 32
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.data, str):
            raise InvalidSetting(f"evaluate: data is {self.data!r}", do="name the folder of a record set")
        check_numbers(self, above=("every", "records", "max_new_tokens"))


@dataclass(frozen=True, kw_only=True)
class RecordSettings(RunSettings, LearningSettings):
    """A training on records.

    model: the preset that it is made for; `--plan` counts with it.
    trained: parts that learn, or modules of them.  lora: adapters in place of the language model's layers.
    image_size, mask_pooling, focal_crop: in place of those of the model that it starts from, which may have been trained without
        them; see `load_adapted`.  The resulting model keeps them.
    data: weights by the folder names of record sets: how often each sample is seen in an epoch.
    batch: images in a step, over all processes.  micro_batch: images that a process holds at once; the rest is accumulated.
    conversations: about one image in one sample, at most.  length: tokens of a row.
    letters: closed questions are asked a second time, with their options written out after letters.
    single_turns: names of sets in which each turn is a conversation of its own: those whose questions need none before them.
    warmup_steps: in place of warmup.  weight_decay: of matrices; biases and norms have none.  clip: maximum gradient norm.
    precision: with bf16, frozen weights are bfloat16.
    gradient_checkpointing: of language model and region encoder: a third more arithmetic for far less memory.
    spike: a loss above so many times the running median, after the warm-up, stops the training.
    evaluate: on held-out records.
    Errors: InvalidSetting.
    """

    model: str
    data: dict[str, float]
    batch: int
    micro_batch: int = 1
    epochs: int = 2
    image_size: int | None = None
    mask_pooling: bool | None = None
    focal_crop: bool | None = None
    learning_rate: float = 2e-5
    warmup: float = 0.003
    warmup_steps: int | None = None
    conversations: int = 8
    length: int = 2048
    letters: bool = False
    single_turns: tuple[str, ...] = ()
    precision: str = "bf16"
    gradient_checkpointing: bool = False
    clip: float = 1.0
    spike: float = 5.0
    lora: LoraSettings | None = None
    evaluate: EvaluationSettings | None = None

    def __post_init__(self) -> None:
        self.check_run()
        self.check_learning()
        check_numbers(self, above=("batch", "micro_batch", "epochs", "conversations", "length", "clip"))
        if self.model not in PRESETS:
            raise InvalidSetting(f"model is {self.model!r}", do=f"choose one of {', '.join(PRESETS)}")
        if unknown := [each for each in self.trained if each.split(".")[0] not in PARTS]:
            raise InvalidSetting(f"trained names {unknown[0]!r}", do=f"name parts of {', '.join(PARTS)}")
        if not self.trained and self.lora is None:
            raise InvalidSetting("nothing is trained", do="name parts under trained, or give lora")
        if self.lora and any(each.startswith("language_model") for each in self.trained):
            raise InvalidSetting(
                "the language model is trained and has adapters", do="leave it out of trained, or leave out lora"
            )
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise InvalidSetting(f"warmup_steps is {self.warmup_steps}", do="give zero or a number above it")
        check_weights("data", self.data)
        if not isinstance(self.single_turns, tuple) or any(each not in self.data for each in self.single_turns):
            raise InvalidSetting(f"single_turns is {self.single_turns!r}", do=f"give a list of some of {', '.join(self.data)}")
        if not self.spike > 1:
            raise InvalidSetting(f"spike is {self.spike!r}", do="give a factor above 1")

    @classmethod
    def load(cls, config: str | Path) -> "RecordSettings":
        """A YAML file, or the name of a shipped one.  Errors: ModelNotFound, InvalidSetting."""
        return cls.of(read_values(config))

    @classmethod
    def of(cls, values: dict[str, Any]) -> "RecordSettings":
        """The settings from what a YAML file holds.  Error: InvalidSetting."""
        values = dict(values)
        for key, kind in (("lora", LoraSettings), ("evaluate", EvaluationSettings)):
            given = values.get(key)
            if given is not None:
                if not isinstance(given, dict):
                    raise InvalidSetting(f"{key} is {given!r}", do="give a mapping, perhaps an empty one: {}")
                values[key] = build(kind, {name: as_tuple(each) for name, each in given.items()})
        return build(cls, {name: as_tuple(each) for name, each in values.items()})

    @property
    def adapts(self) -> bool:
        """Whether the model gets options other than its own."""
        return any(each is not None for each in (self.image_size, self.mask_pooling, self.focal_crop))

    def check_shares(self, processes: int) -> None:
        """Error: InvalidSetting where batches cannot be shared out over so many processes."""
        if self.batch % (processes * self.micro_batch):
            problem = f"a batch of {self.batch} cannot be cut into micro-batches of {self.micro_batch} for {processes} processes"
            raise InvalidSetting(problem, do="choose a batch that their product divides")

    def schedule(self, steps: int) -> Schedule:
        """How so many steps are trained."""
        given = {} if self.warmup_steps is None else {"warmup_steps": self.warmup_steps}
        more = {"clip": self.clip, "spike": self.spike, "evaluate_every": self.evaluate.every if self.evaluate else 0, **given}
        return self.schedule_for(self, steps=steps, batch=self.batch, micro_batch=self.micro_batch, **more)
