"""Live progress on long work: one line that is rewritten on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import Self

import click

from simulator.campaign import Budget
from simulator.plan import Plan
from simulator.property import Property, Violation
from simulator.statistics import Statistics

__all__ = ["Line", "Progress", "ShrinkProgress", "warn"]

TERMINAL_EVERY_S = 0.1
LOG_EVERY_S = 10.0
CLEARED = "\r\x1b[K"


class Line:
    """What is being done, on standard error; standard output is for the result."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._every_s = TERMINAL_EVERY_S if self._live else LOG_EVERY_S
        self._next_s = time.perf_counter() + self._every_s
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear()

    def show(self, line: str) -> None:
        """Tell how far it is, unless that was told a moment ago."""
        now_s = time.perf_counter()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._every_s
        if self._live:
            click.echo(f"{CLEARED}{line}", nl=False, err=True)
            self._shown = True
        else:
            click.echo(line, err=True)

    def clear(self) -> None:
        """Take the line away, so that something else can be written."""
        if self._shown:
            click.echo(CLEARED, nl=False, err=True)
            self._shown = False


def warn(sentence: str) -> None:
    """Say what does not end the work, on a line of its own."""
    click.echo(f"{CLEARED if sys.stderr.isatty() else ''}wavetank: {sentence}", err=True)


class ShrinkProgress(Line):
    """How small a failure is by now."""

    def reduced(self, plan: Plan, replays: int) -> None:
        """Note a smaller plan."""
        self.show(f"shrinking: {len(plan.steps)} steps left after {replays} replays")


class Progress(ShrinkProgress):
    """What a campaign is doing."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def ran(self, statistics: Statistics) -> None:
        """Note one more run."""
        of = f"/{self._budget.runs}" if self._budget.runs else ""
        rate = statistics.runs / statistics.real_s if statistics.real_s else 0.0
        left = _left(self._budget, statistics)
        held = sum(tally.held > 0 for tally in statistics.tallies.values())
        self.show(
            f"{statistics.runs}{of} runs, {rate:.1f}/s, {statistics.simulated_s:,.0f} simulated s, "
            f"{held} of {len(statistics.tallies)} properties held, {len(statistics.first_run):,} behaviours{left}"
        )

    def violated(self, broken: Property, violation: Violation, plan: Plan) -> None:
        """Tell at once what was found, before it is shrunk."""
        self.clear()
        click.echo(f"{broken.name} is violated: {violation.evidence}. Shrinking {len(plan.steps)} steps ...", err=True)


def _left(budget: Budget, statistics: Statistics) -> str:
    estimates = []
    if budget.max_time_s is not None:
        estimates.append(budget.max_time_s - statistics.real_s)
    if budget.runs is not None and statistics.runs:
        estimates.append((budget.runs - statistics.runs) * statistics.real_s / statistics.runs)
    return f", {max(0.0, min(estimates)):.0f} s left" if estimates else ""
