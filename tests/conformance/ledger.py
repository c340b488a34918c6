"""What the conformance suite finds goes into the fidelity ledger, which `wavetank fidelity` prints."""

import os
from collections import defaultdict

import pytest

from simulator.errors import WavetankError
from simulator.fidelity import load_ledger

__all__ = ["Ledger"]

PLACE = "tests/conformance/test_"
SERVICES = {
    "redis": "redis",
    "postgresql": "postgres",
    "postgresql_troubles": "postgres",
    "clickhouse": "clickhouse",
    "clickhouse_current": "clickhouse",
    "clickhouse_troubles": "clickhouse",
    "llm": "llm",
}


class Ledger:
    """Gathers the outcomes of a session of tests. The workers of one tell it to their controller."""

    def __init__(self) -> None:
        self.agreed: defaultdict[str, list[str]] = defaultdict(list)
        self.differed: list[tuple[str, str, str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what one test came to."""
        module, _, case = report.nodeid.removeprefix(PLACE).partition(".py::")
        if report.when != "call" or not report.nodeid.startswith(PLACE) or module not in SERVICES:
            return
        if report.passed:
            self.agreed[SERVICES[module]].append(case)
        elif report.failed:
            self.differed.append((SERVICES[module], case, *sides_of(report)))

    def pytest_sessionfinish(self) -> None:
        """Write it down, unless nothing was compared or this is a worker."""
        if "PYTEST_XDIST_WORKER" in os.environ or not (self.agreed or self.differed):
            return
        try:
            ledger = load_ledger()
            for service, cases in self.agreed.items():
                ledger.agrees(service, cases)
            for difference in self.differed:
                ledger.differs(*difference)
            ledger.save()
        except WavetankError as error:
            print(f"the fidelity ledger was not written: {error}")


def sides_of(report: pytest.TestReport) -> tuple[str, str]:
    """Return what the simulated and the real service said, as far as the failed comparison tells them apart."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(crash.message if crash is not None else report.longreprtext)
    simulated, equals, real = message.removeprefix("AssertionError: ").removeprefix("assert ").partition(" == ")
    return (simulated, real.partition("\n")[0]) if equals else (message, "see the test")
