"""Tokenization of conversations: text between special tokens is one span, and each token knows its source pieces."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.protocol.conversation import Piece

_SPACE = "▁"  # the space of SentencePiece
# Put before continued text, so that the tokenizer adds no space; no token spans a line break.
_ANCHOR = "\n"


class Token(NamedTuple):
    """A token of a conversation.  learned, scored: whether any of its source pieces is."""

    id: int
    learned: bool
    scored: bool


class _Span(NamedTuple):
    """A token and its characters, at least one."""

    id: int
    start: int
    end: int


def read_pieces(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece], special_ids: Mapping[str, int], *, stripped: bool
) -> Iterator[Token]:
    """Tokenize a conversation.

    special_ids: of the special pieces; no other text becomes one of these ids.  stripped: drop white space next to special
    tokens if the tokenizer itself begins each text with a space.  Error: InvalidSetting for a tokenizer without offsets.
    """
    reserved = _reserved(tokenizer) | set(special_ids.values())
    stripped = stripped and _begins_with_space(tokenizer)
    stretches = [(special, list(some)) for special, some in groupby(pieces, key=lambda piece: piece.special)]
    for place, (special, some) in enumerate(stretches):
        if special:
            yield from (Token(special_ids[piece.text], piece.learned, piece.scored) for piece in some)
            continue
        text, sources = "".join(piece.text for piece in some), [piece for piece in some for _ in piece.text]
        start = len(text) - len(text.lstrip()) if stripped and place > 0 else 0
        end = len(text.rstrip()) if stripped and place < len(stretches) - 1 else len(text)
        continued = place > 0 and not (stripped or _begins_with_space(tokenizer, after_special=True))
        for span in _spans(tokenizer, text[start:end], sources[start:end], reserved, continued):
            of = sources[start + span.start : start + span.end]
            yield Token(span.id, any(piece.learned for piece in of), any(piece.scored for piece in of))


def _spans(
    tokenizer: PreTrainedTokenizerBase, text: str, sources: Sequence[Piece], reserved: frozenset[int], continued: bool
) -> Iterator[_Span]:
    """Tokenize a span, character by character in literal pieces and in what the tokenizer takes for a special token."""
    cuts = [place for place in range(1, len(text)) if sources[place].literal or sources[place - 1].literal]
    for start, end in pairwise([0, *cuts, len(text)]):
        for span in _shifted(_read(tokenizer, text[start:end], continued or start > 0), start):
            if span.id not in reserved:
                yield span
                continue
            for place in range(span.start, span.end):
                yield from _shifted(_read(tokenizer, text[place], True), place)


def _shifted(spans: Iterable[_Span], by: int) -> Iterator[_Span]:
    return (_Span(span.id, span.start + by, span.end + by) for span in spans)


@lru_cache(maxsize=8192)  # nearly all questions have the same few words between regions
def _read(tokenizer: PreTrainedTokenizerBase, text: str, continued: bool) -> tuple[_Span, ...]:
    """Tokenize a text.  continued: it directly follows other text."""
    before = len(_ANCHOR) if continued and _begins_with_space(tokenizer) else 0
    options: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True}
    read = tokenizer(_ANCHOR[:before] + text, **options)
    if "offset_mapping" not in read:
        problem = f"the tokenizer {type(tokenizer).__name__} returns no character offsets"
        raise InvalidSetting(problem, do="use a fast tokenizer, with a file tokenizer.json")
    places = zip(read["input_ids"], read["offset_mapping"], strict=True)
    return tuple(_Span(id, start - before, max(end, start + 1) - before) for id, (start, end) in places if start >= before)


@lru_cache(maxsize=64)
def _reserved(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids never produced by text: special tokens except the unknown one, but not whole words added to a vocabulary."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(id for id, token in added if token.special and id != tokenizer.unk_token_id)


@lru_cache(maxsize=64)
def _begins_with_space(tokenizer: PreTrainedTokenizerBase, *, after_special: bool = False) -> bool:
    """Whether the tokenizer adds a space before a text, as SentencePiece does; some do not after a special token."""
    special = next((token.content for token in tokenizer.added_tokens_decoder.values() if token.special), "")
    text = special + "a" if after_special else "a"
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(text, add_special_tokens=False))
    return any(token.startswith(_SPACE) for token in tokens if token != special)
