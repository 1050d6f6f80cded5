"""The loss of Grounding DINO: phrases and boxes, at every cell of its encoder and every query of its decoder.

The library's own loss gives no gradient to the encoder's heads, which suits fine-tuning but not training from scratch. Here every
cell near the centre of a thing is supervised with its phrase and box, as in FCOS, so the encoder quickly learns to select queries
and the decoder gets useful ones early.
"""

from typing import Any

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou, generalized_box_iou_loss

from roi_agent.model.toy.samples.phrases import PromptedBatch
from roi_agent.model.train.task import Metrics

_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss
_L1, _GIOU = 5.0, 2.0  # weights of the two box losses relative to the token loss, in the loss and in matching
_MIDDLE = 0.25  # of a thing's sides around its centre: cells there are assigned to it
_COARSE = 0.3  # of the image's side: things with at least this longer side are assigned to the coarser maps


def detection_loss(model: Any, batch: PromptedBatch) -> tuple[Tensor, Metrics]:
    """The loss of a `GroundingDinoForObjectDetection`, and metrics for the log."""
    output = model(pixel_values=batch.pixels, input_ids=batch.ids, attention_mask=batch.mask)
    mask = batch.mask.bool()
    length = batch.ids.shape[1]
    boxes = output.enc_outputs_coord_logits.sigmoid()
    cells = dense_targets(batch, cell_centres(boxes.shape[1], num_maps=model.config.num_feature_levels).to(boxes.device))
    loss = set_loss(output.enc_outputs_class[..., :length], boxes, mask, batch, cells)
    for logits, boxes in decoder_outputs(model, output, batch):
        matches = matched(logits[..., :length], boxes, mask, batch)
        loss = loss + set_loss(logits[..., :length], boxes, mask, batch, matches)
    return loss, _metrics(logits[..., :length], boxes, batch, matches, output, cells)


def decoder_outputs(model: Any, output: Any, batch: PromptedBatch) -> list[tuple[Tensor, Tensor]]:
    """Logits (B, Q, T') and boxes (B, Q, 4) cxcywh of every decoder layer; the library returns only the last ones."""
    found = []
    reference = output.init_reference_points
    for layer in range(model.config.decoder_layers - 1):
        hidden = output.intermediate_hidden_states[:, layer]
        text = output.encoder_last_hidden_state_text
        logits = model.class_embed[layer](hidden, text, batch.mask.bool())
        moved = model.bbox_embed[layer](hidden) + torch.special.logit(reference, eps=1e-5)
        found.append((logits, moved.sigmoid()))
        reference = output.intermediate_reference_points[:, layer]
    return [*found, (output.logits, output.pred_boxes)]


def cell_centres(num_cells: int, *, num_maps: int) -> Tensor:
    """Centres of the cells of square maps, each of half the side of the one before: (cells, 3) as x, y in [0, 1] and the map."""
    finest = round((num_cells / sum(0.25**each for each in range(num_maps))) ** 0.5)
    centres = []
    for each in range(num_maps):
        side = finest >> each
        steps = (torch.arange(side) + 0.5) / side
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        centres.append(torch.stack([x.flatten(), y.flatten(), torch.full((side * side,), float(each))], 1))
    joined = torch.cat(centres)
    assert len(joined) == num_cells, "the maps are not square, or do not halve"
    return joined


Places = list[tuple[Tensor, Tensor]]  # for each image: indices of cells or queries, and of their boxes


def dense_targets(batch: PromptedBatch, centres: Tensor) -> Places:
    """For every image, the cells (M) near the centre of a box, and that box (M); at least the nearest cell of its map.

    A cell near two centres is assigned to the nearer one, measured in units of the box.
    """
    coarsest = centres[:, 2].max()
    found: Places = []
    for boxes in batch.boxes:
        if not len(boxes):
            none = torch.zeros(0, dtype=torch.long, device=centres.device)
            found.append((none, none))
            continue
        wanted_map = (boxes[:, 2:].amax(1) >= _COARSE) * coarsest
        distance = ((centres[:, None, :2] - boxes[None, :, :2]).abs() / boxes[None, :, 2:]).amax(2)  # (cells, K)
        distance = distance.masked_fill(centres[:, 2:] != wanted_map[None], torch.inf)
        nearest = distance == distance.amin(0, keepdim=True)
        distance = distance.masked_fill((distance > _MIDDLE) & ~nearest, torch.inf)
        best, box = distance.min(1)
        cells = best.isfinite().nonzero()[:, 0]
        found.append((cells, box[cells]))
    return found


@torch.no_grad()
def matched(logits: Tensor, boxes: Tensor, mask: Tensor, batch: PromptedBatch) -> Places:
    """Hungarian matching of queries to boxes: queries (K_i) and boxes (K_i) for every image."""
    found: Places = []
    for image, (truth, tokens) in enumerate(zip(batch.boxes, batch.tokens, strict=True)):
        seen = logits[image][:, mask[image]].float()
        weights = tokens[:, mask[image]].float()
        gain = _focal(seen, torch.zeros_like(seen)) - _focal(seen, torch.ones_like(seen))
        cost = -(gain @ (weights / weights.sum(1, keepdim=True)).T)
        cost = cost + _L1 * torch.cdist(boxes[image].float(), truth, p=1)
        cost = cost - _GIOU * generalized_box_iou(_corners(boxes[image].float()), _corners(truth))
        queries, things = linear_sum_assignment(cost.cpu().numpy())
        found.append((torch.from_numpy(queries).to(boxes.device), torch.from_numpy(things).to(boxes.device)))
    return found


def set_loss(logits: Tensor, boxes: Tensor, mask: Tensor, batch: PromptedBatch, places: Places) -> Tensor:
    """Focal loss of every token at every place, plus L1 and GIoU of the boxes at assigned places, per assigned place.

    logits: (B, N, T).  boxes: (B, N, 4) cxcywh.  mask: (B, T) bool.
    """
    truth = torch.zeros_like(logits, dtype=torch.float32)
    predicted, wanted = [], []
    for image, (where, box) in enumerate(places):
        truth[image, where] = batch.tokens[image][box].float()
        predicted.append(boxes[image, where])
        wanted.append(batch.boxes[image][box])
    number = max(1, sum(len(where) for where, _ in places))
    real = mask[:, None].expand_as(logits)
    loss: Tensor = _focal(logits[real].float(), truth[real]).sum()
    found, right = torch.cat(predicted).float(), torch.cat(wanted)
    loss = loss + _L1 * (found - right).abs().sum()
    loss = loss + _GIOU * generalized_box_iou_loss(_corners(found), _corners(right), reduction="sum")
    return loss / number


def _focal(logits: Tensor, truth: Tensor) -> Tensor:
    """The focal loss of each element."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = torch.where(truth > 0.5, 1 - logits.sigmoid(), logits.sigmoid())
    weight = torch.where(truth > 0.5, _ALPHA, 1 - _ALPHA)
    loss: Tensor = weight * wrong**_GAMMA * entropy
    return loss


def _corners(boxes: Tensor) -> Tensor:
    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners


@torch.no_grad()
def _metrics(logits: Tensor, boxes: Tensor, batch: PromptedBatch, matches: Places, output: Any, cells: Places) -> Metrics:
    """Metrics for the log.  tokens: share of the matched queries' tokens above one half.  box: share of these with an IoU of 0.5.

    cell: share of the assigned cells' tokens above one half.  false: unmatched queries per image with any token above one half.
    """
    length = logits.shape[2]
    encoder = output.enc_outputs_class[..., :length]
    own, ious, cell, others = [], [], [], []
    for image, (where, box) in enumerate(matches):
        tokens = batch.tokens[image]
        own.append((logits[image, where] > 0)[tokens[box]])
        cell.append((encoder[image, cells[image][0]] > 0)[tokens[cells[image][1]]])
        ious.append(box_iou(_corners(boxes[image, where]), _corners(batch.boxes[image][box])).diagonal() >= 0.5)
        free = torch.ones(len(logits[image]), dtype=torch.bool, device=logits.device)
        free[where] = False
        others.append((logits[image, free].amax(1) > 0).float().sum()[None])
    return {
        name: float(torch.cat(values).float().mean()) if any(map(len, values)) else 0.0
        for name, values in (("tokens", own), ("box", ious), ("cell", cell), ("false", others))
    }
