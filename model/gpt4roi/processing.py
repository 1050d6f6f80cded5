"""Image, text and regions in; the tensors that GPT4RoI reads out."""

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
    two_step_resize: resize as the published demo did (shorter side bicubic, then the tensor bilinear to the square),
        for its exact numbers; its training sets were resized directly, which is the default.
    mask_bins: side of the grid on which masks are told to a model with mask_pooling, its roi_size; 0 ignores masks.
    focal_crop: also give the crops that a model with focal_crop reads.
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
        order in which the text carries them; with masks or focal crops, for a model that reads them, [RegionInputs] in place of
        the plain boxes.  Raises the coded errors of images, boxes and conversations.
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
        """The conversation in the words of this model's template."""
        return self._own_template().render(turns, regions, num_image_tokens=self.num_image_tokens)

    def encode(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """Token ids (T) and labels (T): the id where the answers' loss is taken, IGNORE elsewhere."""
        tokens = self._tokens(prompt)
        return [token.id for token in tokens], [token.id if token.learned else IGNORE for token in tokens]

    def encode_option(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """As `encode`, with labels on the last answer's own tokens alone, and on a special token that ends it."""
        tokens = self._tokens(prompt)
        return [token.id for token in tokens], [token.id if token.scored else IGNORE for token in tokens]

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB images -> (B, 3, S, S), resized without keeping the aspect ratio, and normalised."""
        if not self.two_step_resize:
            return torch.as_tensor(self.image_processor(list(images), return_tensors="pt")["pixel_values"])
        return torch.cat([self._two_step(image) for image in images])

    def region_inputs(self, regions: Sequence[Region], image: LoadedImage) -> RegionInputs:
        """Boxes, masks and crops of regions in the image, as the model reads them."""
        masked = self.mask_bins and any(region.mask is not None for region in regions)
        return RegionInputs(
            normalised_boxes(regions, image.size_wh),
            mask_coverage(regions, self.mask_bins) if masked else None,
            focal_crops(image.pixels, regions, self.pixels) if self.focal_crop else None,
        )

    def decode_answer(self, ids: Sequence[int]) -> str:
        """Generated ids -> the answer without end marker and white space."""
        ends = self.end_ids()
        own = list(takewhile(lambda token: token not in ends, ids))
        text = self._decode(own)
        place = first_stop(text, self.stop_strings())
        if place is None and len(own) == len(ids):  # cut at a length, perhaps inside the marker
            place = len(text) - begun_stop(text, self.begun_markers())
        return text[:place].strip()

    def end_ids(self) -> list[int]:
        """Tokens that end an answer: the template's, if its end marker is one, and the tokenizer's own."""
        template, own = self._own_template(), self.tokenizer.eos_token_id
        token = template.ending()[1]
        ends = [_special_ids(self.tokenizer, template)[token]] if token else []
        return ends if own is None or own in ends else [*ends, own]

    def stop_strings(self) -> tuple[str, ...]:
        """The text before which an answer ends, where the end marker is not a special token alone."""
        text, _ = self._own_template().ending()
        return (text,) if text else ()

    def begun_markers(self) -> tuple[str, ...]:
        """What an answer may end in the middle of where it is cut at a length: the end marker, with the empty lines before it."""
        before = self.template.answer.split("{answer}")[1]
        return tuple(text for marker in self.stop_strings() for text in (marker, *([] if before.strip() else [before + marker])))

    def stopping(self, prompt_length: int) -> dict[str, Any]:
        """Options for the model's `generate` that end each answer at its end marker.

        prompt_length: tokens of a row of the prompts, padding included.
        """
        ends: dict[str, Any] = {"eos_token_id": self.end_ids() or None}
        if stops := self.stop_strings():
            ends["stopping_criteria"] = StoppingCriteriaList([StopStrings(self._decode, stops, prompt_length)])
        return ends

    def _own_template(self) -> ConversationTemplate:
        """The template, in which the tokenizer's special tokens are special however they are written."""
        return _with_tokens(self.template, self.tokenizer)

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _tokens(self, prompt: Prompt) -> list[Token]:
        special_ids = _special_ids(self.tokenizer, self._own_template())
        stripped = self.template.white_space == "stripped"
        tokens = list(read_pieces(self.tokenizer, prompt.pieces, special_ids, stripped=stripped))
        start = self.tokenizer.bos_token_id
        begun = start is None or (tokens and tokens[0].id == start)  # a template may write it itself
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
    """The ids of a template's special tokens.  Error: CheckpointMismatch where the tokenizer lacks one."""
    vocabulary, wanted = tokenizer.get_vocab(), template.special_tokens()
    if missing := [token for token in wanted if token not in vocabulary]:
        raise CheckpointMismatch(
            f"the conversation template holds {', '.join(missing)}, which the tokenizer does not have",
            do="use the tokenizer of the checkpoint, or the template that the model was trained on",
        )
    return {token: vocabulary[token] for token in wanted}


def normalised_boxes(regions: Sequence[Region], size_wh: tuple[int, int]) -> Tensor:
    """The boxes of regions as (N, 4) float32, xyxy in [0, 1]; divided in float64, clamped after the cast."""
    rows = [region.box.normalised(size_wh) for region in regions]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4).float().clamp(0, 1)


def new_processor(config: GPT4RoIConfig, tokenizer: PreTrainedTokenizerBase) -> GPT4RoIProcessor:
    """The processor that fits a configuration; the tokenizer must hold the architecture's tokens under its ids.

    Raises CheckpointMismatch where a token has another id than the configuration says.
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
    """Make the architecture's tokens special, added where they are missing; training, conversion and serving all call this.

    tokens: fewer than all of them where a checkpoint's embedding has no row for one.
    Returns the id of each.  Raises InvalidSetting if the tokenizer has no id for one afterwards.
    """
    # A token that is known but not special would still be read out of what users type: old checkpoints have such.
    plain = [token for token in tokens if token not in tokenizer.all_special_tokens]
    if plain:
        tokenizer.add_special_tokens({"extra_special_tokens": plain}, replace_extra_special_tokens=False)
    vocabulary = tokenizer.get_vocab()
    refused = [token for token in tokens if token not in vocabulary]
    if refused:
        raise InvalidSetting(f"the tokenizer refuses {', '.join(refused)}")
    return {token: vocabulary[token] for token in tokens}


AutoProcessor.register(GPT4RoIConfig, GPT4RoIProcessor, exist_ok=True)
