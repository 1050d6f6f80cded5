"""English grammar for questions and answers: lists, articles and plurals."""

from collections.abc import Sequence


def join_words(words: Sequence[str]) -> str:
    """Join words as 'a', 'a and b', 'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def with_article(words: str) -> str:
    """Return the words after 'a' or 'an'."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(kind: str) -> str:
    """Return the plural of a noun."""
    if kind in ("fish", "scissors"):
        return kind
    if kind[-1] == "y" and kind[-2] not in "aeiou":
        return kind[:-1] + "ies"
    return kind + ("es" if kind.endswith(("s", "x", "ch", "sh")) else "s")
