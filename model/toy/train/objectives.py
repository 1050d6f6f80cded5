"""The objectives of the region model's phases: functions of a batch that return a loss and metrics for the log."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import IGNORE
from roi_agent.model.toy.samples.questions import ToyBatch
from roi_agent.model.toy.world.art import COLOURS, KINDS
from roi_agent.model.train.task import Metrics

Objective = Callable[[GPT4RoIForConditionalGeneration, ToyBatch], tuple[Tensor, Metrics]]

_ROWS = 32  # conversations in one pass of the language model
_NOISE = 0.1  # in every dimension, so that the language model tolerates errors of the region encoder


def region_codes(dim: int) -> tuple[Tensor, Tensor]:
    """Fixed orthogonal vectors for kinds (40, dim) and colours (10, dim).

    The region encoder is first trained to output them and the language model to read them, so that the two can be trained
    separately and then combined. The sum of two has the norm of a normalised position vector.
    """
    generator = torch.Generator().manual_seed(2307_03601)
    square = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    codes = square[: len(KINDS) + len(COLOURS)] * (dim / 2) ** 0.5
    return codes[: len(KINDS)], codes[len(KINDS) :]


def words(model: GPT4RoIForConditionalGeneration, batch: ToyBatch) -> tuple[Tensor, Metrics]:
    """Questions over symbolic regions: the code of the content and the box, without an image."""
    kinds, colours = region_codes(model.config.region_dim)
    seen = kinds.to(batch.boxes.device)[batch.kinds] + colours.to(batch.boxes.device)[batch.colours]
    seen = seen + _NOISE * torch.randn_like(seen)
    vectors = model.region_encoder.project(seen, batch.boxes)
    return answer_loss(model, batch, None, vectors)


def tower(model: GPT4RoIForConditionalGeneration, batch: ToyBatch) -> tuple[Tensor, Metrics]:
    """The content of each box: vision tower and pooling learn to output the codes of kind and colour."""
    assert batch.pixels is not None
    maps = model.region_encoder.fuse(model.vision_features(batch.pixels, model.config.region_layers))
    seen = model.region_encoder.appearance(maps, batch.boxes, batch.box_images).float()
    kinds, colours = (codes.to(seen.device) for codes in region_codes(model.config.region_dim))
    scale = 2 / kinds[0].norm()
    kind_logits, colour_logits = seen @ kinds.T * scale, seen @ colours.T * scale
    loss = F.cross_entropy(kind_logits, batch.kinds) + F.cross_entropy(colour_logits, batch.colours)
    loss = loss + F.mse_loss(seen, kinds[batch.kinds] + colours[batch.colours])
    metrics = {
        "kind_in_box": _share(kind_logits.argmax(-1) == batch.kinds),
        "colour_in_box": _share(colour_logits.argmax(-1) == batch.colours),
    }
    return loss, metrics


def questions(model: GPT4RoIForConditionalGeneration, batch: ToyBatch) -> tuple[Tensor, Metrics]:
    """The paper's loss on answer tokens, given pixels and boxes; an image and its regions are encoded once."""
    assert batch.pixels is not None
    image = model.encode_image(batch.pixels)
    seen = model.region_encoder.appearance(image.maps, batch.boxes, batch.box_images)
    vectors = model.region_encoder.project(seen, batch.boxes)
    return answer_loss(model, batch, image.tokens[batch.row_images], vectors)


def answer_loss(
    model: GPT4RoIForConditionalGeneration, batch: ToyBatch, image_tokens: Tensor | None, vectors: Tensor
) -> tuple[Tensor, Metrics]:
    """Cross entropy on the labelled tokens, a mean weighted by answer; the head runs only on their positions.

    image_tokens: (R, tokens, hidden).  vectors: (K, hidden), one for each box of the batch.
    """
    learned = batch.labels[:, 1:] != IGNORE
    hidden = vectors.new_zeros(*learned.shape, model.config.hidden_size)
    # Rows of similar length together: half of a mixed batch would be padding.
    for rows in batch.mask.sum(1).argsort().split(_ROWS):
        length = int(batch.mask[rows].sum(1).max())
        embeddings = model.embed(
            batch.ids[rows, :length],
            image_tokens[rows] if image_tokens is not None else None,
            [vectors[batch.row_things[row]] for row in rows.tolist()],
        )
        output = model.language_model.base_model(inputs_embeds=embeddings, attention_mask=batch.mask[rows, :length])
        hidden[rows, : length - 1] = output.last_hidden_state[:, :-1].to(hidden.dtype)
    logits = model.get_output_embeddings()(hidden[learned]).float()
    targets = batch.labels[:, 1:][learned]
    right = torch.ones_like(learned)
    right[learned] = logits.argmax(-1) == targets
    exact = right.all(1)
    metrics = {"exact": _share(exact)}
    families = sorted(set(batch.families))
    for family in families:
        rows = torch.tensor([each == family for each in batch.families], device=exact.device)
        metrics[family] = _share(exact[rows])
    # The weight of an answer is the square root of its length: by tokens, "yes" would hardly count next to a sentence.
    lengths = learned.sum(1, keepdim=True)
    weights = (learned / lengths.sqrt())[learned] / lengths.sqrt().sum()
    return (F.cross_entropy(logits, targets, reduction="none") * weights).sum(), metrics


def _share(right: Tensor) -> float:
    return float(right.float().mean())


OBJECTIVES: dict[str, Objective] = {"words": words, "tower": tower, "questions": questions}
