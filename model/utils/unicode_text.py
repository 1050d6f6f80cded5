"""Texts as they come in."""

from roi_agent.model.errors import InvalidSetting


def check_unicode(text: str, what: str) -> None:
    """Refuse half a surrogate pair: no file, tokenizer or answer takes it.  Error: InvalidSetting."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidSetting(f"{what} holds half a surrogate pair", do="send texts that are valid Unicode") from None
