"""The vocabulary of a published checkpoint: token ids, and the processor."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from roi_agent.model.checkpoints.names import ID_FIELDS, read_json
from roi_agent.model.errors import CheckpointMismatch, ModelNotFound
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.processing import SPECIAL_TOKENS, GPT4RoIProcessor, new_processor, register_special_tokens

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
_PUBLISHED_IDS = {"[PAD]": 32000, "<im_patch>": 32001, "<bbox>": 32002, "<point>": 32003, "<im_start>": 32004, "<im_end>": 32005}
# One row fewer: `<point>`, which the model never reads, may be missing.
_IDS_WITHOUT_POINT = {"[PAD]": 32000, "<im_patch>": 32001, "<bbox>": 32002, "<im_start>": 32003, "<im_end>": 32004}


def token_ids(folder: Path, num_rows: int) -> tuple[dict[str, int], tuple[str, ...]]:
    """Ids of the tokens in ID_FIELDS, and of [PAD] if there is one, with notes on their origin.

    folder: may contain tokenizer files.  num_rows: of the checkpoint's embedding.
    Tokens unknown to the checkpoint's tokenizer have their published ids.  Raises CheckpointMismatch for ids beyond the
    rows, with both sizes.
    """
    own = _added_tokens(folder)
    _check_room(own, num_rows)
    usual = _IDS_WITHOUT_POINT if num_rows == len(_IDS_WITHOUT_POINT) + 32000 else _PUBLISHED_IDS
    ids = {token: own.get(token, usual[token]) for token in ID_FIELDS}
    if len(set(ids.values())) < len(ids) or max(ids.values()) >= num_rows:
        raise CheckpointMismatch(
            f"the tokens would have the ids {ids} in an embedding of {num_rows} rows; the release has 32006 or 32005",
            do="give the checkpoint's own tokenizer files",
        )
    named = all(token in own for token in ID_FIELDS)
    whole = bool(own.keys() & set(SPECIAL_TOKENS)) or (folder / "tokenizer.json").is_file()  # else `own` is not its whole size
    added = _missing_tokens(own, num_rows) if whole else {}
    pad = (own | added).get("[PAD]", usual["[PAD]"])
    if pad < num_rows and pad not in ids.values():
        ids["[PAD]"] = pad
    without = " without <point>" if usual is _IDS_WITHOUT_POINT else ""
    assumed = f"the checkpoint's tokenizer lacks tokens: ids of the published order{without} are assumed"
    where = "token ids are those of the checkpoint's tokenizer" if named else assumed
    return ids, (where, *(_token_notes(own, added, num_rows) if whole else ()))


def published_processor(path: str | Path, config: GPT4RoIConfig, base: str | Path | None = None) -> GPT4RoIProcessor:
    """The processor of a checkpoint, with its own tokenizer, or the base's.

    Raises ModelNotFound without a tokenizer, CheckpointMismatch if its ids differ from the configuration or exceed the
    embedding.
    """
    tokenizer = load_tokenizer([Path(folder) for folder in (path, base) if folder is not None])
    _check_room(tokenizer.get_vocab(), config.vocab_size)
    missing = _missing_tokens(tokenizer.get_vocab(), config.vocab_size)
    known = [token for token in SPECIAL_TOKENS if token in tokenizer.get_vocab() or token in missing]
    register_special_tokens(tokenizer, known)
    _check_room(tokenizer.get_vocab(), config.vocab_size)
    if tokenizer.pad_token is None and "[PAD]" in tokenizer.get_vocab():
        tokenizer.pad_token = "[PAD]"
    return new_processor(config, tokenizer)


def load_tokenizer(folders: list[Path]) -> PreTrainedTokenizerBase:
    folder = next((each for each in folders if any((each / name).is_file() for name in _TOKENIZER_FILES)), None)
    if folder is None:
        raise ModelNotFound("the checkpoint has no tokenizer", do=f"put {' or '.join(_TOKENIZER_FILES)} into its folder")
    try:
        kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else LlamaTokenizer
        tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(folder, local_files_only=True)
        return tokenizer
    except (OSError, ValueError, TypeError, KeyError):  # whose text would name our folders
        raise CheckpointMismatch(f"the tokenizer of {folder.name!r} cannot be loaded", do="download its files again") from None


def _missing_tokens(vocabulary: dict[str, int], num_rows: int) -> dict[str, int]:
    """Tokens of the architecture that a tokenizer lacks, with new ids.

    Without `<point>`, then `[PAD]`, if the embedding has no row for them.
    """
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    size = max(vocabulary.values(), default=-1) + 1
    for spare in ("<point>", "[PAD]"):
        if size + len(missing) > num_rows and spare in missing:
            missing.remove(spare)
    return {token: size + place for place, token in enumerate(missing)}


def _token_notes(own: dict[str, int], added: dict[str, int], num_rows: int) -> Iterator[str]:
    """A note on added tokens and on rows without a token, if there are any."""
    size = max(own.values()) + 1
    names = ", ".join(f"{token} {'is added as' if place == 0 else 'as'} {id}" for place, (token, id) in enumerate(added.items()))
    unused = num_rows - size - len(added)
    rows = f"{unused} row{'s have' if unused > 1 else ' has'} no token" if unused > 0 else ""
    if names or rows:
        found = ", and ".join(filter(None, (names, rows)))
        yield f"the tokenizer has {size} tokens and the embedding {num_rows} rows: {found}"


def _check_room(ids: dict[str, int], num_rows: int) -> None:
    highest = max(ids.values(), default=-1)
    if highest >= num_rows:
        raise CheckpointMismatch(
            f"the tokenizer has {highest + 1} tokens and the embedding {num_rows} rows",
            do="give tokenizer and weights of the same release",
        )


def _added_tokens(folder: Path) -> dict[str, int]:
    """Tokens and ids in tokenizer files, read without building it (which may need sentencepiece)."""
    tokens: dict[str, int] = {}
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
        if (folder / name).is_file():
            tokens |= _tokens_in(read_json(folder / name), name)
    return tokens


def _tokens_in(content: dict[str, Any], name: str) -> dict[str, int]:
    try:
        if name == "added_tokens.json":
            return {token: int(token_id) for token, token_id in content.items()}
        if name == "tokenizer_config.json":
            return {entry["content"]: int(token_id) for token_id, entry in (content.get("added_tokens_decoder") or {}).items()}
        vocab = (content.get("model") or {}).get("vocab")
        known = dict(vocab) if isinstance(vocab, dict) else {piece: index for index, (piece, _) in enumerate(vocab or [])}
        return known | {entry["content"]: int(entry["id"]) for entry in content.get("added_tokens") or []}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointMismatch(f"{name} is not a tokenizer's file", do="download it again") from None
