"""The settings of a training on records, read from a YAML file; unknown keys and invalid values are refused."""

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
    """Low-rank adapters (arXiv 2106.09685) on linear layers of the language model, instead of training the layers.

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
    """Evaluation on held-out records.

    data: folder of the set.  every: steps.  records: number used.  max_new_tokens: per answer.
    """

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

    model: the preset that the configuration is for, used by `--plan`.
    trained: parts to train, or modules of them.  lora: adapters in place of the language model's layers.
    image_size, mask_pooling, focal_crop: override those of the start, which may have been trained without them; see
        `load_adapted`.  The resulting model keeps them.
    data: weights by folder names of record sets: how often each sample is seen in an epoch.
    batch: images in a step, over all processes.  micro_batch: images in a forward pass of a process; gradients accumulate.
    conversations: maximum per sample, all about one image.  length: tokens of a row.
    letters: repeat closed questions with lettered options.
    single_turns: names of sets whose turns do not depend on earlier ones; each turn becomes a conversation.
    warmup_steps: in place of warmup.  weight_decay: of matrices; biases and norms have none.  clip: maximum gradient norm.
    precision: with bf16, frozen weights are bfloat16.
    gradient_checkpointing: of language model and region encoder: a third more computation for far less memory.
    spike: the training stops at a loss above this multiple of the running median, after the warm-up.
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
            raise InvalidSetting("the language model is trained and has adapters", do="remove it from trained, or remove lora")
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
        """Build the settings from the values of a YAML file.  Error: InvalidSetting."""
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
        """Whether options of the model are overridden."""
        return any(each is not None for each in (self.image_size, self.mask_pooling, self.focal_crop))

    def check_shares(self, processes: int) -> None:
        """Error: InvalidSetting for a batch that the processes cannot share equally."""
        if self.batch % (processes * self.micro_batch):
            problem = f"a batch of {self.batch} is not divisible by micro-batches of {self.micro_batch} in {processes} processes"
            raise InvalidSetting(problem, do="choose a multiple of their product")

    def schedule(self, steps: int) -> Schedule:
        """The schedule of this many steps."""
        given = {} if self.warmup_steps is None else {"warmup_steps": self.warmup_steps}
        more = {"clip": self.clip, "spike": self.spike, "evaluate_every": self.evaluate.every if self.evaluate else 0, **given}
        return self.schedule_for(self, steps=steps, batch=self.batch, micro_batch=self.micro_batch, **more)
