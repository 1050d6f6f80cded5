"""The processor: image, text and regions in, the input tensors of GPT4RoI out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import (
    AutoProcessor,
    BatchFeature,
    CLIPImageProcessor,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    StoppingCriteriaList,
)

from roi_agent.model.errors import CheckpointMismatch, InvalidSetting
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.coverage import mask_coverage
from roi_agent.model.gpt4roi.focal import focal_crops
from roi_agent.model.gpt4roi.region_inputs import RegionInputs
from roi_agent.model.gpt4roi.stopping import StopStrings, begun_stop, first_stop
from roi_agent.model.gpt4roi.tokens import Token, read_pieces
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.protocol.conversation import ConversationTemplate, Prompt, Turn

# Every token of the architecture, in the order of the published vocabulary (after the 32,000 of LLaMA).
SPECIAL_TOKENS = ("[PAD]", "<im_patch>", "<bbox>", "<point>", "<im_start>", "<im_end>")
IGNORE = -100  # the label of a token that carries no loss


class GPT4RoIProcessor(ProcessorMixin):
    """An image processor, a tokenizer and a conversation template.

    prompt: name of the template in `prompts/conversations/`.  num_image_tokens: image tokens of one image.
    two_step_resize: resize like the published demo (shorter side bicubic, then the tensor bilinear to the square), to
        reproduce its numbers. The default resizes directly, as in the published training.
    mask_bins: side of the coverage grid for a model with mask_pooling, its roi_size; 0 ignores masks.
    focal_crop: add the crops for a model with focal_crop.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt: str = "published",
        num_image_tokens: int = 256,
        two_step_resize: bool = False,
        mask_bins: int = 0,
        focal_crop: bool = False,
        chat_template: str | None = None,
    ) -> None:
        self.prompt, self.num_image_tokens, self.two_step_resize = prompt, num_image_tokens, two_step_resize
        self.mask_bins, self.focal_crop = mask_bins, focal_crop
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.template = ConversationTemplate.load(prompt)

    def __call__(
        self,
        images: Any,
        text: str | Sequence[str] | Sequence[Turn],
        regions: Sequence[Any] = (),
        *,
        format: str = "xyxy",
        unit: str = "pixel",
    ) -> BatchFeature:
        """One image, one conversation about it, and its regions -> a batch of one.

        images: anything that `load_image` reads.  text: a question with `<regionN>`, or turns.
        regions: boxes, regions or four numbers each, in the named format and unit.
        Returns input_ids and attention_mask (1, T), pixel_values (1, 3, S, S), boxes [(N, 4)] normalised xyxy in the
        order of the region tokens; [RegionInputs] in their place for a model that reads masks or focal crops, where there are
        any.  Raises the coded errors of images, boxes and conversations.
        """
        image = load_image(images)
        known = parse_regions(regions, size_wh=image.size_wh, format=format, unit=unit)
        turns = [Turn(text)] if isinstance(text, str) else [each if isinstance(each, Turn) else Turn(each) for each in text]
        prompt = self.render(turns, known)
        ids, _ = self.encode(prompt)
        input_ids, pointed = torch.tensor([ids]), self.region_inputs(prompt.regions, image)
        plain = pointed.coverage is None and pointed.crops is None
        return BatchFeature(
            {
                "input_ids": input_ids,
                "attention_mask": torch.ones_like(input_ids),
                "pixel_values": self.pixels([image.pixels]),
                "boxes": [pointed.boxes if plain else pointed],
            }
        )

    def render(self, turns: Sequence[Turn], regions: Sequence[Region]) -> Prompt:
        """Render the conversation in the template of this model."""
        return self._own_template().render(turns, regions, num_image_tokens=self.num_image_tokens)

    def encode(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """Token ids (T) and labels (T): the id of each answer token, IGNORE elsewhere."""
        tokens = self._tokens(prompt)
        return [token.id for token in tokens], [token.id if token.learned else IGNORE for token in tokens]

    def encode_option(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """As `encode`, with labels only on the last answer and on the special token that ends it."""
        tokens = self._tokens(prompt)
        return [token.id for token in tokens], [token.id if token.scored else IGNORE for token in tokens]

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB images -> (B, 3, S, S), resized to a square and normalised."""
        if not self.two_step_resize:
            return torch.as_tensor(self.image_processor(list(images), return_tensors="pt")["pixel_values"])
        return torch.cat([self._two_step(image) for image in images])

    def region_inputs(self, regions: Sequence[Region], image: LoadedImage) -> RegionInputs:
        """Boxes, mask coverage and crops of the regions of an image."""
        masked = self.mask_bins and any(region.mask is not None for region in regions)
        return RegionInputs(
            normalised_boxes(regions, image.size_wh),
            mask_coverage(regions, self.mask_bins) if masked else None,
            focal_crops(image.pixels, regions, self.pixels) if self.focal_crop else None,
        )

    def decode_answer(self, ids: Sequence[int]) -> str:
        """Generated ids -> the answer, without end marker and outer white space."""
        ends = self.end_ids()
        own = list(takewhile(lambda token: token not in ends, ids))
        text = self._decode(own)
        place = first_stop(text, self.stop_strings())
        if place is None and len(own) == len(ids):  # truncated, perhaps inside the marker
            place = len(text) - begun_stop(text, self.begun_markers())
        return text[:place].strip()

    def end_ids(self) -> list[int]:
        """Tokens that end an answer: the template's end marker, if it is a token, and the tokenizer's EOS."""
        template, own = self._own_template(), self.tokenizer.eos_token_id
        token = template.ending()[1]
        ends = [_special_ids(self.tokenizer, template)[token]] if token else []
        return ends if own is None or own in ends else [*ends, own]

    def stop_strings(self) -> tuple[str, ...]:
        """The end marker as text, unless it is a single special token."""
        text, _ = self._own_template().ending()
        return (text,) if text else ()

    def begun_markers(self) -> tuple[str, ...]:
        """Texts inside which a truncated answer may end: the end marker, with and without the empty lines before it."""
        before = self.template.answer.split("{answer}")[1]
        return tuple(text for marker in self.stop_strings() for text in (marker, *([] if before.strip() else [before + marker])))

    def stopping(self, prompt_length: int) -> dict[str, Any]:
        """Options of the model's `generate` that stop each answer at its end marker.

        prompt_length: tokens of a prompt row, padding included.
        """
        ends: dict[str, Any] = {"eos_token_id": self.end_ids() or None}
        if stops := self.stop_strings():
            ends["stopping_criteria"] = StoppingCriteriaList([StopStrings(self._decode, stops, prompt_length)])
        return ends

    def _own_template(self) -> ConversationTemplate:
        """The template, with all special tokens of the tokenizer."""
        return _with_tokens(self.template, self.tokenizer)

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _tokens(self, prompt: Prompt) -> list[Token]:
        special_ids = _special_ids(self.tokenizer, self._own_template())
        stripped = self.template.white_space == "stripped"
        tokens = list(read_pieces(self.tokenizer, prompt.pieces, special_ids, stripped=stripped))
        start = self.tokenizer.bos_token_id
        begun = start is None or (tokens and tokens[0].id == start)  # a template may contain it
        return tokens if begun else [Token(start, learned=False, scored=False), *tokens]

    def _two_step(self, image: Image.Image) -> Tensor:
        """Shorter side to S (bicubic), normalise, then the tensor to S x S (bilinear)."""
        side = self.image_processor.size["height"]
        scale = side / min(image.size)
        size = {"height": round(image.height * scale), "width": round(image.width * scale)}
        tensor = self.image_processor([image], size=size, resample=Image.Resampling.BICUBIC, return_tensors="pt")["pixel_values"]
        return F.interpolate(torch.as_tensor(tensor), (side, side), mode="bilinear", align_corners=False)


@lru_cache(maxsize=64)
def _with_tokens(template: ConversationTemplate, tokenizer: PreTrainedTokenizerBase) -> ConversationTemplate:
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return replace(template, more_tokens=tuple(special))


@lru_cache(maxsize=64)
def _special_ids(tokenizer: PreTrainedTokenizerBase, template: ConversationTemplate) -> dict[str, int]:
    """The ids of a template's special tokens.  Error: CheckpointMismatch if the tokenizer lacks one."""
    vocabulary, wanted = tokenizer.get_vocab(), template.special_tokens()
    if missing := [token for token in wanted if token not in vocabulary]:
        raise CheckpointMismatch(
            f"the conversation template contains {', '.join(missing)}, which the tokenizer does not have",
            do="use the tokenizer of the checkpoint, or the template that the model was trained on",
        )
    return {token: vocabulary[token] for token in wanted}


def normalised_boxes(regions: Sequence[Region], size_wh: tuple[int, int]) -> Tensor:
    """Boxes of regions, (N, 4) float32, xyxy in [0, 1]; divided in float64, clamped after the cast."""
    rows = [region.box.normalised(size_wh) for region in regions]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4).float().clamp(0, 1)


def new_processor(config: GPT4RoIConfig, tokenizer: PreTrainedTokenizerBase) -> GPT4RoIProcessor:
    """The processor of a configuration; the tokenizer must contain the architecture's tokens under the same ids.

    Raises CheckpointMismatch for a token whose id differs.
    """
    wanted = {
        "<im_patch>": config.image_token_id,
        "<bbox>": config.region_token_id,
        "<im_start>": config.image_start_token_id,
        "<im_end>": config.image_end_token_id,
    }
    for token, token_id in wanted.items():
        found = tokenizer.convert_tokens_to_ids(token)
        if found != token_id:
            raise CheckpointMismatch(f"{token} has id {found} in the tokenizer and {token_id} in the configuration")
    side = config.image_size
    image_processor = CLIPImageProcessor(
        size={"height": side, "width": side}, do_center_crop=False, resample=Image.Resampling.BILINEAR
    )
    return GPT4RoIProcessor(
        image_processor,
        tokenizer,
        prompt=config.prompt,
        num_image_tokens=config.num_image_tokens,
        mask_bins=config.mask_bins,
        focal_crop=config.focal_crop,
    )


def register_special_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str] = SPECIAL_TOKENS) -> dict[str, int]:
    """Register the architecture's special tokens, adding missing ones; training, conversion and serving all call this.

    tokens: a subset if a checkpoint's embedding lacks a row.
    Returns their ids.  Raises InvalidSetting if the tokenizer refuses one.
    """
    # Old checkpoints have such tokens without marking them special: they would be read from the text of users.
    plain = [token for token in tokens if token not in tokenizer.all_special_tokens]
    if plain:
        tokenizer.add_special_tokens({"extra_special_tokens": plain}, replace_extra_special_tokens=False)
    vocabulary = tokenizer.get_vocab()
    refused = [token for token in tokens if token not in vocabulary]
    if refused:
        raise InvalidSetting(f"the tokenizer refuses {', '.join(refused)}")
    return {token: vocabulary[token] for token in tokens}


AutoProcessor.register(GPT4RoIConfig, GPT4RoIProcessor, exist_ok=True)
