"""GPT4RoI in this process as a region model: one question at a time, an image's features kept for the next one."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roi_agent.model.conversation import Prompt, Turn
from roi_agent.model.domain import Domain
from roi_agent.model.errors import PromptTooLong
from roi_agent.model.images import LoadedImage
from roi_agent.model.modeling import GPT4RoIForConditionalGeneration, ImageFeatures
from roi_agent.model.processing import GPT4RoIProcessor, normalised_boxes
from roi_agent.model.protocol import Answer, Choice, Decoding, RegionModel, Timing, Usage
from roi_agent.model.regions import Region, small_box_warnings
from roi_agent.model.weights import load_model, load_part

_KEPT_IMAGES = 8
_AT_ONCE = 32  # questions about one image


class LocalRegionModel(RegionModel):
    """Answers with a GPT4RoI held in this process. Safe under threads: questions wait for one another.

    Features of the last few images are kept, under a SHA-256 of their pixels.
    """

    def __init__(self, model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, domain: Domain | None = None) -> None:
        self.model, self.processor, self._domain = model.eval(), processor, domain
        self._kept: OrderedDict[str, ImageFeatures] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def from_folder(cls, folder: str | Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> "LocalRegionModel":
        """Model, processor and domain from a folder that `save_pretrained`, `roi-agent train` or `convert` wrote.

        Raises ModelNotFound for a folder without a model, CheckpointMismatch where weights and configuration differ.
        """
        path = Path(folder)
        model = load_model(GPT4RoIForConditionalGeneration, path, dtype=dtype or "auto")
        processor = load_part(GPT4RoIProcessor, path)
        return cls(model.to(device), processor, Domain.load(path))

    def to(self, device: str) -> None:
        """Move the weights; features of images are forgotten."""
        with self._lock:
            self._kept.clear()
            self.model.to(device)

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """The answer to the last turn, given the earlier ones."""
        return self.reply_all(image, [(turns, regions)], decoding)[0]

    def reply_all(
        self, image: LoadedImage, questions: Sequence[tuple[Sequence[Turn], Sequence[Region]]], decoding: Decoding
    ) -> list[Answer]:
        """Answers to several conversations about one image, in batches; greedy answers are those of `reply`."""
        encoded = []
        for turns, regions in questions:
            prompt = self.processor.render(turns, regions)
            ids, _ = self.processor.encode(prompt)
            self._check_length(len(ids), decoding.max_new_tokens)
            encoded.append((ids, prompt))
        answers: list[Answer] = []
        for start in range(0, len(encoded), _AT_ONCE):
            begin, batch = time.perf_counter(), encoded[start : start + _AT_ONCE]
            with self._lock:
                features, image_s, cached = self._features(image)
                rows, logits = self._generate(batch, image, features, decoding)
            timing = Timing(time.perf_counter() - begin, image_s, cached)
            for row, (ids, _), (_, regions), scores in zip(rows, batch, questions[start:], logits, strict=False):
                answers.append(self._answer(row, scores, len(ids), regions, timing, self._notes(image, regions, features)))
        return answers

    def _answer(
        self,
        new: list[int],
        logits: Tensor,
        prompt_tokens: int,
        regions: Sequence[Region],
        timing: Timing,
        notes: tuple[str, ...],
    ) -> Answer:
        """new: generated ids, perhaps padded after the end marker.  logits: (T, vocabulary) that each was taken from."""
        length = self._answer_length(new)
        probabilities = logits[:length].float().log_softmax(-1).gather(1, torch.tensor(new[:length]).view(-1, 1))
        written = min(length + len(self.processor.end_ids()), len(new))
        return Answer(
            text=self.processor.decode_answer(new[:length]),
            confidence=math.exp(probabilities.mean().item()) if length else 0.0,
            regions=tuple(regions),
            usage=Usage(prompt_tokens, written),
            timing=timing,
            notes=notes,
        )

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """The option with the highest length-normalised likelihood; all options run as one batch."""
        start = time.perf_counter()
        prompts = [self.processor.render([Turn(question, option)], regions) for option in options]
        encoded = [self.processor.encode(prompt) for prompt in prompts]
        longest = max(len(ids) for ids, _ in encoded)
        self._check_length(longest, 0)
        with self._lock:
            features, image_s, cached = self._features(image)
            scores = self._likelihoods(encoded, prompts[0], image, features)
        best = max(range(len(options)), key=scores.__getitem__)
        shares = torch.tensor(scores).softmax(0)
        return Choice(
            text=options[best],
            index=best,
            confidence=shares[best].item(),
            options=tuple(options),
            scores=tuple(scores),
            regions=tuple(regions),
            usage=Usage(sum(len(ids) for ids, _ in encoded), 0),
            timing=Timing(time.perf_counter() - start, image_s, cached),
            notes=self._notes(image, regions, features),
        )

    @torch.inference_mode()
    def _features(self, image: LoadedImage) -> tuple[ImageFeatures, float, bool]:
        """The image's features, the seconds they took, and whether they were kept."""
        start, key = time.perf_counter(), image.digest()
        cached = key in self._kept
        if not cached:
            self._kept[key] = self.model.encode_image(self.processor.pixels([image.pixels]).to(self.model.device))
            if len(self._kept) > _KEPT_IMAGES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key], time.perf_counter() - start, cached

    @torch.inference_mode()
    def _generate(
        self, batch: Sequence[tuple[list[int], Prompt]], image: LoadedImage, features: ImageFeatures, decoding: Decoding
    ) -> tuple[list[list[int]], Tensor]:
        """New token ids of each row, and the logits (rows, T, vocabulary) before any sampling option."""
        sampling: dict[str, Any] = {"do_sample": False}
        if decoding.temperature > 0:
            sampling = {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        ends = self.processor.end_ids()
        stop = (
            {"eos_token_id": ends}
            if len(ends) == 1
            else {"stop_strings": [self.processor.template.end], "tokenizer": self.processor.tokenizer}
        )
        pad_id, longest = self.processor.tokenizer.pad_token_id, max(len(ids) for ids, _ in batch)
        rows = torch.tensor([[pad_id] * (longest - len(ids)) + ids for ids, _ in batch], device=self.model.device)
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in batch], device=self.model.device)
        boxes = [normalised_boxes(prompt.regions, image.size_wh) for _, prompt in batch]
        (vectors,) = self.model.region_encoder.pool(features.maps, [torch.cat(boxes)])
        with torch.random.fork_rng(enabled=decoding.seed is not None):
            if decoding.seed is not None:
                torch.manual_seed(decoding.seed)
            output = self.model.generate(
                input_ids=rows,
                attention_mask=mask,
                image_features=ImageFeatures(features.tokens.expand(len(batch), -1, -1), features.maps),
                region_vectors=list(vectors.split([len(each) for each in boxes])),
                max_new_tokens=decoding.max_new_tokens,
                pad_token_id=pad_id,
                return_dict_in_generate=True,
                output_logits=True,
                **sampling,
                **stop,
            )
        return output.sequences[:, longest:].tolist(), torch.stack(output.logits, 1).cpu()

    @torch.inference_mode()
    def _likelihoods(
        self, encoded: list[tuple[list[int], list[int]]], prompt: Prompt, image: LoadedImage, features: ImageFeatures
    ) -> list[float]:
        """Mean log-probability of the learned tokens of each row."""
        longest, rows = max(len(ids) for ids, _ in encoded), len(encoded)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in encoded], device=self.model.device)
        labels = torch.tensor([row + [-100] * (longest - len(row)) for _, row in encoded], device=self.model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in encoded], device=self.model.device)
        (vectors,) = self.model.region_encoder.pool(features.maps, [normalised_boxes(prompt.regions, image.size_wh)])
        shared = ImageFeatures(features.tokens.expand(rows, -1, -1), features.maps)
        logits = self.model(input_ids=ids, attention_mask=mask, image_features=shared, region_vectors=[vectors] * rows).logits[
            :, :-1
        ]
        learned = labels[:, 1:] != -100
        chosen = logits.float().log_softmax(-1).gather(2, labels[:, 1:].clamp(min=0)[..., None])[..., 0]
        means: list[float] = ((chosen * learned).sum(1) / learned.sum(1)).tolist()
        return means

    def _answer_length(self, new: list[int]) -> int:
        """The number of generated tokens before the end marker."""
        ends = self.processor.end_ids()
        if len(ends) == 1:
            return new.index(ends[0]) if ends[0] in new else len(new)
        end, decode = self.processor.template.end, self.processor.tokenizer.decode
        return next((length for length in range(len(new)) if end in decode(new[: length + 1])), len(new))

    def _check_length(self, prompt_tokens: int, new_tokens: int) -> None:
        limit = self.model.config.text_config.max_position_embeddings
        if prompt_tokens + new_tokens > limit:
            raise PromptTooLong(
                f"the prompt has {prompt_tokens} tokens and the answer may have {new_tokens}; the model reads {limit}",
                do="ask a shorter question, start a new conversation, or lower max_new_tokens",
            )

    def _notes(self, image: LoadedImage, regions: Sequence[Region], features: ImageFeatures) -> tuple[str, ...]:
        config = self.model.config
        notes = [*image.notes]
        notes += small_box_warnings(regions, size_wh=image.size_wh, grid_wh=(config.grid_side, config.grid_side))
        if self._domain is not None and not self._domain.contains(features.maps):
            notes.append(replace(self._domain, known=config.domain).note("the answer"))
        return tuple(notes)
