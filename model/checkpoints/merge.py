"""The source of every tensor of a model, complete or refused, and the copying of weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from roi_agent.model.checkpoints.names import our_name
from roi_agent.model.checkpoints.report import LoadReport, refuse
from roi_agent.model.checkpoints.shards import Entry, WeightFolder

OnProgress = Callable[[int, int], None]  # bytes done, total bytes

_TOWER = "vision_tower."
_TEXT = "language_model."
# A delta's vocabulary is larger than its base's: shared rows are added, the others copied.
_VOCABULARY = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a tensor: a name in a folder, and for a delta the same name in the base."""

    folder: WeightFolder
    name: str
    base: WeightFolder | None = None

    @property
    def entry(self) -> Entry:
        """Shape and dtype in the file."""
        return self.folder.entries[self.name]


@dataclass(slots=True)
class _Draft:
    """Sources found so far.  places: canonical name -> name in our state dict."""

    places: dict[str, str]
    sources: dict[str, Source] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def claim(self, ours: str, source: Source) -> None:
        """Assign a source to one of our tensors."""
        place = self.places.get(_canonical(ours))
        if place is None:
            self.problems.append(f"unexpected {source.name} of shape {source.entry.shape}")
        elif place in self.sources:
            self.problems.append(f"{source.name} and {self.sources[place].name} are both {place}")
        else:
            self.sources[place] = source


def plan_sources(
    expected: Mapping[str, Tensor], published: WeightFolder, base: WeightFolder | None, vision: WeightFolder | None
) -> tuple[dict[str, Source], LoadReport]:
    """Find the source of every tensor in `expected` (our state dict, values unused), and report on all keys.

    Raises CheckpointMismatch with the number of problems and the first of them: missing, unexpected, another shape (both
    shapes), not floating point.
    """
    draft = _Draft({_canonical(name): name for name in expected})
    _claim_published(draft, published, tower_is_elsewhere=vision is not None)
    if vision is not None:
        _claim_tower(draft, vision)
    if base is not None:
        _add_base(draft, base)
    draft.problems += [f"missing {name} of shape {tuple(expected[name].shape)}" for name in expected if name not in draft.sources]
    for name, source in draft.sources.items():
        draft.problems += _misfits(name, source, tuple(expected[name].shape), expected[name].is_floating_point())
    refuse(draft.problems)
    added = {name: source.name for name, source in draft.sources.items() if source.base}
    taken = {name: source.name for name, source in draft.sources.items() if not source.base}
    return draft.sources, LoadReport(taken, added, draft.ignored, _row_notes(draft.sources))


def materialise(model: PreTrainedModel, dtype: torch.dtype, device: torch.device) -> None:
    """Allocate a model on the meta device: empty parameters in `dtype`, and computed buffers."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            empty = nn.Parameter(torch.empty_like(parameter, dtype=dtype, device=device))
            empty._is_hf_initialized = True  # type: ignore[attr-defined]  # initialize_weights leaves it alone
            setattr(module, name, empty)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty_like(buffer, device=device)
        module._is_hf_initialized = False  # type: ignore[assignment]
    model.initialize_weights()  # rotary frequencies, position ids
    model.tie_weights()


def copy_weights(model: nn.Module, sources: Mapping[str, Source], on_progress: OnProgress) -> None:
    """Copy weights from the files, a few megabytes at a time; deltas are added in float32."""
    state, done = model.state_dict(), 0
    total = sum(source.entry.num_bytes for source in sources.values())
    on_progress(0, total)
    # File by file, so that only one is open at a time.
    for name, source in sorted(sources.items(), key=lambda item: (item[1].folder.folder, item[1].entry.file)):
        for rows, block in source.folder.blocks(source.name):
            _copy_block(state[name], rows, block, source)
            done += block.numel() * block.element_size()
            on_progress(done, total)
    for source in sources.values():
        source.folder.close()
        if source.base is not None:
            source.base.close()


def _copy_block(target: Tensor, rows: slice, block: Tensor, source: Source) -> None:
    if not target.dim():
        target.copy_(block)
        return
    shared = 0
    if source.base is not None:
        stop = min(rows.stop, source.base.entries[source.name].shape[0])
        shared = max(0, stop - rows.start)
        if shared:
            start = source.base.rows(source.name, slice(rows.start, stop))
            target[rows.start : stop].copy_(block[:shared].float() + start.float())
    target[rows.start + shared : rows.stop].copy_(block[shared:])


def _claim_published(draft: _Draft, published: WeightFolder, *, tower_is_elsewhere: bool) -> None:
    for name in published.entries:
        ours, reason = our_name(name), _needless(name)
        if not reason and tower_is_elsewhere and ours.startswith(_TOWER):
            reason = "the vision tower is loaded from its own folder"
        if reason:
            draft.ignored[name] = reason
        else:
            draft.claim(ours, Source(published, name))


def _claim_tower(draft: _Draft, vision: WeightFolder) -> None:
    for name in vision.entries:
        reason = _needless(name)
        if not reason and name.startswith(("text_model.", "text_projection.", "visual_projection.", "logit_scale")):
            reason = "it is not part of CLIP's vision tower"
        if reason:
            draft.ignored[name] = reason
        else:
            draft.claim(_TOWER + name, Source(vision, name))


def _add_base(draft: _Draft, base: WeightFolder) -> None:
    """Add the base to the sources of the language model: each delta needs the tensor of the same name."""
    for name in base.entries:
        ours, reason = our_name(name), _needless(name)
        if reason:
            draft.ignored[f"base: {name}"] = reason
        elif ours not in draft.sources:
            draft.problems.append(f"the base has {name}, which the delta does not")
    for ours, source in draft.sources.items():
        if not ours.startswith(_TEXT):
            continue
        if source.name not in base.entries:
            draft.problems.append(f"the base lacks {source.name} of shape {source.entry.shape}")
        else:
            draft.sources[ours] = Source(source.folder, source.name, base)


def _needless(name: str) -> str:
    """The reason to ignore a key, or an empty string."""
    if name.endswith("rotary_emb.inv_freq"):
        return "rotary frequencies are computed from the configuration"
    return "position ids are computed, not learned" if name.endswith("embeddings.position_ids") else ""


def _misfits(name: str, source: Source, wanted: tuple[int, ...], floating: bool) -> list[str]:
    entry, problems = source.entry, []
    if entry.shape != wanted:
        problems.append(f"{source.name} has shape {entry.shape} in the checkpoint and {wanted} in the model")
    if source.base is not None:
        found = source.base.entries[source.name]
        fewer_rows = name in _VOCABULARY and found.shape[1:] == entry.shape[1:] and found.shape[0] <= entry.shape[0]
        if found.shape != entry.shape and not fewer_rows:
            problems.append(f"{source.name} has shape {found.shape} in the base and {entry.shape} in the delta")
        problems += [f"{source.name} is {found.dtype} in the base, not floating point"] * (not found.dtype.is_floating_point)
    if floating and not entry.dtype.is_floating_point:
        problems.append(f"{source.name} is {entry.dtype}, not floating point")
    return problems


def _row_notes(sources: Mapping[str, Source]) -> tuple[str, ...]:
    """Notes on a vocabulary larger than the base's."""
    rows = {
        source.name: (source.base.entries[source.name].shape[0], source.entry.shape[0])
        for source in sources.values()
        if source.base is not None and source.base.entries[source.name].shape != source.entry.shape
    }
    words = "rows are added to the base, the others copied"
    return tuple(f"{name}: {shared} of {total} {words}" for name, (shared, total) in rows.items())


def _canonical(name: str) -> str:
    """The name without `vision_model.`, which some versions of transformers write in CLIP's towers."""
    return name.replace("vision_tower.vision_model.", _TOWER)
