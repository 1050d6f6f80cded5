"""The sampler of one answer: samples tokens, detokenizes them incrementally, and detects the end."""

import math

import torch
from torch import Tensor

from roi_agent.model.engine.request import Token
from roi_agent.model.errors import ModelOutputInvalid
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.gpt4roi.stopping import begun_stop, first_stop
from roi_agent.model.protocol.answers import Decoding

_UNFINISHED = "\ufffd"  # how a tokenizer shows an incomplete character


class TokenSampler:
    """An answer in progress.

    stream: return text token by token.  text, tokens, ids: so far; `ids` includes the end token.  finish: "stop" or "length".
    """

    def __init__(self, processor: GPT4RoIProcessor, decoding: Decoding, *, stream: bool = False) -> None:
        self._processor, self._decoding = processor, decoding
        self._ends, self._begun_markers = processor.end_ids(), processor.begun_markers()
        self._stops = (*processor.stop_strings(), *decoding.stop)
        self._live = stream or bool(self._stops)  # otherwise detokenized once, at the end: it dominates the cost
        self._generator = torch.Generator().manual_seed(decoding.seed) if decoding.seed is not None else None
        self.ids: list[int] = []
        self.tokens: list[Token] = []
        self._starts: list[int] = []  # start of each token's text
        self.text, self._streamed, self._raw = "", 0, ""
        self._settled = self._window = 0  # tokens with known text, and start of the window that is decoded with the next one
        self.finish = ""  # "stop" or "length" once finished

    def write(self, scores: Tensor, best: int, best_score: float) -> str:
        """Sample the next token from log-probabilities (V,); returns the new text that is final.

        best, best_score: the most likely token and its log-probability.  Error: ModelOutputInvalid.
        """
        if math.isnan(best_score):
            raise ModelOutputInvalid("the model returned NaN instead of probabilities", do="load it in float32 or bfloat16")
        token, score = best, best_score
        if self._decoding.temperature > 0:
            token = self._draw(scores)
            score = scores[token].item()
        likeliest = self._likeliest(scores)  # before any state changes: after running out of memory, the token is sampled again
        self.ids.append(token)
        if token in self._ends:
            self.finish = "stop"
        else:
            self.tokens.append(Token(token, score, likeliest))
            if self._live:
                self._read()
        if not self.finish and len(self.ids) >= self._decoding.max_new_tokens:
            self.finish = "length"
        if self.finish and self._settled < len(self.tokens):
            self._read()
        if self.finish == "length" and (begun := begun_stop(self._raw, self._begun_markers)):
            self._cut(len(self._raw) - begun)
        return self._next_piece() if self._live or self.finish else ""

    def _draw(self, scores: Tensor) -> int:
        """Sample by temperature and top_p."""
        probabilities, order = (scores.cpu() / self._decoding.temperature).softmax(-1).sort(descending=True)
        # The smallest set that reaches top_p: tokens whose predecessors sum to less than top_p.
        kept = probabilities.cumsum(0) - probabilities < self._decoding.top_p
        drawn = torch.multinomial(probabilities * kept, 1, generator=self._generator)
        return int(order[drawn])

    def _likeliest(self, scores: Tensor) -> tuple[tuple[int, float], ...]:
        if not self._decoding.top_logprobs:
            return ()
        top = scores.topk(min(self._decoding.top_logprobs, len(scores)))
        return tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def _read(self) -> None:
        """Detokenize incrementally: pieces depend on their neighbours, so the last few are decoded with the new one."""
        decode = self._processor.tokenizer.decode
        ids = [token.id for token in self.tokens]
        before = decode(ids[self._window : self._settled], skip_special_tokens=True)
        after = decode(ids[self._window :], skip_special_tokens=True)
        if after.endswith(_UNFINISHED) and not self.finish:
            return
        self._starts += [len(self._raw)] * (len(ids) - len(self._starts))
        self._raw += after[len(before) :]
        self._window, self._settled = self._settled, len(ids)
        place = first_stop(self._raw, self._stops)
        if place is not None:
            self.finish = "stop"
            self._cut(place)

    def _cut(self, place: int) -> None:
        """Truncate text and tokens at a position: a stop string is not part of the answer."""
        self._raw = self._raw[:place].rstrip()
        self.tokens = [token for token, start in zip(self.tokens, self._starts, strict=True) if start < len(self._raw)]

    def _next_piece(self) -> str:
        """New text that is final: no outer white space, and nothing that may become a stop string."""
        text = self._raw.lstrip()
        if not self.finish:
            text = text[: len(text) - begun_stop(text, self._stops)]
        text = text.rstrip()
        piece, self._streamed, self.text = text[self._streamed :], max(self._streamed, len(text)), text
        return piece
