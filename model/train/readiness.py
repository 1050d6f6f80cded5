"""What would stop a training on records, found before its first step."""

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

_IMAGES = 100  # of each set, that are looked for
# What may change between a run and its continuation: nothing of it changes what is learned from which batch.
_FREE = ("micro_batch", "gradient_checkpointing", "spike", "save_every", "log_every", "workers", "evaluate")


def check_ready(job: RecordJob, processes: int) -> Plan:
    """Refuse what cannot end well, and note what the run is.

    Errors: InvalidSetting for a batch that cannot be shared out, a full disk and a folder of another run; DataNotFound for sets
    and images that are not there; ModelNotFound; CheckpointMismatch for a model and a processor that do not fit; TrainingDiverged
    for a run that diverged again and again.
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
    """Look for some of a set's images, spread over all of it.

    Errors: DataNotFound where one is not there, ImageUnreadable where none can be decoded.
    """
    places = np.unique(np.linspace(0, max(0, part.num_samples - 1), min(part.num_samples, _IMAGES)).astype(int))
    records = [part.read(int(place))[0] for place in places]
    missing = [record.image for record in records if not part.records.has_image(record)]
    if missing:
        problem = f"{len(missing)} of {len(records)} images looked for of {part.name} are not there, the first {missing[0]!r}"
        raise DataNotFound(problem, do=f"put them below {str(part.records.images)!r}, or convert the set again")
    _check_readable(part, records)


def _check_readable(part: Part, records: Sequence[Record]) -> None:
    """That there is something to learn from: damaged images are left out one by one, and not all of them."""
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
    """Errors: CheckpointMismatch where model and processor differ; InvalidSetting where masks or rows do not fit the model."""
    text = config.text_config
    tokens = {"<im_patch>": config.image_token_id, "<bbox>": config.region_token_id, "<im_end>": config.image_end_token_id}
    for token, wanted in tokens.items():
        found = processor.tokenizer.convert_tokens_to_ids(token)
        if found != wanted:
            raise CheckpointMismatch(f"{token} has id {found} in the tokenizer and {wanted} in the configuration")
    prefix = prefix_ids(processor)
    if prefix.count(config.image_token_id) != config.num_image_tokens:
        problem = (
            f"the prompt shows {prefix.count(config.image_token_id)} image tokens, and the model gives {config.num_image_tokens}"
        )
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
        problem = f"the language model has layers of {', '.join(sorted(kinds))}, which the masks of packed rows do not fit"
        raise InvalidSetting(problem, do="use one with full attention in every layer")
    room = getattr(text, "max_position_embeddings", length)
    if not len(prefix) < length <= room:
        problem = f"length is {length}; the image takes {len(prefix)} tokens and the model reads {room}"
        raise InvalidSetting(problem, do="choose a length between the two")


def _run_description(job: RecordJob) -> dict[str, Any]:
    settings = {key: value for key, value in asdict(job.settings).items() if key not in _FREE}
    return {**settings, "from": asdict(job.start), "reset": [*job.reset]}
