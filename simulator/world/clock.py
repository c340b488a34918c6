"""Virtual time: it stands still while anything can run, and jumps to the next event when nothing can."""

import heapq
import math
from collections.abc import Callable

import trio

__all__ = ["Timer", "VirtualClock"]


class Timer:
    """One callback due at one instant."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Make sure that the action will not be called."""
        self.action = None


class VirtualClock(trio.abc.Clock):
    """The clock of one world, in seconds since its beginning.

    Deliveries and delays are timers of this clock instead of sleeping tasks: a timer costs a fifth of a task. Trio
    asks `deadline_to_sleep_time` exactly when nothing is runnable, so that is where time jumps. It never jumps
    beyond `horizon_s`; reaching the horizon sets `idle`, which tells the pump to stop.
    """

    def __init__(self, on_jump: Callable[[float], None]) -> None:
        self.now_s = 0.0
        self.horizon_s = 0.0
        self.idle = False
        self.error: BaseException | None = None  # what an action raised; the pump raises it where the world is driven
        self.before_jump: Callable[[], float | None] = lambda: None  # what to answer Trio at once, instead of a jump
        self._on_jump = on_jump
        # Ties are broken by the order in which timers were made: (when due, that order, timer).
        self._timers: list[tuple[float, int, Timer]] = []
        self._sequence = 0

    def call_after(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Call `action` once, `delay_s` from now. It runs between tasks."""
        return self.call_at(self.now_s + delay_s, action)

    def call_at(self, due_s: float, action: Callable[[], None]) -> Timer:
        """Call `action` once, when the clock reaches `due_s`."""
        self._sequence += 1
        timer = Timer(action)
        heapq.heappush(self._timers, (due_s, self._sequence, timer))
        return timer

    def next_timer_s(self) -> float:
        """When the earliest live timer is due; infinity when there is none."""
        timers = self._timers
        while timers and timers[0][2].action is None:
            heapq.heappop(timers)
        return timers[0][0] if timers else math.inf

    def start_clock(self) -> None:
        """Do nothing: the clock began when it was made."""

    def current_time(self) -> float:
        """Return the seconds since the world began."""
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump to what happens next, and never let Trio sleep for real."""
        answer_s = self.before_jump()
        if answer_s is not None:
            return answer_s
        due_s = self.next_timer_s()
        next_s = min(due_s, deadline)
        if next_s > self.horizon_s or next_s == math.inf:
            self.idle = True
            if self.horizon_s != math.inf:
                self._jump(self.horizon_s)
            return 0
        self._jump(next_s)
        if due_s <= next_s:
            self._fire()
        return 0

    def _jump(self, to_s: float) -> None:
        if to_s > self.now_s:
            self.now_s = to_s
            self._on_jump(to_s)

    def _fire(self) -> None:
        """Call every timer that is due now, also those that the called ones add for this very instant."""
        timers = self._timers
        while timers and timers[0][0] <= self.now_s:
            action = heapq.heappop(timers)[2].action
            if action is not None:
                try:
                    action()
                except BaseException as error:  # inside Trio's loop it would be the end of the run
                    self.error, self.idle = error, True
                    return
