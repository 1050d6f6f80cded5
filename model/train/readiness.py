"""Checks of a training on records before its first step."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from roi_agent.model.checkpoints.target import check_disk
from roi_agent.model.data.record import Record
from roi_agent.model.errors import CheckpointMismatch, DataNotFound, InvalidSetting, UserError
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.train.divergence import Diverged
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.mixture import Part, open_parts
from roi_agent.model.train.packing import prefix_ids
from roi_agent.model.train.plan import Plan, estimate
from roi_agent.model.train.run_checkpoints import KEPT, check_same_run, record_run

_IMAGES = 100  # checked for each set
# Settings that may change on resume: none of them affects what is learned from a batch.
_FREE = ("micro_batch", "gradient_checkpointing", "spike", "save_every", "log_every", "workers", "evaluate")


def check_ready(job: RecordJob, processes: int) -> Plan:
    """Refuse a training that would fail, and record its settings in its folder.

    Errors: InvalidSetting for a batch that cannot be divided, a full disk and the folder of another run; DataNotFound for missing
    sets and images; ModelNotFound; CheckpointMismatch for a model and a processor that differ; TrainingDiverged for a run that
    diverged too often.
    """
    settings = job.settings
    settings.check_shares(processes)
    check_same_run(job.folder, _run_description(job))
    Diverged.load(job.folder)
    parts = open_parts(job.data, settings.data, conversations=settings.conversations)
    if settings.evaluate:
        parts += open_parts(job.data, {settings.evaluate.data: 1.0}, conversations=1)
    for part in parts:
        check_images(part)
    config, processor = job.start.description(settings)
    check_fit(config, processor, settings.length)
    plan = estimate(settings, config, processes=processes, random=job.random)
    already = sum(file.stat().st_size for file in job.folder.rglob("*") if file.is_file())
    check_disk(job.folder / "model", max(0, KEPT * plan.checkpoint + plan.exported - already))
    record_run(job.folder, _run_description(job))
    return plan


def check_images(part: Part) -> None:
    """Check images spread over a set.

    Errors: DataNotFound for a missing one, ImageUnreadable if none can be decoded.
    """
    places = np.unique(np.linspace(0, max(0, part.num_samples - 1), min(part.num_samples, _IMAGES)).astype(int))
    records = [part.read(int(place))[0] for place in places]
    missing = [record.image for record in records if not part.records.has_image(record)]
    if missing:
        problem = f"{len(missing)} of {len(records)} checked images of {part.name} are missing, the first {missing[0]!r}"
        raise DataNotFound(problem, do=f"put them below {str(part.records.images)!r}, or convert the set again")
    _check_readable(part, records)


def _check_readable(part: Part, records: Sequence[Record]) -> None:
    """Check that an image can be decoded: single damaged images are skipped in training."""
    damage = None
    for record in records:
        try:
            part.records.image(record)
            return
        except UserError as error:
            damage = damage or error
    if damage is not None:
        raise damage


def check_fit(config: Any, processor: GPT4RoIProcessor, length: int) -> None:
    """Errors: CheckpointMismatch if model and processor differ; InvalidSetting for rows that the model cannot process."""
    text = config.text_config
    tokens = {"<im_patch>": config.image_token_id, "<bbox>": config.region_token_id, "<im_end>": config.image_end_token_id}
    for token, wanted in tokens.items():
        found = processor.tokenizer.convert_tokens_to_ids(token)
        if found != wanted:
            raise CheckpointMismatch(f"{token} has id {found} in the tokenizer and {wanted} in the configuration")
    prefix = prefix_ids(processor)
    if prefix.count(config.image_token_id) != config.num_image_tokens:
        problem = f"the prompt has {prefix.count(config.image_token_id)} image tokens, and the model {config.num_image_tokens}"
        raise CheckpointMismatch(problem, do="use the processor of the model")
    for name in ("mask_bins", "focal_crop"):
        ours, theirs = getattr(processor, name), getattr(config, name)
        if ours != theirs:
            problem = f"the processor has {name} {ours}, and the model {theirs}"
            raise CheckpointMismatch(problem, do="use the processor of the model")
    highest = max(processor.tokenizer.get_vocab().values())
    if highest >= config.vocab_size:
        raise CheckpointMismatch(f"the tokenizer counts {highest + 1} tokens and the embedding has {config.vocab_size} rows")
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        problem = f"the language model has layers of {', '.join(sorted(kinds))}, which do not support the masks of packed rows"
        raise InvalidSetting(problem, do="use one with full attention in every layer")
    room = getattr(text, "max_position_embeddings", length)
    if not len(prefix) < length <= room:
        problem = f"length is {length}; the prefix has {len(prefix)} tokens and the context of the model is {room}"
        raise InvalidSetting(problem, do="choose a length between the two")


def _run_description(job: RecordJob) -> dict[str, Any]:
    settings = {key: value for key, value in asdict(job.settings).items() if key not in _FREE}
    return {**settings, "from": asdict(job.start), "reset": [*job.reset]}
