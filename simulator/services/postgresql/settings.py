"""What SET and SHOW know: the few settings that drivers send, each with the values under which nothing else changes.

Only the timeouts and the application's name can really be set; the others take what they are already.
"""

import re
from collections.abc import Callable
from typing import NoReturn

import attrs

from simulator.services.postgresql.errors import PostgreSQLError, refuse

__all__ = ["ISOLATION", "REPORTED", "Settings", "canonical"]

VERSION = "15.18"
ISOLATION = "transaction_isolation"  # of the transaction, not the session
DURATION = re.compile(r"([-+]?[0-9]{1,18})\s*(ms|s|min|h|d)?")
UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
SIZES = tuple(reversed(UNITS_MS.items()))
INT_MAX = (1 << 31) - 1
NAME_BYTES_MAX = 63


def _only(*accepted: str) -> Callable[[str, str], str]:
    """Accept some ways to write the one value that is modelled, the first of them."""

    def read(name: str, value: str) -> str:
        if value.lower() not in [each.lower() for each in accepted]:
            refuse(f"{name} = {value!r} (only {accepted[0]!r})")
        return accepted[0]

    return read


def _as_written(*accepted: str) -> Callable[[str, str], str]:
    """Accept several values that come to the same."""

    def read(name: str, value: str) -> str:
        return value if value in accepted else refuse(f"{name} = {value!r} (only {', '.join(accepted)})")

    return read


def _plain_text(name: str, value: str) -> str:
    if not (value.isascii() and value.isprintable() and len(value) <= NAME_BYTES_MAX) and value:
        refuse(f"{name} = {value!r}, which is not plain or too long")
    return value


def _duration_from(least_ms: int) -> Callable[[str, str], str]:
    """Take a number of milliseconds, and show it as the server does: in the largest unit that leaves no rest."""

    def read(name: str, value: str) -> str:
        match = DURATION.fullmatch(value.strip())
        if match is None:
            _check_no_duration(name, value)
        number = int(match[1]) * UNITS_MS[match[2] or "ms"]
        if abs(number) > INT_MAX:
            raise _invalid(name, value)
        if number < least_ms:
            what = f'{number} ms is outside the valid range for parameter "{name}" ({least_ms} .. {INT_MAX})'
            raise PostgreSQLError("22023", what)
        return next((f"{number // size}{unit}" for unit, size in SIZES if number and number % size == 0), "0")

    return read


def _check_no_duration(name: str, value: str) -> NoReturn:
    if any(character.isdigit() for character in value):
        refuse(f"{name} = {value!r} (write a whole number of ms, s, min, h or d)")
    raise _invalid(name, value)


def _invalid(name: str, value: str) -> PostgreSQLError:
    return PostgreSQLError("22023", f'invalid value for parameter "{name}": "{value}"')


def _constant(name: str, value: str) -> str:
    raise PostgreSQLError("55P02", f'parameter "{name}" cannot be changed')


@attrs.frozen
class _Setting:
    name: str
    default: str
    read: Callable[[str, str], str]


KNOWN = {
    each.name.lower(): each
    for each in (
        _Setting("application_name", "", _plain_text),
        _Setting("client_encoding", "UTF8", _only("UTF8", "UTF-8")),
        _Setting("client_min_messages", "notice", _only("notice")),
        _Setting("DateStyle", "ISO, MDY", _only("ISO, MDY", "ISO,MDY", "ISO")),
        _Setting("deadlock_timeout", "1s", _duration_from(1)),
        _Setting("default_transaction_isolation", "read committed", _only("read committed")),
        _Setting("extra_float_digits", "1", _as_written("1", "2", "3")),
        _Setting("idle_in_transaction_session_timeout", "0", _duration_from(0)),
        _Setting("integer_datetimes", "on", _constant),
        _Setting("IntervalStyle", "postgres", _only("postgres")),
        _Setting("server_encoding", "UTF8", _constant),
        _Setting("server_version", VERSION, _constant),
        _Setting("standard_conforming_strings", "on", _only("on", "true", "1")),
        _Setting("statement_timeout", "0", _duration_from(0)),
        _Setting("TimeZone", "UTC", _as_written("UTC", "Etc/UTC")),
    )
}
# In the order in which the server tells them when a session begins; the rest of them never change.
REPORTED = (
    "application_name",
    "client_encoding",
    "DateStyle",
    "integer_datetimes",
    "IntervalStyle",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "TimeZone",
)


class Settings:
    """The settings of one session. What a transaction sets is undone when it is rolled back."""

    def __init__(self) -> None:
        self.changes = 0  # so far
        self._values: dict[str, str] = {}
        self._before: dict[str, str] | None = None  # the transaction
        self._after: dict[str, str] = {}  # the transaction, if it commits

    def show(self, name: str) -> str:
        """Return the value as SHOW tells it."""
        setting = _known(name)
        return self._values.get(setting.name, setting.default)

    def set(self, name: str, value: str | None, *, is_local: bool = False) -> None:
        """Set a value, or the default, for the session, or only until the end of the transaction."""
        setting = _known(name)
        if self._before is None:
            self._before = dict(self._values)
            self._after = dict(self._values)
        self._values[setting.name] = setting.default if value is None else setting.read(setting.name, value)
        self.changes += 1
        if not is_local:
            self._after[setting.name] = self._values[setting.name]

    def end_transaction(self, *, commits: bool) -> None:
        """Keep what was set for the session, or nothing."""
        if self._before is not None:
            self._values = self._after if commits else self._before
            self._before = None
            self.changes += 1

    @property
    def statement_timeout_s(self) -> float:
        """After how long a statement is cancelled; infinite for never."""
        return _seconds(self.show("statement_timeout")) or float("inf")

    @property
    def idle_timeout_s(self) -> float:
        """How long a client may leave a transaction lying; infinite for ever."""
        return _seconds(self.show("idle_in_transaction_session_timeout")) or float("inf")

    @property
    def deadlock_timeout_s(self) -> float:
        """After how long a wait is looked at for a deadlock."""
        return _seconds(self.show("deadlock_timeout"))


def canonical(name: str) -> str:
    """Return the name of a setting as its documentation writes it."""
    return name if name == ISOLATION else _known(name).name


def _known(name: str) -> _Setting:
    setting = KNOWN.get(name.lower())
    if setting is None:
        refuse(f"the setting {name} (only {', '.join(each.name for each in KNOWN.values())})")
    return setting


def _seconds(shown: str) -> float:
    match = DURATION.fullmatch(shown)
    assert match is not None
    return int(match[1]) * UNITS_MS[match[2] or "ms"] / 1000
