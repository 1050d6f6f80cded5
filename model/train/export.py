"""From a finished training on records to a folder that `load_region_model` opens."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from roi_agent.model.checkpoints.loading import without_bars
from roi_agent.model.domain.domains import Domain, FeatureDomain, SceneDomain, load_domain, pool
from roi_agent.model.errors import UserError
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.train import run_checkpoints
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.mixture import Mixture, open_parts
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.parameters import cast
from roi_agent.model.train.starting import prepare
from roi_agent.model.utils.atomic_files import atomic_folder

ADAPTER = "adapter"
_FEWEST, _MOST = 20, 400  # images that a domain is fitted to
_AT_ONCE = 16


def export(job: RecordJob) -> Path:
    """Write the newest checkpoint as `model/` in the run's folder: adapters are merged, and kept beside it as `adapter/`."""
    settings, target, new = job.settings, job.folder / "model", job.folder / "model.new"
    if new.exists():  # an earlier export was cut
        shutil.rmtree(new)
    model, processor = job.start.load(settings)
    prepare(model, settings, job.random)
    run_checkpoints.load(job.folder, PackedLoss(model))
    with atomic_folder(new) as folder, without_bars():
        if settings.lora:
            _merge(model, folder / ADAPTER)
        kind = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        cast(model.eval(), kind, kind)
        if model.config.domain:
            _fit_domain(model, processor, job, folder)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    if target.exists():
        shutil.rmtree(target)
    return new.rename(target)


def _merge(model: GPT4RoIForConditionalGeneration, adapter: Path) -> None:
    """Add the adapters to the layers that they adapt, once they are saved."""
    from peft.tuners.lora import LoraLayer

    adapted = model.language_model
    _save_adapter(adapted, adapter)
    for name, module in list(adapted.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            adapted.set_submodule(name, module.get_base_layer())


def _save_adapter(adapted: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir()
    (config,) = adapted.peft_config.values()
    # By default PEFT adds the embeddings where they have more rows than the base's: they are not trained, and may be tied.
    kept = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    weights = {f"base_model.model.{name}": each for name, each in kept.items()}  # as PEFT writes them
    save_file(weights, folder / "adapter_model.safetensors")
    config.save_pretrained(folder)


def _fit_domain(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, job: RecordJob, folder: Path) -> None:
    """What the images of training look like, where the start knew its own; with too few of them there is no verdict.

    Rendered scenes stay what they are, however few they are.
    """
    settings, images = job.settings, training_images(job)
    start = load_domain(job.start.path()) if job.start.folder is not None else None
    few = len(images) < _FEWEST
    model.config.domain = f"{f'{len(images)} ' if few else ''}images of {', '.join(settings.data)}"
    if isinstance(start, SceneDomain) and all(start.contains(each, tuple) for each in images):
        replace(start, known=model.config.domain).save(folder)
    elif not few:
        _features_of(images, model, processor, settings.seed).save(folder)


def training_images(job: RecordJob) -> list[Image.Image]:
    """Images of the training, each once, in its order; only so many as a domain is fitted to."""
    settings = job.settings
    parts = open_parts(job.data, settings.data, conversations=settings.conversations)
    mixture = Mixture.make(parts, epochs=1, batch=1, seed=settings.seed)
    found: dict[Path, Image.Image] = {}
    for place in range(len(mixture)):
        part, records = mixture.read(place)
        with suppress(UserError):  # a damaged image, which was not learned from
            path = part.records.image_path(records[0])
            if path not in found:
                found[path] = part.records.image(records[0]).pixels
        if len(found) == _MOST:
            break
    return list(found.values())


def _features_of(
    images: Sequence[Image.Image], model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, seed: int
) -> Domain:
    """Half of the images, drawn by the seed, fit, and the others set the limit."""
    pixels = processor.pixels(images)
    with torch.inference_mode():
        pooled = torch.cat([pool(model.encode_image(some).maps).cpu() for some in pixels.split(_AT_ONCE)])
    inside, held_out = pooled[torch.from_numpy(np.random.default_rng(seed).permutation(len(pooled)))].chunk(2)
    return FeatureDomain.fit(inside, held_out, known=model.config.domain)
