"""What can be the matter with a language model's service."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["CROSS_TALK", "CUT", "FAIL", "MALFORM", "RATE_LIMIT", "SLOW", "TROUBLES"]

SLOW = "llm-slow"
RATE_LIMIT = "llm-rate-limited"
CUT = "llm-cut"
MALFORM = "llm-malformed"
CROSS_TALK = "llm-cross-talk"
FAIL = "llm-failing"

TROUBLES: Mapping[str, str] = MappingProxyType(
    {
        SLOW: "{0} takes 3 s for an answer, for {for_s} s",
        RATE_LIMIT: "{0} refuses everybody with 429 for {for_s} s",
        FAIL: "{0} fails with 500 for {for_s} s",
        CUT: "{0} ends its connections in the middle of answers for {for_s} s",
        MALFORM: "{0} answers what is no completion for {for_s} s",
        CROSS_TALK: "{0} repeats the last other user's conversation for {for_s} s",
    }
)
"""Each trouble's name and sentence, mildest first. {0} is the host that has it, {for_s} how long."""
