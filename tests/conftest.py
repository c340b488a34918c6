"""What holds for every test."""

import signal

import pytest

from tests.conformance.ledger import Ledger

# Who is started in the background of a shell ignores interrupts, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Have what is found of simulated services written down."""
    config.pluginmanager.register(Ledger(), "fidelity ledger")
