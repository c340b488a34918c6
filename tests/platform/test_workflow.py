"""The shape of a run, without any service: what is a workflow, in which order its agents work, and who is left out."""

from collections.abc import Mapping, Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.workflow import KINDS, InvalidWorkflowError, NodeOutcome, Workflow, kind_of

BOUNDED = settings(max_examples=100, derandomize=True, database=None, deadline=None)
NAMES = ("action", "data-1", "data-10", "data-2", "report")
"""In the order of strings, which is not that of numbers."""

Graph = Mapping[str, Sequence[str]]


def graphs() -> st.SearchStrategy[Graph]:
    """Any relation between a few agents, with and without circles."""
    return st.lists(st.sampled_from(NAMES), unique=True, min_size=1).flatmap(
        lambda nodes: st.fixed_dictionaries({node: st.lists(st.sampled_from(nodes), max_size=3) for node in nodes})
    )


def orders(graph: Graph) -> list[tuple[str, ...]]:
    """Return every order in which each agent comes after those it needs, by trying them all; in order themselves."""
    return [
        order
        for order in permutations(sorted(graph))
        if all(order.index(needed) < order.index(node) for node in graph for needed in graph[node])
    ]


@st.composite
def acyclic_graphs(draw: st.DrawFn) -> Graph:
    """Each agent needs only such as come before it in some order, which is not that of their names."""
    nodes = draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]
    return {
        node: draw(st.lists(st.sampled_from(nodes[:place]), max_size=3)) if place else []
        for place, node in enumerate(nodes)
    }


@BOUNDED
@given(graphs())
def test_it_is_refused_exactly_when_no_order_exists_and_has_the_first_of_all_otherwise(graph: Graph) -> None:
    """The order decides the wording of a reply, so it must be one that anybody can compute."""
    if valid := orders(graph):
        assert Workflow(graph).nodes == valid[0]
    else:
        with pytest.raises(InvalidWorkflowError, match="circle"):
            Workflow(graph)


@BOUNDED
@given(acyclic_graphs())
def test_the_sinks_are_those_whom_nobody_needs_in_that_order(graph: Graph) -> None:
    """Their results are the reply."""
    wanted = [node for node in orders(graph)[0] if not any(node in needed for needed in graph.values())]
    assert Workflow(graph).sinks() == wanted
    assert {node: Workflow(graph).needed_by(node) for node in graph} == {
        node: sorted(set(needed)) for node, needed in graph.items()
    }


@BOUNDED
@given(acyclic_graphs(), st.sets(st.sampled_from(NAMES)), st.permutations(NAMES))
def test_whatever_fails_and_in_whatever_order_exactly_its_dependents_are_skipped(
    graph: Graph, failing: set[str], haste: list[str]
) -> None:
    """Every agent has an outcome at the end, and none has worked without all that it needs."""

    def is_lost(node: str) -> bool:
        return node in failing or is_pointless(node)

    def is_pointless(node: str) -> bool:
        return any(is_lost(needed) for needed in graph[node])

    workflow = Workflow(graph)
    outcomes: dict[str, NodeOutcome] = {}
    while True:
        for node in workflow.pointless(outcomes):
            outcomes[node] = NodeOutcome("skipped")
        startable = list(workflow.startable(outcomes))
        if not startable:
            break
        assert all(outcomes[needed].has_result for node in startable for needed in graph[node])
        node = min(startable, key=haste.index)
        outcomes[node] = NodeOutcome("failed" if node in failing else "completed")
    for node in graph:
        usual = "failed" if node in failing else "completed"
        assert outcomes[node].status == ("skipped" if is_pointless(node) else usual)


def test_a_degraded_result_is_a_result() -> None:
    """Agents do without the LLM; those who depend on them need not notice."""
    outcomes = {"triage": NodeOutcome("degraded", "nobody to ask")}
    workflow = Workflow({"triage": (), "report": ("triage",)})
    assert list(workflow.startable(outcomes)) == ["report"]
    assert list(workflow.pointless(outcomes)) == []


def test_a_workflow_has_one_to_twelve_agents() -> None:
    """A bound that users meet as a refusal rather than as slowness."""
    for size in (1, 12):
        assert len(Workflow({f"data-{number}": () for number in range(size)}).nodes) == size
    for size in (0, 13):
        with pytest.raises(InvalidWorkflowError, match=f"1 to 12 agents, not {size}"):
            Workflow({f"data-{number}": () for number in range(size)})


@pytest.mark.parametrize("name", ["", "-", "-data", "nobody", "Data", "data_1", "data-" + "1" * 28])
def test_a_name_that_is_no_kind_or_too_long_is_refused(name: str) -> None:
    """And quoted in part only: it came from outside."""
    with pytest.raises(InvalidWorkflowError, match="names no agent"):
        Workflow({name: ()})


def test_the_kind_is_what_stands_before_the_first_dash() -> None:
    """What follows is the user's, up to a length."""
    assert [kind_of(f"{kind}-a-b") for kind in KINDS] == list(KINDS)
    assert Workflow({"data-" + "1" * 27: ()}).nodes == ("data-" + "1" * 27,)


def test_to_need_somebody_who_is_not_there_is_refused() -> None:
    """Such an agent would never start."""
    with pytest.raises(InvalidWorkflowError, match="'report' needs 'triage', which is not there"):
        Workflow({"report": ("triage",)})
