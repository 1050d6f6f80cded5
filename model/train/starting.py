"""The start of a training on records: a GPT4RoI, or a language model and a vision tower to combine."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from roi_agent.model.checkpoints.adapt import adapt_model, adapt_processor, with_options
from roi_agent.model.checkpoints.loading import load_model, load_part
from roi_agent.model.checkpoints.names import our_name, read_config, read_json, region_layers, text_config, vision_config
from roi_agent.model.checkpoints.shards import WeightFolder, check_weight_folder, open_weights
from roi_agent.model.checkpoints.vocabulary import load_tokenizer
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound
from roi_agent.model.gpt4roi.configuration import PRESETS, GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor, new_processor, register_special_tokens
from roi_agent.model.train.parameters import cast, freeze_all_but
from roi_agent.model.train.settings import LoraSettings, RecordSettings

NANO = Path(__file__).parent.parent / "nano"
_ATTENTION = "sdpa"  # takes the masks of packed rows
_PREPROCESSOR = "preprocessor_config.json"


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

    def _description(self) -> tuple[GPT4RoIConfig, GPT4RoIProcessor]:
        if self.folder is None:
            config, processor = _describe_bases(self)
            config.text_config.vocab_size = max(config.vocab_size, len(processor.tokenizer))  # type: ignore[union-attr]
            return config, processor
        path = self.path()
        return load_part(GPT4RoIConfig, path), load_part(GPT4RoIProcessor, path)

    def _load(self) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
        if self.folder is None:
            return _from_bases(self)
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


def reinitialize(model: GPT4RoIForConditionalGeneration, part: str) -> None:
    """Initialise a part with random weights.  Error: InvalidSetting."""
    if part not in ("region_encoder", "projector", "vision_tower"):
        raise InvalidSetting(f"{part!r} cannot be reset", do="reset region_encoder, projector or vision_tower")
    module = getattr(model, part)
    for each in (*module.parameters(), *module.modules()):
        each._is_hf_initialized = False
    module.apply(model._init_weights)


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


def _from_bases(start: Start) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """Combine a language model and a vision tower with a random region encoder.

    Sizes that the bases do not fix are the published ones.
    """
    config, processor = _describe_bases(start)
    with torch.device("meta"):
        model = GPT4RoIForConditionalGeneration._from_config(config, dtype=torch.float32)
    model.vision_tower = _tower(Path(start.vision or ""))
    model.language_model = _language_model(Path(start.language_model or ""), config.text_config)
    config.text_config = model.language_model.config
    for part in ("region_encoder", "projector"):
        getattr(model, part).to_empty(device="cpu")
        reinitialize(model, part)
    if start.projector:
        _load_projector(model, Path(start.projector))
    _extend_vocabulary(model, processor.tokenizer)
    return model, processor


def _tower(folder: Path) -> nn.Module:
    """The vision tower of a folder, which may hold a text tower too, as CLIP."""
    check_weight_folder(folder)
    whole = load_model(AutoModel, folder, dtype=torch.float32)
    tower: nn.Module = getattr(whole, "vision_model", whole)
    return tower


def _language_model(folder: Path, config: Any) -> Any:
    """A causal language model, which generates by its configuration and not by the folder's `generation_config.json`."""
    check_weight_folder(folder)
    model = load_model(AutoModelForCausalLM, folder, config=config, dtype=torch.float32)
    model.generation_config = GenerationConfig.from_model_config(model.config)
    return model


def _describe_bases(start: Start) -> tuple[GPT4RoIConfig, GPT4RoIProcessor]:
    """The configuration, with the language model's vocabulary size, and the processor, with the architecture's tokens."""
    language, vision = Path(start.language_model or ""), Path(start.vision or "")
    tokenizer = load_tokenizer([language])
    text = _text_config(language)
    ids = register_special_tokens(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = "[PAD]"
    config = _config(text, vision_config(vision), ids)
    processor = new_processor(config, tokenizer)
    if (vision / _PREPROCESSOR).is_file():  # the pixels that the tower was trained on
        values = read_json(vision / _PREPROCESSOR)
        for name in ("image_mean", "image_std"):
            setattr(processor.image_processor, name, values.get(name) or getattr(processor.image_processor, name))
    return config, processor


def _text_config(folder: Path) -> Any:
    """The configuration of a causal language model, or of the LLaMA in an old LLaVA, which transformers does not know."""
    raw = read_config([folder])
    try:
        if raw.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            return AutoConfig.from_pretrained(folder, local_files_only=True)
        shapes = {our_name(name): entry.shape for name, entry in WeightFolder(folder).entries.items()}
        return text_config(raw, shapes, None)
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointMismatch(f"{folder.name!r} contains no configuration of a language model") from None


def _config(text: Any, tower: Any, ids: dict[str, int]) -> GPT4RoIConfig:
    grid, num_prefix_tokens = _grid(tower)
    return GPT4RoIConfig(
        vision_config=tower,
        text_config=text,
        num_prefix_tokens=num_prefix_tokens,
        region_layers=region_layers(tower.num_hidden_layers, 4),
        pyramid_sizes=[grid << level for level in reversed(range(4))],
        image_size=tower.image_size,
        num_image_tokens=grid * grid,
        image_token_id=ids["<im_patch>"],
        region_token_id=ids["<bbox>"],
        image_start_token_id=ids["<im_start>"],
        image_end_token_id=ids["<im_end>"],
    )


def _grid(config: Any) -> tuple[int, int]:
    """Patches along a side of a tower's image, and tokens before them, counted in a run on the meta device."""
    try:
        size, side = config.image_size, config.image_size // config.patch_size
        with torch.device("meta"):
            tower = AutoModel.from_config(config)
            _, count, _ = tower(torch.empty(1, 3, size, size), output_hidden_states=True).hidden_states[-2].shape
    except (AttributeError, TypeError, ValueError, RuntimeError):
        count = side = 0
    if not 0 < side**2 <= count:
        problem = f"a vision tower of type {config.model_type!r} does not return one square grid of patches"
        raise CheckpointMismatch(problem, do="give a vision transformer, as CLIP, SigLIP or DINO")
    return side, count - side**2


def _load_projector(model: GPT4RoIForConditionalGeneration, file: Path) -> None:
    """Load LLaVA's projector, saved under any prefix.  Errors: ModelNotFound, CheckpointMismatch."""
    if not file.is_file():
        raise ModelNotFound(f"there is no projector {file.name!r}", do="give LLaVA's file mm_projector.bin")
    opened = open_weights(file)
    names = list(opened.keys())
    with torch.no_grad():
        for kind, target in model.projector.named_parameters():
            name = next((each for each in names if each.split(".")[-1] == kind), None)
            if name is None:
                raise CheckpointMismatch(
                    f"{file.name} contains no {kind} of a projector", do="give LLaVA's file mm_projector.bin"
                )
            value = opened[name] if isinstance(opened, dict) else opened.get_tensor(name)
            if value.shape != target.shape:
                problem = f"the projector's {kind} is {tuple(value.shape)}, and the model's {tuple(target.shape)}"
                raise CheckpointMismatch(problem, do="give the projector of the same two models")
            target.copy_(value)


def _extend_vocabulary(model: GPT4RoIForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> None:
    """Add embedding rows for the architecture's tokens, initialised with the mean of the others."""
    rows, wanted = model.config.vocab_size, len(tokenizer)
    if wanted > rows:
        model.language_model.resize_token_embeddings(wanted, mean_resizing=False)
        with torch.no_grad():
            for table in (model.get_input_embeddings(), model.get_output_embeddings()):
                weight: Any = table.weight
                weight[rows:] = weight[:rows].mean(0)
        model.config.text_config.vocab_size = wanted  # type: ignore[union-attr]
    model.config.text_config.pad_token_id = tokenizer.pad_token_id  # type: ignore[union-attr]
