"""Deeds: the smallest things that can be done to a deployment, as data; and what a means of doing them is."""

from collections.abc import Sequence

import msgspec

__all__ = ["UNDONE_BY", "Deed", "Means"]

UNDONE_BY = {
    "crash": "restart",
    "terminate": "restart",
    "freeze": "thaw",
    "hold": "release",
    "refuse": "admit",
    "silence": "unsilence",
    "delay": "delay",
    "begin": "end",
    "hold-message": "release-message",
}
"""Which action undoes which. A delay is undone by one of no seconds; what is not listed is over at once ("reset")."""


class Deed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One action at one place: a host, or a link in the direction from its first host to its second.

    At a host: `crash`, `restart`, `terminate` (SIGTERM), `freeze`, `thaw`; `begin` and `end` a trouble of this `name`.
    On a link: `hold` and `release` what flows that way; `delay` it by `seconds`, in place of any delay before; `refuse`
    and `admit` new connections; `reset` the present ones; `silence` and `unsilence`: the present ones carry nothing and
    nobody is told, and new ones do not get through. `hold-message` keeps back the `nth` message from now on, and what
    follows it on its connection, for `seconds` at most, until `release-message`.
    """

    action: str
    at: tuple[str, ...]
    seconds: float = 0.0
    name: str = ""
    nth: int = 0

    def __str__(self) -> str:
        what = self.name or self.action
        return f"{what} {'->'.join(self.at)}"

    def undoing(self) -> "Deed | None":
        """Return what undoes this, or None for what is over at once. Deeds that one deed undoes have that in common."""
        if self.action not in UNDONE_BY:
            return None
        return msgspec.structs.replace(self, action=UNDONE_BY[self.action], seconds=0.0)


class Means:
    """One way of doing things to a deployment. Calls block for a moment; all but `why_not` may raise
    EnvironmentFailedError, when what is asked for is not done.
    """

    def why_not(self, deed: Deed) -> str | None:
        """Return None when it can be done in this way; otherwise why it cannot, "" when the place is not ours."""
        raise NotImplementedError

    def do(self, deed: Deed) -> None:
        """Do it. To undo what is not done does nothing."""
        raise NotImplementedError

    def probe(self) -> str:
        """Look, without touching anything, whether it would work, and say in a few words what is there."""
        raise NotImplementedError

    def messages_awaited(self, source: str, destination: str) -> int:
        """Return how many messages that were to be held on a link have not come."""
        return 0

    def processes(self) -> dict[str, int]:
        """Return the process ids of the hosts in our hands that run on this machine."""
        return {}

    def reset(self) -> None:
        """Bring what is in our hands to the state in which every run begins."""

    def revive(self, broken: Sequence[str]) -> None:
        """Wait until the hosts in our hands are up again, but for the broken ones."""

    def heal(self) -> None:
        """Undo all that was ever done in this way, also by a process that is gone, as far as that shows there."""

    def close(self) -> None:
        """Let go of connections. What was done stays done."""
