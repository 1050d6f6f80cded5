"""The paper's loss on packed rows, as one module that encodes images and regions once."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import IGNORE
from roi_agent.model.train.packing import attention
from roi_agent.model.train.samples import Batch


class PackedLoss(nn.Module):
    """The sum of the loss over all answer tokens of a batch.

    The module wraps the model so that a step is one `forward`, during which FSDP has the weights gathered.
    """

    def __init__(self, model: GPT4RoIForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch | None, prompts: dict[str, Any] | None = None) -> Tensor:
        """A batch -> a scalar; or prompts, the arguments of `generate`, -> token ids (R, T + new)."""
        if batch is None:
            assert prompts is not None
            ids: Tensor = self.model.generate(**prompts)
            return ids
        targets = batch.labels[:, 1:]
        learned = targets != IGNORE
        hidden, vectors = self._hidden(batch)
        gate = self.model.region_encoder.focal_gate
        logits = self.model.get_output_embeddings()(hidden[:, :-1][learned]).float()
        loss = F.cross_entropy(logits, targets[learned], reduction="sum")
        # Without regions, or without small ones, the region encoder and the gate of its crops still get a gradient of zero:
        # processes that exchange gradients must all have the same ones.
        loss = loss + 0.0 * vectors.float().sum()
        return loss if gate is None else loss + 0.0 * gate.float().sum()

    def _hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The language model's last states (R, T, hidden) and the vectors of all regions (K, hidden)."""
        image = self.model.encode_image(batch.pixels)
        vectors = torch.cat(self.model.region_vectors(image.maps, batch.regions))
        inserted = [vectors[regions] for regions in batch.row_regions]
        embeddings = self.model.embed(batch.ids, image.tokens[batch.row_images], inserted)
        output = self.model.language_model.base_model(
            inputs_embeds=embeddings,
            attention_mask=attention(batch.segments),
            position_ids=batch.positions,
            use_cache=False,
        )
        return output.last_hidden_state, vectors
