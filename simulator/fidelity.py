"""The fidelity ledger: where a simulated service was seen to differ from the real one, and since when."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from simulator.errors import InputError
from simulator.whole_file import write_whole

__all__ = ["LEDGER", "Difference", "Ledger", "Service", "load_ledger"]

LEDGER = Path(".wavetank") / "fidelity.json"
SAID_CHARACTERS_MAX = 400


class Difference(msgspec.Struct, forbid_unknown_fields=True):
    """One thing that a real service did otherwise. `since` and `last` are the dates on which it was seen to."""

    what: str
    expected: str
    real: str
    since: str
    last: str
    times: int = 1


class Service(msgspec.Struct, forbid_unknown_fields=True):
    """What is known of one simulated service: how many cases agreed when they were last compared, and what differs."""

    agreed: int = 0
    compared_on: str = ""
    differences: dict[str, Difference] = {}


class Ledger(msgspec.Struct, forbid_unknown_fields=True):
    """All that is known, by service; "system" has what no single service can be blamed for."""

    services: dict[str, Service] = {}

    def differs(self, service: str, what: str, expected: str, real: str) -> None:
        """Note that a real service did otherwise. What was known before keeps its first date."""
        known = self.services.setdefault(service, Service()).differences
        expected, real = expected[:SAID_CHARACTERS_MAX], real[:SAID_CHARACTERS_MAX]
        if what in known:
            known[what].last, known[what].expected, known[what].real = today(), expected, real
            known[what].times += 1
        else:
            known[what] = Difference(what, expected, real, today(), today())

    def agrees(self, service: str, compared: Sequence[str]) -> None:
        """Note that these cases do as the real one does: what was known to differ in them does no longer."""
        entry = self.services.setdefault(service, Service())
        entry.agreed, entry.compared_on = len(compared), today()
        for what in compared:
            entry.differences.pop(what, None)

    def save(self, path: Path = LEDGER) -> None:
        """Write the ledger, whole or not at all. Raises EnvironmentFailedError."""
        write_whole(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n", "the fidelity ledger")


def load_ledger(path: Path = LEDGER) -> Ledger:
    """Read a ledger; there is an empty one where none was written. Raises InputError for another file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ledger)
    except FileNotFoundError:
        return Ledger()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no fidelity ledger: {error}. Remove it; what differs is found again.") from error


def today() -> str:
    """Return the date, of UTC."""
    return datetime.now(UTC).date().isoformat()
