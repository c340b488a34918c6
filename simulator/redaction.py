"""Secrets that were read, and their removal from whatever is recorded, written or told."""

import re
from collections.abc import Mapping
from typing import TypeVar

from simulator.history import Value

__all__ = ["conceal", "known_secrets", "redacted", "redacted_value"]

CONCEALED = "<secret>"
SHORTEST = 4
"""What is shorter would be found in everything, and conceals nothing."""

_T = TypeVar("_T")
_known: dict[str, None] = {}
_patterns: list[re.Pattern[str]] = []


def conceal(secret: str) -> None:
    """Keep a secret out of everything that is recorded or told from now on, in this process."""
    if len(secret) >= SHORTEST and secret not in _known:
        _known[secret] = None
        # The longest first, or what is left of one that holds another would show.
        longest_first = sorted(_known, key=len, reverse=True)
        _patterns[:] = [re.compile("|".join(map(re.escape, longest_first)))]


def known_secrets() -> list[str]:
    """Return the secrets that are kept out, in the order in which they were learned."""
    return list(_known)


def redacted(text: str) -> str:
    """Return a text without the secrets that are known."""
    for pattern in _patterns:
        text = pattern.sub(CONCEALED, text)
    return text


def redacted_value(value: Value) -> Value:
    """Return a value such as JSON can hold without the secrets that are known, in keys and in texts."""
    if not _patterns:
        return value
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(key): redacted_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_value(each) for each in value]
    return value
