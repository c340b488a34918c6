"""What a promise says of a history: kept, broken with evidence, or unknown."""

from collections.abc import Callable

import pytest

from simulator import (
    Expectation,
    History,
    InputError,
    Kind,
    Property,
    Reading,
    SystemFailedError,
    Unknown,
    Violation,
    always,
    eventually,
    sometimes,
)
from simulator.property import Finding, Outcome, from_method

PROMISES = (Expectation.ALWAYS, Expectation.EVENTUALLY)


def history() -> History:
    made = History(lambda: 0.0)
    made.record(Kind.OBSERVE, "h", "frame")
    return made


def returning(finding: Finding, *, look: bool = True) -> Callable[[Reading], Finding]:
    def check(reading: Reading) -> Finding:
        if look:
            reading.observed("frame")
        return finding

    return check


@pytest.mark.parametrize("expectation", PROMISES)
@pytest.mark.parametrize(
    ("finding", "outcome"),
    [
        (None, Outcome.HOLDS),
        ("it broke", Outcome.VIOLATED),
        ("", Outcome.VIOLATED),
        (Violation("it broke", site="row"), Outcome.VIOLATED),
        (Unknown("not inspected"), Outcome.UNKNOWN),
    ],
)
def test_a_promise_says_one_of_three_things(expectation: Expectation, finding: Finding, outcome: Outcome) -> None:
    """Holds, violated, unknown; and a sentence is evidence enough."""
    verdict = Property("p", expectation, returning(finding)).judge(history())
    assert verdict.outcome is outcome
    assert (verdict.violation is not None) == (outcome is Outcome.VIOLATED)
    assert verdict.examined == {"frame": 1}


@pytest.mark.parametrize("expectation", PROMISES)
def test_a_promise_that_examined_nothing_is_unknown(expectation: Expectation) -> None:
    """The commonest way to pass without testing anything."""
    verdict = Property("p", expectation, returning(None, look=False)).judge(history())
    assert verdict.outcome is Outcome.UNKNOWN
    assert "nothing to examine" in verdict.missing


def test_evidence_counts_even_if_nothing_was_counted() -> None:
    """A violation found in the raw events is a violation."""
    assert Property("p", Expectation.ALWAYS, returning("bad", look=False)).judge(history()).violation == Violation(
        "bad"
    )


@pytest.mark.parametrize("expectation", PROMISES)
@pytest.mark.parametrize("finding", [True, False, 0, [], ["bad"]])
def test_a_promise_that_answers_yes_or_no_is_refused(expectation: Expectation, finding: Finding) -> None:
    """`return balance >= 0` would otherwise hold for ever, whatever the balance."""
    with pytest.raises(InputError, match=r"'p' returned .* Return None"):
        Property("p", expectation, returning(finding)).judge(history())


@pytest.mark.parametrize(
    ("finding", "outcome"),
    [(True, Outcome.HOLDS), (False, Outcome.UNKNOWN), (None, Outcome.UNKNOWN), (Unknown("x"), Outcome.UNKNOWN)],
)
def test_a_sometimes_is_reached_or_not(finding: Finding, outcome: Outcome) -> None:
    """Not reached in one run is no violation; never reached in a campaign is, and `Unknown` is not reached."""
    assert Property("p", Expectation.SOMETIMES, returning(finding)).judge(history()).outcome is outcome


def test_a_check_that_raises_is_named_with_its_line() -> None:
    """Its author needs the place, not a traceback of wavetank."""

    def check(_reading: Reading) -> Finding:
        raise KeyError("to")

    with pytest.raises(SystemFailedError, match=r"'p' .*KeyError: 'to' in check, .*test_property.py:\d+"):
        Property("p", Expectation.ALWAYS, check).judge(history())


def test_decorated_methods_become_properties() -> None:
    """The name and the first line of the docstring are what a report shows."""

    class Owner:
        @always
        def nothing_is_lost(self, _history: Reading) -> None:
            """Nothing is lost.

            More about it.
            """

        @eventually
        def ends(self, _history: Reading) -> None: ...

        @sometimes
        def seen(self, _history: Reading) -> None: ...

        def other(self) -> None: ...

    owner = Owner()
    found = [from_method(name, getattr(owner, name)) for name in ("nothing_is_lost", "ends", "seen", "other")]
    assert [each and (each.name, each.expectation, each.summary) for each in found] == [
        ("nothing-is-lost", Expectation.ALWAYS, "Nothing is lost."),
        ("ends", Expectation.EVENTUALLY, ""),
        ("seen", Expectation.SOMETIMES, ""),
        None,
    ]


def test_of_a_part_only_what_is_declared_for_parts_is_judged() -> None:
    """What takes for granted that something came before would find it missing."""

    class Owner:
        @always
        def of_whole(self, _history: Reading) -> str:
            return "bad"

        @eventually(in_parts=True)
        def of_part(self, _history: Reading) -> str:
            return "bad"

    seen = history()
    for is_part, outcome in ((False, Outcome.VIOLATED), (True, Outcome.UNKNOWN)):
        seen.is_part = is_part
        whole, part = (from_method(name, getattr(Owner(), name)) for name in ("of_whole", "of_part"))
        assert whole is not None
        assert part is not None
        assert (whole.judge(seen).outcome, part.judge(seen).outcome) == (outcome, Outcome.VIOLATED)
