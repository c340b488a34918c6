"""The shape of a run: which agents work on a message, and when each may start. No I/O."""

from collections.abc import Iterator, Mapping, Sequence

import attrs
import networkx as nx

__all__ = ["KINDS", "InvalidWorkflowError", "NodeOutcome", "Workflow"]

KINDS = ("triage", "data", "optimisation", "action", "report")
"""What an agent can be. A node's name is its kind, or its kind and something of its own: `data-2`."""
NODES_MAX = 12
NAME_LENGTH_MAX = 32


class InvalidWorkflowError(Exception):
    """The graph is empty, too large, has a cycle, or names an agent that does not exist."""


@attrs.frozen
class NodeOutcome:
    """What became of a node: `completed` or `degraded`, with a result; `failed` or `skipped`, with none."""

    status: str
    result: str = ""

    @property
    def has_result(self) -> bool:
        """Whether those who depend on the node can work."""
        return self.status in ("completed", "degraded")


class Workflow:
    """A directed acyclic graph of agents."""

    def __init__(self, dependencies: Mapping[str, Sequence[str]], *, any_suffices: bool = False) -> None:
        """Read who needs whom. Raises InvalidWorkflowError.

        With `any_suffices` a node may start when any of those it needs has a result: a planted defect.
        """
        self._enough = any if any_suffices else all
        if not 0 < len(dependencies) <= NODES_MAX:
            raise InvalidWorkflowError(f"a workflow has 1 to {NODES_MAX} agents, not {len(dependencies)}")
        self.graph: nx.DiGraph[str] = nx.DiGraph()
        for node, needed in dependencies.items():
            if kind_of(node) not in KINDS or len(node) > NAME_LENGTH_MAX:
                raise InvalidWorkflowError(f"{node[:NAME_LENGTH_MAX]!r} names no agent")
            self.graph.add_node(node)
            for each in needed:
                if each not in dependencies:
                    raise InvalidWorkflowError(f"{node!r} needs {each[:NAME_LENGTH_MAX]!r}, which is not there")
                self.graph.add_edge(each, node)
        if not nx.is_directed_acyclic_graph(self.graph):
            raise InvalidWorkflowError("agents wait for each other in a circle")
        self.nodes: tuple[str, ...] = tuple(nx.lexicographical_topological_sort(self.graph))

    def needed_by(self, node: str) -> list[str]:
        """Return whose results a node needs, by name."""
        return sorted(self.graph.predecessors(node))

    def sinks(self) -> list[str]:
        """Return the nodes on which no other depends: their results are the run's."""
        return [node for node in self.nodes if not self.graph.out_degree(node)]

    def startable(self, outcomes: Mapping[str, NodeOutcome]) -> Iterator[str]:
        """Yield the nodes without an outcome whose dependencies all have a result."""
        for node in self.nodes:
            needed = self.needed_by(node)
            ready = not needed or self._enough(_has_result(outcomes, each) for each in needed)
            if node not in outcomes and ready:
                yield node

    def pointless(self, outcomes: Mapping[str, NodeOutcome]) -> Iterator[str]:
        """Yield the nodes without an outcome that depend on one which will never have a result, dependencies first."""
        lost = {node for node, outcome in outcomes.items() if not outcome.has_result}
        for node in self.nodes:
            if node not in outcomes and not lost.isdisjoint(self.graph.predecessors(node)):
                lost.add(node)
                yield node


def kind_of(node: str) -> str:
    """Return what sort of agent a node is."""
    return node.partition("-")[0]


def _has_result(outcomes: Mapping[str, NodeOutcome], node: str) -> bool:
    return node in outcomes and outcomes[node].has_result
