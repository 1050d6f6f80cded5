"""The loss of the segmenter: focal and dice loss of masks, and the error of predicted IoUs.

An image is encoded once and decoded several times, as in the training of SAM (arXiv 2304.02643): first from a box or points, then
from the resulting mask with a corrective point.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, mse_loss, sigmoid

from roi_agent.model.toy.samples.prompts import POINTS, PointedBatch
from roi_agent.model.train.task import Metrics

_FOCAL, _QUALITY = 20.0, 1.0  # weights relative to dice
_GAMMA = 2.0
_ANY = 0.1  # probability that a random mask is trained instead of the best, so that none is neglected
_REFINED = 0.3  # share of steps with a second round
_ROUGH = 0.5  # share of second rounds that start from a given rough mask, not from the first round's
_MASK_LOGIT = 10.0  # logit of a given mask
_SHIFT = 3  # maximum shift of a rough mask, in low-resolution pixels

Prompts = dict[str, Tensor]


def boxes_loss(model: Any, batch: PointedBatch) -> tuple[Tensor, Metrics]:
    """Masks from boxes alone."""
    embeddings = model.vision_encoder(batch.pixels).last_hidden_state
    loss, iou, _ = decoded_loss(model, embeddings, {"input_boxes": batch.boxes}, batch.masks, several=_chance(0.5))
    return loss, {"box": iou}


def prompts_loss(model: Any, batch: PointedBatch) -> tuple[Tensor, Metrics]:
    """Masks from a box, from one point, and sometimes from several points, from both, or from a mask."""
    embeddings = model.vision_encoder(batch.pixels).last_hidden_state
    box, box_iou, logits = decoded_loss(model, embeddings, {"input_boxes": batch.boxes}, batch.masks, several=_chance(0.25))
    name, prompts, several = _pointing(batch)
    if name == "point":
        nowhere = batch.nowhere[:, :, None]
        prompts = {"input_points": torch.cat([prompts["input_points"], nowhere], 1)}
        prompts["input_labels"] = torch.ones(prompts["input_points"].shape[:3], dtype=torch.long, device=nowhere.device)
    pointing, iou, _ = decoded_loss(model, embeddings, prompts, batch.masks, several=several)
    loss, metrics = box + pointing, {"box": box_iou, name: iou}
    if _chance(_REFINED):
        refined, metrics["refined"] = _second_round(model, embeddings, batch, logits)
        loss = loss + refined
    return loss, metrics


def decoded_loss(
    model: Any, embeddings: Tensor, prompts: Prompts, masks: Tensor, *, several: bool
) -> tuple[Tensor, float, Tensor]:
    """Decode prompts and compare: the loss, the mean IoU of the masks chosen by the model's own score, and their logits.

    embeddings: (B, C, h, w).  prompts: arguments of the model's forward, for the P things of masks first; later prompts point at
    nothing, and train only predicted IoUs of zero.  masks: (B, P, S, S) uint8 coverage.
    several: predict three masks per prompt and train the best one; else one mask.  Logits: (B, P, 4h, 4w), detached.
    """
    output = model(image_embeddings=embeddings, multimask_output=several, **prompts)
    logits, scores = output.pred_masks.float(), output.iou_scores.float()
    known = logits[:, : masks.shape[1]]
    truth = masks.float() / 255
    with torch.no_grad():
        small = interpolate(truth, known.shape[-2:], mode="area")[:, :, None]
        ious = mask_ious(known > 0, small >= 0.5)
        best = _dice(known, small).argmin(2)
        best = torch.where(torch.rand(best.shape, device=best.device) < _ANY, torch.randint_like(best, ious.shape[2]), best)
    learning = _taken(known, best)
    full = interpolate(learning, truth.shape[-2:], mode="bilinear", align_corners=False)
    goal = torch.zeros_like(scores)
    goal[:, : masks.shape[1]] = ious
    loss = _FOCAL * _focal(full, truth).mean() + _dice(full, truth).mean() + _QUALITY * mse_loss(scores, goal)
    chosen = scores[:, : masks.shape[1]].argmax(2)
    return loss, ious.gather(2, chosen[..., None]).mean().item(), _taken(known, chosen).detach()


def mask_ious(masks: Tensor, others: Tensor) -> Tensor:
    """Intersection over union over the last two dimensions of bool tensors; 0 where both are empty."""
    shared, either = (masks & others).sum((-1, -2)), (masks | others).sum((-1, -2))
    return shared / either.clamp(min=1)


def _pointing(batch: PointedBatch) -> tuple[str, Prompts, bool]:
    """The prompts of this step besides boxes: their name in the log, the prompts, and whether to predict several masks."""
    draw = torch.rand(()).item()
    count = 1 if draw < 0.65 else int(torch.randint(2, POINTS + 1, ()).item())
    prompts = {"input_points": batch.points[:, :, :count], "input_labels": batch.labels[:, :, :count]}
    if draw < 0.65:
        return "point", prompts, not _chance(0.1)
    if draw < 0.9:
        return "points", prompts, _chance(0.25)
    return "both", {**prompts, "input_boxes": batch.boxes}, _chance(0.25)


def _second_round(model: Any, embeddings: Tensor, batch: PointedBatch, logits: Tensor) -> tuple[Tensor, float]:
    """Repeat half of the prompts, each with a mask: a rough one alone, or the first round's with a corrective point."""
    count = max(1, batch.masks.shape[1] // 2)
    truth = interpolate(batch.masks[:, :count].float() / 255, logits.shape[-2:], mode="area").flatten(0, 1)[:, None]
    if _chance(_ROUGH):
        off_x, off_y = torch.randint(-_SHIFT, _SHIFT + 1, (2,)).tolist()
        rough = torch.roll(truth, (off_x, off_y), (-1, -2)) >= 0.5
        prompts = {"input_masks": rough.float() * 2 * _MASK_LOGIT - _MASK_LOGIT}
    else:
        first = logits[:, :count].flatten(0, 1)[:, None]
        scale = batch.masks.shape[-1] / logits.shape[-1]
        points, labels = _corrections(first, truth >= 0.5, scale)
        prompts = {"input_masks": first, "input_points": points, "input_labels": labels}
    spread = embeddings.repeat_interleave(count, 0)
    masks = batch.masks[:, :count].flatten(0, 1)[:, None]
    loss, iou, _ = decoded_loss(model, spread, prompts, masks, several=False)
    return loss, iou


def _corrections(logits: Tensor, truth: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """For each mask (N, 1, h, w) a random pixel where it is wrong, in the frame: (N, 1, 1, 2); 1 where it lacks it: (N, 1, 1)."""
    wrong = ((logits > 0) != truth).flatten(1).float() + 1e-6
    places = torch.multinomial(wrong, 1)
    labels = truth.flatten(1).gather(1, places).long()
    width = truth.shape[-1]
    centres = torch.cat([places % width, places // width], 1).float() + 0.5
    return (centres * scale - 0.5)[:, None, None], labels[:, None]


def _taken(logits: Tensor, index: Tensor) -> Tensor:
    """(B, P, M, h, w) and (B, P) -> the masks of these indices, (B, P, h, w)."""
    return logits.gather(2, index[..., None, None, None].expand(-1, -1, 1, *logits.shape[-2:]))[:, :, 0]


def _focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean over pixels; truth may lie between 0 and 1."""
    inside = sigmoid(logits)
    wrong = (truth - inside).abs() ** _GAMMA
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (wrong * entropy).mean((-1, -2))


def _dice(logits: Tensor, truth: Tensor) -> Tensor:
    """The dice loss of each mask."""
    inside = sigmoid(logits)
    shared, sizes = (inside * truth).sum((-1, -2)), inside.sum((-1, -2)) + truth.sum((-1, -2))
    return 1 - (2 * shared + 1) / (sizes + 1)


def _chance(share: float) -> bool:
    return torch.rand(()).item() < share
