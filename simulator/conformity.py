"""Conformity: how a kind of message that a system's services have agreed on turned out in a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from simulator.history import Value

__all__ = ["Conformity"]


@attrs.frozen
class Conformity:
    """One kind of message, who sends it to whom, how many were seen, and what was wrong with the first that was wrong.

    `schema` is its JSON Schema without references, `examples` some that conform. What is `seldom` seen, in an outage
    only, need not be seen when all is well.
    """

    provider: str
    consumer: str
    name: str
    samples: int
    complaint: str = ""
    examples: Sequence[Value] = attrs.field(default=(), repr=False)
    schema: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    seldom: str = ""

    @property
    def is_shown(self) -> bool:
        """Whether it was seen to conform, or need not be."""
        return not self.complaint and (self.samples > 0 or bool(self.seldom))
