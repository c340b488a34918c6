"""The history of a run: an append-only record of operations, observations, faults and marks, with a hash chain."""

import copy
import enum
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import attrs
import msgspec

from simulator.errors import InputError
from simulator.traffic import Traffic

__all__ = ["Event", "History", "Kind", "Operation", "Reading", "Unseen", "Value", "encoded"]

if TYPE_CHECKING:
    Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
else:
    Value = Any  # msgspec reads annotations at run time and cannot follow an alias that names itself
T = TypeVar("T")
_MUTABLE = (list, dict)


class Kind(enum.Enum):
    """What an event records."""

    INVOKE = "invoke"  # an operation began
    OK = "ok"  # it happened
    FAIL = "fail"  # it definitely did not happen
    INFO = "info"  # it may or may not have happened, now or later
    OBSERVE = "observe"  # something was seen: a frame arrived, a breaker moved, a row was there
    FAULT = "fault"  # a disturbance began or ended
    MARK = "mark"  # the run entered a phase


_COMPLETIONS = (Kind.OK, Kind.FAIL, Kind.INFO)


@attrs.frozen
class Event:
    """One entry of a history. `at_s` is simulated (or, live, real) seconds since the run began."""

    index: int
    at_s: float
    kind: Kind
    host: str
    name: str
    data: Mapping[str, Value]
    operation: int | None = None


class Unseen(NamedTuple):
    """What has decided a run up to an event, and shows in no event; 0 where nobody decides it."""

    now_s: float = 0.0  # the exact time
    choices: int = 0  # a number that folds what the weather chose: which task, how late a message
    turns: int = 0  # how many turns tasks have had
    drawn: int = 0  # how many bytes `os.urandom`, `uuid4` and `secrets` have given
    random: int = 0  # the state of the process's generator, when the world last stood still


@attrs.frozen
class Operation:
    """One operation: its invocation and, unless it was still open when the run ended, its completion."""

    number: int
    name: str
    user: str
    arguments: Mapping[str, Value]
    invoked: Event
    completed: Event | None

    @property
    def ok(self) -> bool:
        """Whether it is known to have happened."""
        return self.completed is not None and self.completed.kind is Kind.OK

    @property
    def failed(self) -> bool:
        """Whether it is known not to have happened."""
        return self.completed is not None and self.completed.kind is Kind.FAIL

    @property
    def result(self) -> Value:
        """What it returned, if it did."""
        return self.completed.data.get("result") if self.completed is not None else None


class History:
    """The record of one run, in the order in which things happened.

    `hash` covers every step, and every event with its time and what was `unseen` at it: two runs with equal
    hashes did the same things in the same order for the same reasons.
    """

    def __init__(self, now: Callable[[], float], unseen: Callable[[], Unseen] = Unseen) -> None:
        self.events: list[Event] = []
        self.unseen: list[Unseen] = []  # at each event
        self._observed: dict[str, list[Event]] = {}  # by name
        self._invoked: list[Event] = []
        self._completed: dict[int | None, Event] = {}  # by operation
        self.declared: tuple[str, ...] = ()  # the system's operations, where they are known
        self.is_part = False  # whether the beginning, users or faults may be missing
        self.links: Mapping[tuple[str, str], Traffic] = {}  # what has come over them, where that is known
        self._now = now
        self._unseen = unseen
        self._chain = hashlib.blake2b(digest_size=16)
        self._operations = 0

    @property
    def hash(self) -> str:
        """The hash of everything recorded so far, 32 hexadecimal digits."""
        return self._chain.hexdigest()

    @property
    def now_s(self) -> float:
        """The present moment, in seconds since the run began."""
        return self._now()

    def begin_step(self, step: msgspec.Struct) -> None:
        """Let the hash cover a step, which need not lead to any event."""
        self._chain.update(msgspec.json.encode(step, order="deterministic"))

    def record(
        self,
        kind: Kind,
        host: str,
        name: str,
        data: Mapping[str, Value] | None = None,
        operation: int | None = None,
    ) -> Event:
        """Append one event, with the data as they are now. Raises InputError for data that JSON cannot hold."""
        event, unseen = self.event(kind, host, name, data, operation), self._unseen()
        self._chain.update(encoded(event, unseen))
        self.events.append(event)
        self.unseen.append(unseen)
        if kind is Kind.OBSERVE:
            self._observed.setdefault(name, []).append(event)
        elif kind is Kind.INVOKE:
            self._invoked.append(event)
        elif kind in _COMPLETIONS:
            self._completed[operation] = event
        return event

    def event(self, kind: Kind, host: str, name: str, data: Mapping[str, Value] | None, operation: int | None) -> Event:
        """Return what would be the next event, with the data as they are now."""
        # A copy, because whoever reported a list may go on changing it, and the past must not change with it.
        kept = {key: copy.deepcopy(value) if type(value) in _MUTABLE else value for key, value in (data or {}).items()}
        return Event(len(self.events), round(self._now(), 6), kind, host, name, kept, operation)

    @property
    def operations_begun(self) -> int:
        """How many operations were begun: the number of the latest."""
        return self._operations

    def next_operation(self) -> int:
        """Return the number of a new operation."""
        self._operations += 1
        return self._operations

    def operations(self, *names: str) -> list[Operation]:
        """All operations (of these names) in the order of their invocation."""
        return [
            Operation(
                number=event.operation,
                name=event.name,
                user=event.host.removeprefix("user:"),
                arguments=event.data,
                invoked=event,
                completed=self._completed.get(event.operation),
            )
            for event in self._invoked
            if event.operation is not None and (not names or event.name in names)
        ]

    def observed(self, *names: str) -> list[Event]:
        """All observations of these names, in order."""
        found = [self._observed.get(name, ()) for name in dict.fromkeys(names)]
        return list(found[0]) if len(found) == 1 else sorted(chain(*found), key=lambda event: event.index)

    def faults(self, *names: str) -> list[Event]:
        """All beginnings and ends of faults (of these kinds), in order; `data["phase"]` is "begin" or "end"."""
        return [event for event in self.events if event.kind is Kind.FAULT and (not names or event.name in names)]

    def marked_at(self, name: str) -> float | None:
        """When the run entered a phase ("heal", "quiet"), or None."""
        return next((event.at_s for event in self.events if event.kind is Kind.MARK and event.name == name), None)


def encoded(event: Event, unseen: Unseen) -> bytes:
    """Return what a hash covers of an event. Raises InputError for data that JSON cannot hold."""
    fields = (event.at_s, event.kind.value, event.host, event.name, event.data, event.operation, unseen)
    try:
        return msgspec.json.encode(fields, order="deterministic")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the data of {event.name!r} on host={event.host!r} are not such as JSON can hold: {error}."
        ) from error


class Reading:
    """A history as one property reads it: the same questions, and a count of what the answers held.

    A property that examined nothing cannot hold; this is how it is known.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.examined: Counter[str] = Counter()
        self.unjudged: dict[str, str] = {}
        """Sites at which the promise could not be judged, as in a live run of which less is known, and why not."""

    @property
    def events(self) -> list[Event]:
        """Every event, in order. Counted as examined only by the narrower questions below."""
        return self.history.events

    @property
    def is_part(self) -> bool:
        """Whether this is only what hosts told from some moment on: how it began, users and faults were not seen.

        Only promises that are declared `in_parts` are judged then.
        """
        return self.history.is_part

    def operations(self, *names: str) -> list[Operation]:
        """All operations (of these names) in the order of their invocation. Raises InputError for an unknown name."""
        for name in names:
            if self.history.declared and name not in self.history.declared:
                known = ", ".join(self.history.declared)
                raise InputError(f"a promise asks for operations named {name!r}. The system has: {known}.")
        return self._count(self.history.operations(*names), lambda operation: operation.name)

    def observed(self, *names: str) -> list[Event]:
        """All observations of these names, in order."""
        return self._count(self.history.observed(*names), lambda event: event.name)

    def faults(self, *names: str) -> list[Event]:
        """All beginnings and ends of faults (of these kinds), in order."""
        return self.history.faults(*names)

    def marked_at(self, name: str) -> float | None:
        """When the run entered a phase ("heal", "quiet"), or None."""
        return self.history.marked_at(name)

    def _count(self, found: list[T], name: Callable[[T], str]) -> list[T]:
        self.examined.update(_names(found, name))
        return found


def _names(found: Iterable[T], name: Callable[[T], str]) -> Iterable[str]:
    return (name(each) for each in found)
