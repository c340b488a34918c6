"""The oracle, on examples worked out by hand."""

import pytest

from properties.oracle import Question

DIAMOND = {"triage-1": (), "data-2": ("triage-1",), "action-3": ("triage-1",), "report-4": ("data-2", "action-3")}
QUESTION = Question("why is it slow?", "alice/2", DIAMOND)


@pytest.mark.parametrize(
    ("node", "status", "inputs", "expected"),
    [
        ("triage-1", "completed", (), "why is it slow? -> triage for alice/2"),
        ("triage-1", "degraded", (), "why is it slow?: nobody to ask for triage for alice/2"),
        ("data-2", "completed", (), "data-2 found uptime=99 given e3b0c442 for alice/2"),
        ("data-2", "completed", ("a",), "data-2 found uptime=99 given ca978112 for alice/2"),
        ("action-3", "completed", ("a",), "action-3 did why is it slow? given ca978112 for alice/2"),
        ("report-4", "completed", ("a", "b"), "why is it slow? given 7e18f737 -> report for alice/2"),
        ("data-2", "degraded", (), None),
        ("action-3", "degraded", (), None),
        ("report-4", "failed", (), None),
    ],
)
def test_the_oracle_words_results(node: str, status: str, inputs: tuple[str, ...], expected: str | None) -> None:
    """The digests are of "", "a" and "a\\nb": known values of SHA-256."""
    assert QUESTION.result(node, status, inputs) == expected


def test_the_oracle_finds_the_fact_of_a_text() -> None:
    """By its length."""
    facts = [Question("x" * length, "a/1", {}).result("data", "completed", ()) for length in (0, 1, 2, 3)]
    assert [str(fact).split()[2] for fact in facts] == ["uptime=99", "latency=120", "cost=7", "uptime=99"]


def test_the_oracle_places_nodes_by_name_once_their_needs_are_placed() -> None:
    """Names decide between those that are ready, and nothing else."""
    assert QUESTION.order() == ["triage-1", "action-3", "data-2", "report-4"]
    assert Question("", "", {"b": (), "a": ("c",), "c": ()}).order() == ["b", "c", "a"]


def test_the_oracle_answers_with_what_no_other_needs() -> None:
    """In order, leaving out what has no result."""
    fan = Question("", "", {"b": ("a",), "a": (), "d": (), "c": ("a",)})
    assert fan.answer({"a": "A", "b": "B", "c": "C", "d": "D"}) == "B; C; D"
    assert fan.answer({"a": "A", "c": "C"}) == "C"
    assert fan.answer({}) == ""


def test_the_oracle_skips_what_needs_a_failed_one_at_any_distance() -> None:
    """And nothing else."""
    assert sorted(QUESTION.pointless(["data-2"])) == ["report-4"]
    assert sorted(QUESTION.pointless(["triage-1"])) == ["action-3", "data-2", "report-4"]
    assert QUESTION.pointless([]) == []


def test_the_oracle_knows_what_the_language_model_refuses() -> None:
    """More than 400 characters, those that say who is asked included."""
    system = len("triage for alice/2")
    assert not Question("x" * (400 - system), "alice/2", {}).is_too_long("triage-1", ())
    assert Question("x" * (401 - system), "alice/2", {}).is_too_long("triage-1", ())
