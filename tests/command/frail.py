"""A small system whose promise a crash breaks, and nothing else, for the tests of what coverage finds."""

from typing import ClassVar

from simulator import Reading, always
from tests.simulator.small import Quiet


class Frail(Quiet):
    """Two kinds of faults, one of which it was promised not to have."""

    fault_kinds: ClassVar[tuple[str, ...] | None] = ("crash", "freeze")

    @always
    def stands(self, history: Reading) -> str | None:
        """Nothing crashes."""
        crashed = [event.at_s for event in history.faults("crash") if event.data["phase"] == "begin"]
        return f"the server crashed {len(crashed)} times" if crashed else None


system = Frail()
