"""The recorder: writes down what a storm does as explicit deviations from calm, so that they can be made fewer."""

from collections import Counter
from collections.abc import Callable, Sequence

import attrs
import trio

from simulator.deviation import Delay, Deviation, Hold

__all__ = ["Recorder"]

EXCERPT_MAX = 40


@attrs.define(eq=False)
class _Turn:
    """One turn of a task: which, and of all picks the number of the one that gave it."""

    task: str
    nth: int
    what: str
    pick: int


class Recorder:
    """What was chosen since each step began. `steps` has the deviations of each weather, the first before any step.

    Only the order of tasks on one host is written down: hosts share nothing but messages, so steps of two hosts at
    one instant cannot conflict. Of tasks of one host that were runnable together, each waits for the one that ran
    before it: with all these deviations the order is the same again, and with fewer the rest of it is calm.
    """

    def __init__(self) -> None:
        self.steps: list[list[Deviation]] = [[]]
        self._clear()

    def _clear(self) -> None:
        self._picks = 0
        self._turns: Counter[str] = Counter()
        self._runnable_since: dict[trio.lowlevel.Task, int] = {}
        self._last_on: dict[str, _Turn] = {}  # by host

    def begin_step(self) -> None:
        """Begin to write down the next step's weather."""
        self.steps.append([])
        self._clear()

    def picked(
        self, runnable: Sequence[trio.lowlevel.Task], chosen: int, name_of: Callable[[trio.lowlevel.Task], str]
    ) -> None:
        """Write down which of the runnable tasks was picked."""
        self._picks += 1
        for each in runnable:
            self._runnable_since.setdefault(each, self._picks)
        task = runnable[chosen]
        name = name_of(task)
        host = name.partition(" ")[0]
        self._turns[name] += 1
        turn = _Turn(name, self._turns[name], task.name.rpartition(".")[2], self._picks)
        before = self._last_on.get(host)
        if before is not None and before.task != name and self._runnable_since[task] <= before.pick:
            self.steps[-1].append(Delay(name, turn.nth, before.task, before.nth, turn.what, before.what))
        self._last_on[host] = turn
        del self._runnable_since[task]

    def sent(self, source: str, destination: str, nth: int, late_s: float, item: object) -> None:
        """Write down that a message was late, and what is in it."""
        if late_s:
            self.steps[-1].append(Hold(source, destination, nth, late_s, _excerpt(item)))


def _excerpt(item: object) -> str:
    if item is None:
        return "opens a connection"
    if not isinstance(item, bytes):
        return str(getattr(item, "value", ""))
    text = " ".join(item.decode("ascii", "replace").split())
    return text[:EXCERPT_MAX] if text.isprintable() and "\ufffd" not in text else f"{len(item)} bytes"
