"""What a run of agents must have come to, stated once more: from the message and from how each agent ended.

Written from the platform's specification and sharing nothing with the platform: no graph library, no code.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence

import attrs

__all__ = ["FAILURES", "LLM_CHARACTERS_MAX", "LLM_KINDS", "Question", "kind_of"]

LLM_KINDS = ("triage", "optimisation", "report")
FACTS = ("uptime=99", "latency=120", "cost=7")
LLM_CHARACTERS_MAX = 400
"""More than this, counted over the whole prompt, the language model refuses."""

FAILURES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(LLM_KINDS, ("refused", "timed out")),
    "data": ("no data", "timed out"),
    "action": (),
}
"""How an agent of each kind may fail."""


@attrs.frozen
class Question:
    """A message: its text, its context, and the agents that work on it, each with those whose results it needs."""

    text: str
    context: str
    workflow: Mapping[str, Sequence[str]]

    def needed_by(self, node: str) -> list[str]:
        """Return whose results a node needs, by name."""
        return sorted(self.workflow[node])

    def asked_of(self, inputs: Sequence[str]) -> str:
        """Return the question as it is put to an agent that was given these results."""
        return f"{self.text} given {_digest(inputs)}" if inputs else self.text

    def result(self, node: str, status: str, inputs: Sequence[str]) -> str | None:
        """Return what a node with this status has found, or None when a node of its kind cannot end so."""
        kind, asked = kind_of(node), self.asked_of(inputs)
        if status == "degraded" and kind in LLM_KINDS:
            return f"{asked}: nobody to ask for {kind} for {self.context}"
        if status != "completed":
            return None
        if kind == "data":
            return f"{node} found {FACTS[len(self.text) % 3]} given {_digest(inputs)} for {self.context}"
        if kind == "action":
            return f"{node} did {asked} for {self.context}"
        return f"{asked} -> {kind} for {self.context}"

    def is_too_long(self, node: str, inputs: Sequence[str]) -> bool:
        """Whether the language model refuses what a node would ask it."""
        prompt = f"{kind_of(node)} for {self.context}{self.asked_of(inputs)}"
        return len(prompt) > LLM_CHARACTERS_MAX

    def pointless(self, failed: Collection[str]) -> list[str]:
        """Return the nodes that need one of these, directly or not."""
        lost = list(failed)
        for node in self.order():
            if node not in lost and any(needed in lost for needed in self.workflow[node]):
                lost.append(node)
        return [node for node in lost if node not in failed]

    def order(self) -> list[str]:
        """Return the nodes in order: repeatedly the first by name of those whose needed ones are all placed."""
        placed: list[str] = []
        while len(placed) < len(self.workflow):
            placed.append(
                min(
                    node
                    for node, needed in self.workflow.items()
                    if node not in placed and all(each in placed for each in needed)
                )
            )
        return placed

    def answer(self, results: Mapping[str, str]) -> str:
        """Return the reply's text: the results of the nodes that no other needs, in order."""
        wanted = {each for needed in self.workflow.values() for each in needed}  # only looked up
        return "; ".join(results[node] for node in self.order() if node not in wanted and node in results)


def kind_of(node: str) -> str:
    """Return what sort of agent a node is: "data" of "data-2"."""
    return node.split("-", 1)[0]


def _digest(results: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(results).encode()).hexdigest()[:8]
