"""Conversations about regions: turns, the first-mention rule, and the prompt of a model.

Users write `<region1>`. The first mention in a conversation becomes the region's features, later ones its name.
User text is data: it never becomes a special token or a turn marker.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

from roi_agent.model.errors import InvalidSetting, ModelNotFound, UnknownRegion
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.unicode_text import check_unicode
from roi_agent.prompts import load_blocks, names

_MENTION = re.compile(r"<(region[1-9][0-9]*)>")


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with `<regionN>` mentions, and its answer, if any.  Error: InvalidSetting."""

    question: str
    answer: str | None = None

    def __post_init__(self) -> None:
        for text in (self.question, self.answer):
            if isinstance(text, str):
                check_unicode(text, "a turn of the conversation")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the prompt.

    literal: the text is tokenised character by character, so that a turn marker typed by a user does not act as one.
    special: the text is one special token.  learned: part of an answer, to which the loss applies.
    scored: part of the last answer or the special token that ends it, by which options are compared.
    """

    text: str
    literal: bool = False
    special: bool = False
    learned: bool = False
    scored: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation as a model reads it, and the regions whose features it contains, in order."""

    pieces: tuple[Piece, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class ConversationTemplate:
    """The blocks of one prompt format; see the files in `prompts/conversations/`.

    white_space: "kept", or "stripped" next to special tokens, for tokenizers that start each text with a space.
    more_tokens: special tokens of the tokenizer that do not look like `<...>`; set by `GPT4RoIProcessor`.
    Error: InvalidSetting for any other white_space.
    """

    opening: str
    first_question: str
    next_question: str
    answer: str
    end: str
    first_mention: str
    later_mention: str
    introduction: str
    white_space: str = "kept"
    more_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.white_space not in ("kept", "stripped"):
            raise InvalidSetting(f"the template's white_space is {self.white_space!r}", do="write kept or stripped")

    @classmethod
    def load(cls, name: str) -> "ConversationTemplate":
        """Load the template of that name.  Error: ModelNotFound, which lists the existing names."""
        known = names("conversations")
        if name not in known:
            raise ModelNotFound(f"no conversation template is called {name!r}", do=f"choose one of {', '.join(known)}")
        blocks: dict[str, Any] = {**load_blocks(f"conversations/{name}")}
        return cls(**blocks)

    def render(self, turns: Sequence[Turn], regions: Sequence[Region], *, num_image_tokens: int) -> Prompt:
        """Render a conversation, ready for the answer if the last turn has none.

        Regions that are given but not mentioned are introduced before the first question.
        Error: UnknownRegion for a mention without a region.
        """
        by_name = {region.name: region for region in regions}
        introduced: list[Region] = []
        pieces = list(self.template_pieces(self.opening.replace("{image}", "<im_patch>" * num_image_tokens)))
        for index, turn in enumerate(turns):
            block = self.next_question if index else self.first_question
            before, after = block.split("{question}")
            pieces += self.template_pieces(before)
            if index == 0:
                pieces += self._introduce(_unmentioned(turns[0].question, regions), introduced)
            pieces += self._question(turn.question, by_name, introduced)
            pieces += self.template_pieces(after)
            if turn.answer is not None:
                pieces += self._answer(turn.answer, last=index == len(turns) - 1)
        return Prompt(tuple(_merged(pieces)), tuple(introduced))

    def _introduce(self, regions: Sequence[Region], introduced: list[Region]) -> Iterator[Piece]:
        if not regions:
            return
        introduced += regions
        mentions = ", ".join(self.first_mention.format(name=region.name) for region in regions)
        yield from self.template_pieces(self.introduction.format(mentions=mentions))

    def _question(self, text: str, by_name: dict[str, Region], introduced: list[Region]) -> Iterator[Piece]:
        position = 0
        for match in _MENTION.finditer(text):
            yield from self._user_pieces(text[position : match.start()])
            region = by_name.get(match[1])
            if region is None:
                raise UnknownRegion(f"the question names {match[0]}", do=f"there {_listing(list(by_name))}")
            form = self.later_mention if region in introduced else self.first_mention
            if region not in introduced:
                introduced.append(region)
            yield from self.template_pieces(form.format(name=region.name))
            position = match.end()
        yield from self._user_pieces(text[position:])

    def _answer(self, text: str, *, last: bool) -> Iterator[Piece]:
        before, after = self.answer.split("{answer}")
        plain, end = _MENTION.sub(r"\1", text), self.ending()[1]
        for piece in [
            *self.template_pieces(before),
            *self._user_pieces(plain, scored=last),
            *self.template_pieces(after + self.end),
        ]:
            scored = piece.scored or (last and piece.special and piece.text == end)
            yield replace(piece, learned=True, scored=scored)

    def ending(self) -> tuple[str, str]:
        """Return the text and the special token that end an answer: one of them or both, text first; the other is empty.

        Nothing after the token is generated. Empty lines before it are part of the answer, not a stop string.
        """
        text = ""
        for piece in self.template_pieces(self.end):
            if piece.special:
                return text if text.strip() else "", piece.text
            text += piece.text
        return text, ""

    def special_tokens(self) -> tuple[str, ...]:
        """Return every special token that a conversation can contain."""
        blocks = [block for each in fields(self) if isinstance(block := getattr(self, each.name), str)]
        pieces = [piece for block in blocks for piece in self.template_pieces(block.replace("{image}", "<im_patch>"))]
        return tuple(dict.fromkeys(piece.text for piece in pieces if piece.special))

    def template_pieces(self, text: str) -> Iterator[Piece]:
        """Yield the pieces of a template text: `<...>` is a special token, as is every token in `more_tokens`."""
        for place, part in enumerate(_token_pattern(self.more_tokens).split(text)):
            if part:
                yield Piece(part, special=place % 2 == 1)

    def _user_pieces(self, text: str, *, scored: bool = False) -> Iterator[Piece]:
        """Yield the pieces of a user's or a model's text: none of them is special."""
        for part in re.split(r"(#{3,})", text):
            if part:
                yield Piece(part, literal=part.startswith("###"), scored=scored)


def mentioned(text: str) -> tuple[str, ...]:
    """Return the names of the regions that a text mentions, in order of first mention."""
    return tuple(dict.fromkeys(_MENTION.findall(text)))


@lru_cache(maxsize=64)
def _token_pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for these tokens and those in single angle brackets: `<bbox>`, `</s>`, `<|im_start|>`; not `<<SYS>>`."""
    known = sorted(map(re.escape, tokens), key=len, reverse=True)
    return re.compile("(" + "|".join([*known, r"(?<!<)<[^<>\s]+>(?!>)"]) + ")")


def _unmentioned(question: str, regions: Sequence[Region]) -> list[Region]:
    return [region for region in regions if region.name not in mentioned(question)]


def _merged(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Join neighbouring plain pieces of the same kind."""
    for (alone, learned, scored), some in groupby(pieces, key=_kind):
        if alone:
            yield from some
        else:
            yield Piece("".join(piece.text for piece in some), learned=learned, scored=scored)


def _kind(piece: Piece) -> tuple[bool, bool, bool]:
    return piece.literal or piece.special, piece.learned, piece.scored


def _listing(region_names: list[str]) -> str:
    if not region_names:
        return "are no regions; give a box for it"
    if len(region_names) == 1:
        return f"is only {region_names[0]}"
    return f"are {', '.join(region_names)}"
