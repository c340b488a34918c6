"""A deployment as it can be struck: each deed by the first means that can do it, and how to undo it noted before."""

from collections.abc import Sequence
from typing import assert_never

from simulator.errors import EnvironmentFailedError, WavetankError
from simulator.live.deed import Deed, Means
from simulator.live.means.command import OwnCommand
from simulator.live.means.postgresql import PostgreSQL
from simulator.live.means.redis import Redis
from simulator.live.means.signals import Signals
from simulator.live.means.staging import Staging
from simulator.live.means.toxiproxy import Toxiproxy
from simulator.live.target import (
    AnyMeans,
    ByCommand,
    ByPostgreSQL,
    ByRedis,
    BySignals,
    ByStaging,
    ByToxiproxy,
    Target,
)
from simulator.live.undo import Leftovers, UndoJournal

__all__ = ["Deployment", "all_means", "undo_leftovers", "why_not"]


def _opened(described: AnyMeans, target: Target) -> Means:
    match described:
        case ByStaging():
            return Staging(described)
        case ByToxiproxy():
            return Toxiproxy(described.url, described.links)
        case BySignals():
            return Signals(described)
        case ByCommand():
            return OwnCommand(described)
        case ByRedis():
            return Redis(described, target)
        case ByPostgreSQL():
            return PostgreSQL(described, target)
    assert_never(described)


def all_means(target: Target) -> list[Means]:
    """Return what does things to a target, in the order of its file. Nothing is connected to yet."""
    return [_opened(each, target) for each in target.means]


def why_not(target: Target, deed: Deed) -> str | None:
    """Return None when a target has means for a deed, and otherwise why it has none."""
    reasons = [means.why_not(deed) for means in all_means(target)]
    if None in reasons:
        return None
    place = f"host {deed.at[0]}" if len(deed.at) == 1 else f"link {'->'.join(deed.at)}"
    return "; ".join(each for each in reasons if each) or f"the target declares no means for {place}"


class Deployment:
    """The means of a target, and what is to undo by each.

    Users' links are not in here: they are ours, and gone with us.
    """

    def __init__(self, target: Target, journal: UndoJournal) -> None:
        self.target = target
        self._means = all_means(target)
        self._journal = journal
        self._to_undo: dict[Deed, int] = {}  # and by which means, in the order in which it was done

    def links(self) -> list[tuple[str, str]]:
        """Return the links that can be slowed, each in the direction in which it is declared."""
        return [link for link in self.target.links() if self._can(Deed("delay", link))]

    def do(self, deed: Deed) -> None:
        """Do something, or undo it. Raises EnvironmentFailedError when that did not work."""
        number = self._to_undo.get(deed)
        if number is not None:
            self._undo(number, deed)
            return
        number = next(number for number, means in enumerate(self._means) if means.why_not(deed) is None)
        undo = deed.undoing()
        if undo is not None:
            self._journal.note(number, undo)
            self._to_undo[undo] = number
        self._means[number].do(deed)

    def hold_still(self, host: str) -> None:
        """Stop a host that is to be crashed next, if that can be done, so that all that it ever logs is read before."""
        freeze = Deed("freeze", (host,))
        means = next((each for each in self._means if each.why_not(freeze) is None), None)
        if means is not None:
            means.do(freeze)

    def messages_awaited(self, source: str, destination: str) -> int:
        """Return how many messages that were to be held on a link have not come."""
        return sum(means.messages_awaited(source, destination) for means in self._means)

    def processes(self) -> dict[str, int]:
        """Return the process ids of the hosts that run on this machine, as far as they are known."""
        found: dict[str, int] = {}
        for means in self._means:
            found = {**means.processes(), **found}
        return found

    def reset(self) -> None:
        """Bring everything to the state in which a run begins, as far as there are means for that."""
        for means in self._means:
            means.reset()

    def revive(self, broken: Sequence[str]) -> None:
        """Wait until all hosts are up again, but for the broken ones."""
        for means in self._means:
            means.revive(broken)

    def heal(self) -> None:
        """Undo everything, the last first. Raises EnvironmentFailedError in the end when some of it failed."""
        errors: list[WavetankError] = []
        for undo, number in reversed(list(self._to_undo.items())):
            try:
                self._undo(number, undo)
            except WavetankError as error:
                errors.append(error)
        _heal_all(self._means, errors)

    def close(self) -> None:
        """Let go of it. The journal stays when something could not be undone: `wavetank heal` tries again."""
        for means in self._means:
            means.close()
        self._journal.close(is_clean=not self._to_undo)

    def _can(self, deed: Deed) -> bool:
        return any(means.why_not(deed) is None for means in self._means)

    def _undo(self, number: int, undo: Deed) -> None:
        self._means[number].do(undo)
        del self._to_undo[undo]
        self._journal.note(number, undo, undone=True)


def undo_leftovers(left: Leftovers, target: Target) -> None:
    """Undo what a replay that is gone has left done, the last first, and all else that shows.

    Raises EnvironmentFailedError that names what could not be undone, when all else is.
    """
    means, errors = all_means(target), list[WavetankError]()
    for number, undo in left.undo:
        try:
            means[number].do(undo)
        except WavetankError as error:
            errors.append(error)
    _heal_all(means, errors)
    for each in means:
        each.close()


def _heal_all(means: Sequence[Means], errors: list[WavetankError]) -> None:
    for each in means:
        try:
            each.heal()
        except WavetankError as error:
            errors.append(error)
    if errors:
        raise EnvironmentFailedError("; ".join(str(error).rstrip(".") for error in errors) + ".")
