"""Writes one answer: picks tokens, turns them into text piece by piece, and knows when to stop."""

import math

import torch
from torch import Tensor

from roi_agent.model.engine.request import Token
from roi_agent.model.errors import ModelOutputInvalid
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.gpt4roi.stopping import begun_stop, first_stop
from roi_agent.model.protocol.answers import Decoding

_UNFINISHED = "\ufffd"  # what a tokenizer shows for a character of which bytes are missing


class TokenSampler:
    """One answer while it is written.

    stream: tell the text token by token.  text, tokens, ids: so far; `ids` counts what ended it too.  finish: "stop" or "length".
    """

    def __init__(self, processor: GPT4RoIProcessor, decoding: Decoding, *, stream: bool = False) -> None:
        self._processor, self._decoding = processor, decoding
        self._ends, self._begun_markers = processor.end_ids(), processor.begun_markers()
        self._stops = (*processor.stop_strings(), *decoding.stop)
        self._live = stream or bool(self._stops)  # else the text is read once, at the end: it costs more than all the rest
        self._generator = torch.Generator().manual_seed(decoding.seed) if decoding.seed is not None else None
        self.ids: list[int] = []
        self.tokens: list[Token] = []
        self._starts: list[int] = []  # where the text of each token begins
        self.text, self._streamed, self._raw = "", 0, ""
        self._settled = self._window = 0  # tokens whose text is known, and where reading of the text after them begins
        self.finish = ""  # "stop" or "length", once it is over

    def write(self, scores: Tensor, best: int, best_score: float) -> str:
        """Take the next token, of log-probabilities (V,); gives the new piece of text that can be told.

        best, best_score: the likeliest token and its log-probability.  Error: ModelOutputInvalid.
        """
        if math.isnan(best_score):
            raise ModelOutputInvalid("the model gave NaN in place of probabilities", do="load it in float32 or bfloat16")
        token, score = best, best_score
        if self._decoding.temperature > 0:
            token = self._draw(scores)
            score = scores[token].item()
        likeliest = self._likeliest(scores)  # before anything is noted: where memory runs out, the token is written again
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
        """A token as temperature and top_p say."""
        probabilities, order = (scores.cpu() / self._decoding.temperature).softmax(-1).sort(descending=True)
        # The fewest tokens that reach top_p: those before which less than top_p has been gathered.
        kept = probabilities.cumsum(0) - probabilities < self._decoding.top_p
        drawn = torch.multinomial(probabilities * kept, 1, generator=self._generator)
        return int(order[drawn])

    def _likeliest(self, scores: Tensor) -> tuple[tuple[int, float], ...]:
        if not self._decoding.top_logprobs:
            return ()
        top = scores.topk(min(self._decoding.top_logprobs, len(scores)))
        return tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def _read(self) -> None:
        """Follow the text; a tokenizer's pieces depend on their neighbours, so the last few are read with the new one."""
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
        """End the text at a place, and the tokens with it: those of a stop string are not the answer's."""
        self._raw = self._raw[:place].rstrip()
        self.tokens = [token for token, start in zip(self.tokens, self._starts, strict=True) if start < len(self._raw)]

    def _next_piece(self) -> str:
        """What is sure to stay: not the white space at either end, nor what may become a stop."""
        text = self._raw.lstrip()
        if not self.finish:
            text = text[: len(text) - begun_stop(text, self._stops)]
        text = text.rstrip()
        piece, self._streamed, self.text = text[self._streamed :], max(self._streamed, len(text)), text
        return piece
