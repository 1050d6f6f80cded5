"""The start of a training on records: a GPT4RoI, or a language model and a vision tower to combine."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from roi_agent.model.checkpoints.adapt import adapt_model, adapt_processor, with_options
from roi_agent.model.checkpoints.loading import load_model, load_part
from roi_agent.model.errors import InvalidSetting, ModelNotFound
from roi_agent.model.gpt4roi.configuration import PRESETS, GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.train.bases import combine_bases, describe_bases
from roi_agent.model.train.parameters import cast, freeze_all_but, reinitialize
from roi_agent.model.train.settings import LoraSettings, RecordSettings

NANO = Path(__file__).parent.parent / "nano"
_ATTENTION = "sdpa"  # takes the masks of packed rows


@dataclass(frozen=True, slots=True)
class Start:
    """The source of the weights: the folder of a GPT4RoI (or `nano`), or the folders of its bases.

    language_model, vision: folders in Hugging Face's layout.  projector: LLaVA's file `mm_projector.bin`.
    """

    folder: str | None = None
    language_model: str | None = None
    vision: str | None = None
    projector: str | None = None

    def __post_init__(self) -> None:
        bases = (self.language_model, self.vision)
        if self.folder is not None and any((*bases, self.projector)):
            raise InvalidSetting("both a model and bases are given", do="give --from, or the bases")
        if self.folder is None and not all(bases):
            raise InvalidSetting("there is nothing to start from", do="give --from FOLDER, or --language-model and --vision")

    @property
    def random(self) -> tuple[str, ...]:
        """The parts without weights in any of the folders."""
        if self.folder is not None:
            return ()
        return ("region_encoder",) if self.projector else ("region_encoder", "projector")

    def path(self) -> Path:
        """The folder of the model.  Error: ModelNotFound."""
        assert self.folder is not None
        if self.folder == "nano":
            return NANO
        if self.folder in PRESETS and not Path(self.folder).is_dir():
            raise ModelNotFound(
                f"the weights of {self.folder} are not shipped", do="give a folder, or --language-model and --vision"
            )
        return Path(self.folder)

    def description(self, settings: RecordSettings | None = None) -> tuple[GPT4RoIConfig, GPT4RoIProcessor]:
        """Load configuration and processor, without weights.

        settings: override options of the encoder.  Errors: ModelNotFound, CheckpointMismatch, InvalidSetting.
        """
        config, processor = self._description()
        if settings and settings.adapts:
            config = adapted(config, settings)
            adapt_processor(processor, config)
        return config, processor

    def load(self, settings: RecordSettings | None = None) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
        """Load model and processor, in the stored dtype.

        settings: override options of the encoder.  Errors: ModelNotFound, CheckpointMismatch, InvalidSetting.
        """
        model, processor = self._load()
        if settings and settings.adapts:
            wanted = adapted(model.config, settings)
            adapt_model(model, wanted)
            adapt_processor(processor, wanted)
        return model, processor

    def _bases(self) -> tuple[Path, Path]:
        assert self.language_model is not None and self.vision is not None
        return Path(self.language_model), Path(self.vision)

    def _description(self) -> tuple[GPT4RoIConfig, GPT4RoIProcessor]:
        if self.folder is None:
            config, processor = describe_bases(*self._bases())
            config.text_config.vocab_size = max(config.vocab_size, len(processor.tokenizer))  # type: ignore[union-attr]
            return config, processor
        path = self.path()
        return load_part(GPT4RoIConfig, path), load_part(GPT4RoIProcessor, path)

    def _load(self) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
        if self.folder is None:
            return combine_bases(*self._bases(), Path(self.projector) if self.projector else None)
        path = self.path()
        model = load_model(GPT4RoIForConditionalGeneration, path, dtype="auto")
        return model, load_part(GPT4RoIProcessor, path)


def adapted(config: GPT4RoIConfig, settings: RecordSettings) -> GPT4RoIConfig:
    """The configuration under the options that the settings name.  Error: InvalidSetting."""
    if settings.focal_crop and not config.focal_crop and "region_encoder" not in settings.trained:
        problem = "focal_crop is new to the model, and its gate would stay closed: the region encoder does not learn"
        raise InvalidSetting(problem, do="name region_encoder under trained, or leave out focal_crop")
    return with_options(
        config, image_size=settings.image_size, mask_pooling=settings.mask_pooling, focal_crop=settings.focal_crop
    )


def prepare(model: GPT4RoIForConditionalGeneration, settings: RecordSettings, random: Iterable[str] = ()) -> list[nn.Parameter]:
    """Prepare a model for training: random parts, adapters, frozen and trained parameters, and dtypes.

    random: parts initialised from the seed, identically in every process, on resume, and in the export.
    Returns the trained parameters.  Also works on the meta device.  Error: InvalidSetting.
    """
    torch.manual_seed(settings.seed)
    random = tuple(dict.fromkeys(random))
    for part in random:
        reinitialize(model, part)
    if settings.lora:
        add_adapters(model, settings.lora)
    learning = freeze_all_but(model, settings.trained)
    _check_learning(model, settings.trained, random)
    if settings.lora:
        adapters = [parameter for name, parameter in model.named_parameters() if "lora_" in name]
        for parameter in adapters:
            parameter.requires_grad_()
        learning += adapters
    cast(model, torch.float32 if settings.precision == "float32" else torch.bfloat16)
    model.language_model.set_attn_implementation(_ATTENTION)
    for module in (model.language_model, model.region_encoder):
        module.train()  # even if frozen: gradients pass through it, and checkpointing needs training mode
    if settings.gradient_checkpointing:
        model.language_model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        model.region_encoder.gradient_checkpointing = True
    return learning


def _check_learning(model: GPT4RoIForConditionalGeneration, trained: Iterable[str], random: Iterable[str]) -> None:
    """Errors: InvalidSetting for a module without parameters of its own, and for random weights that are frozen."""
    names = {name for name, each in model.named_parameters() if each.requires_grad}
    for each in trained:
        if not any(f"{name}.".startswith(f"{each}.") for name in names):
            do = "leave it out of trained; where two tables of tokens are tied, name embed_tokens"
            raise InvalidSetting(f"{each} has no weights of its own to train", do=do)
    for part in random:
        frozen = [f"{part}.{name}" for name, each in getattr(model, part).named_parameters() if not each.requires_grad]
        if frozen:
            whole = len(frozen) == len(list(getattr(model, part).parameters()))
            problem = f"{f'the {part}'.replace('_', ' ') if whole else frozen[0]} starts from random weights and does not learn"
            give = "give --projector, LLaVA's file, or " if part == "projector" else ""
            raise InvalidSetting(problem, do=f"{give}name {part} under trained")


def add_adapters(model: GPT4RoIForConditionalGeneration, settings: LoraSettings) -> Any:
    """Add adapters to the language model, in place; returns PEFT's wrapper.  Error: InvalidSetting."""
    from peft import LoraConfig, get_peft_model

    tables = {model.get_input_embeddings(), model.get_output_embeddings()}
    tied = len({each.weight for each in tables}) < len(tables)
    shared = {name.split(".")[-1] for name, each in model.language_model.named_modules() if tied and each in tables}
    if both := sorted(shared.intersection(settings.modules)):
        problem = f"{both[0]} is tied to the other embedding table, so an adapter on it would change both"
        raise InvalidSetting(problem, do="remove it from lora: modules")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.modules),
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # that PEFT 0.21 still asks for
            return get_peft_model(model.language_model, config)
    except ValueError:
        names = ", ".join(settings.modules)
        raise InvalidSetting(
            f"the language model has no layers {names}", do="name its linear layers under lora: modules"
        ) from None


def decoder_layers(model: GPT4RoIForConditionalGeneration) -> list[nn.Module]:
    """The language model's layers, which are sharded one by one."""
    kinds = set(model.language_model._no_split_modules or ())
    return [module for module in model.language_model.modules() if type(module).__name__ in kinds]
