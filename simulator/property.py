"""Properties: promises as values. Each reads a history and says holds, violated with evidence, or unknown."""

import enum
import traceback
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar, overload

import attrs

from simulator.errors import InputError, SystemFailedError, WavetankError
from simulator.history import History, Reading

__all__ = [
    "Check",
    "Expectation",
    "Outcome",
    "Property",
    "Unknown",
    "Verdict",
    "Violation",
    "always",
    "eventually",
    "sometimes",
]


class Expectation(enum.Enum):
    """When a property must be true."""

    ALWAYS = "always"  # at every moment
    EVENTUALLY = "eventually"  # once faults are healed and the system had its time
    SOMETIMES = "sometimes"  # in at least one run of a campaign; never reached is a failure


class Outcome(enum.Enum):
    """What a property says of one history."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


@attrs.frozen
class Violation:
    """Evidence that a promise was broken.

    `evidence` is one sentence. `site` names where it shows ("frame", "row"): a failure is the same failure when
    property and site are.
    """

    evidence: str
    site: str = ""


@attrs.frozen
class Unknown:
    """A property's admission that it cannot judge, and what is missing."""

    missing: str


NOT_IN_PARTS = "it is a promise about whole runs (not declared in_parts)"

Finding: TypeAlias = "Violation | Unknown | str | bool | None"
Check: TypeAlias = Callable[[Reading], Finding]


@attrs.frozen
class Verdict:
    """What one property said of one history, after examining how much, and at which sites it could say nothing."""

    outcome: Outcome
    examined: Mapping[str, int]
    violation: Violation | None = None
    missing: str = ""
    unjudged: Mapping[str, str] = {}


@attrs.frozen
class Property:
    """A promise: a name, when it must be true, and a pure check over a history.

    The check of an *always* or *eventually* returns None when the promise was kept, else a `Violation`, or a
    sentence of evidence, or `Unknown`. The check of a *sometimes* returns whether the state was reached.

    `in_parts` declares that the check is right also for a history that is only a part (`Reading.is_part`), as `wavetank
    observe` sees it: that it takes for granted neither that something was seen before, nor that users or faults are.
    """

    name: str
    expectation: Expectation
    check: Check
    summary: str = ""
    in_parts: bool = False

    def judge(self, history: History) -> Verdict:
        """Judge one history. A promise for which nothing was examined is unknown, never kept."""
        if history.is_part and not self.in_parts:
            return Verdict(Outcome.UNKNOWN, {}, missing=NOT_IN_PARTS)
        reading = Reading(history)
        finding = self._finding(reading)
        examined = dict(sorted(reading.examined.items()))
        if isinstance(finding, Unknown):
            return Verdict(Outcome.UNKNOWN, examined, missing=finding.missing)
        if self.expectation is Expectation.SOMETIMES:
            return Verdict(Outcome.HOLDS if finding else Outcome.UNKNOWN, examined)
        if isinstance(finding, str):
            finding = Violation(finding)
        if isinstance(finding, Violation):
            return Verdict(Outcome.VIOLATED, examined, violation=finding)
        if finding is not None:  # neither True nor False says what it means, and a silent pass would be the worst guess
            raise InputError(
                f"property {self.name!r} returned {finding!r}. Return None when the promise was kept, else a sentence "
                "of evidence, a Violation or Unknown."
            )
        if not examined:
            return Verdict(Outcome.UNKNOWN, examined, missing="nothing to examine happened")
        return Verdict(Outcome.HOLDS, examined, unjudged=reading.unjudged)

    def _finding(self, reading: Reading) -> Finding:
        try:
            return self.check(reading)
        except WavetankError:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise SystemFailedError(
                f"property {self.name!r} could not judge a history: {type(error).__name__}: {error} "
                f"in {last.name}, {last.filename}:{last.lineno}. A check returns its finding and raises nothing."
            ) from error


_MARK = "__wavetank_expectation__"
_Method = TypeVar("_Method", bound=Callable[..., Finding])


@overload
def always(check: _Method, /) -> _Method: ...


@overload
def always(*, in_parts: bool = False) -> Callable[[_Method], _Method]: ...


def always(check: _Method | None = None, /, *, in_parts: bool = False) -> _Method | Callable[[_Method], _Method]:
    """Make a method of a `System` an *always* property, named for the method. `in_parts` is as `Property` has it."""
    marked = _marking(Expectation.ALWAYS, in_parts=in_parts)
    return marked if check is None else marked(check)


@overload
def eventually(check: _Method, /) -> _Method: ...


@overload
def eventually(*, in_parts: bool = False) -> Callable[[_Method], _Method]: ...


def eventually(check: _Method | None = None, /, *, in_parts: bool = False) -> _Method | Callable[[_Method], _Method]:
    """Make a method of a `System` an *eventually* property, named for the method, as `always` does."""
    marked = _marking(Expectation.EVENTUALLY, in_parts=in_parts)
    return marked if check is None else marked(check)


def sometimes(check: _Method) -> _Method:
    """Make a method of a `System` a *sometimes* property, named for the method."""
    return _marking(Expectation.SOMETIMES, in_parts=False)(check)


def _marking(expectation: Expectation, *, in_parts: bool) -> Callable[[_Method], _Method]:
    def mark(check: _Method) -> _Method:
        setattr(check, _MARK, (expectation, in_parts))
        return check

    return mark


def from_method(name: str, method: Callable[..., Finding]) -> Property | None:
    """Return the property that a bound method was decorated as, or None."""
    marked = getattr(method, _MARK, None)
    if marked is None:
        return None
    expectation, in_parts = marked
    summary = (method.__doc__ or "").strip().partition("\n")[0]
    return Property(name.replace("_", "-"), expectation, method, summary, in_parts)
