"""A check of texts from users."""

from roi_agent.model.errors import InvalidSetting


def check_unicode(text: str, what: str) -> None:
    """Reject a lone surrogate, which neither files nor tokenizers accept.  what: names the text.  Error: InvalidSetting."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidSetting(f"{what} contains a lone surrogate", do="send valid Unicode") from None
