"""Command lines that end, freeze and start processes and containers: read as their programs do, never executed.

Known are docker, podman, systemctl, pkill and killall, and those of their options that change nothing here. Not
modelled: that what does not end in time is killed.
"""

import enum
import getopt
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import attrs

from simulator.errors import InputError

__all__ = ["Command", "Effect", "read_command"]


class Effect(enum.Enum):
    """What becomes of each that a command names."""

    CRASH = "crash"
    TERMINATE = "terminate"
    FREEZE = "freeze"
    START = "start"
    CONTINUE = "continue"


@attrs.frozen
class Command:
    """What a command line does to what it names; `restarts` if that is started again at once."""

    effect: Effect
    names: tuple[str, ...]
    restarts: bool = False


@attrs.frozen
class _Usage:
    """How a command is written: what it does if no option says otherwise, and its options in getopt's form."""

    effect: Effect
    options: tuple[str, ...] = ()
    restarts: bool = False
    only_forced: bool = False
    names_max: int | None = None


_SIGNAL = ("s:", "signal=")
_GRACE = ("t:", "time=", "timeout=")
_QUIETLY = ("q", "quiet", "no-block", "system", "user")
_CONTAINERS = {
    "kill": _Usage(Effect.CRASH, _SIGNAL),
    "stop": _Usage(Effect.TERMINATE, _GRACE),
    "rm": _Usage(Effect.CRASH, ("f", "force"), only_forced=True),
    "pause": _Usage(Effect.FREEZE),
    "restart": _Usage(Effect.TERMINATE, _GRACE, restarts=True),
    "unpause": _Usage(Effect.CONTINUE),
    "start": _Usage(Effect.START),
}
_UNITS = {
    "kill": _Usage(Effect.TERMINATE, (*_QUIETLY, *_SIGNAL)),
    "stop": _Usage(Effect.TERMINATE, _QUIETLY),
    "restart": _Usage(Effect.TERMINATE, _QUIETLY, restarts=True),
    "start": _Usage(Effect.START, _QUIETLY),
}
_MANAGERS: Mapping[str, Mapping[str, _Usage]] = {"docker": _CONTAINERS, "podman": _CONTAINERS, "systemctl": _UNITS}
_SIGNALLERS: Mapping[str, _Usage] = {
    "pkill": _Usage(Effect.TERMINATE, ("e", "echo", "f", "full", "x", "exact", "signal="), names_max=1),
    "killall": _Usage(Effect.TERMINATE, ("e", "exact", "q", "quiet", "v", "verbose", "w", "wait", *_SIGNAL)),
}
_SIGNALS = {
    "9": Effect.CRASH,
    "KILL": Effect.CRASH,
    "15": Effect.TERMINATE,
    "TERM": Effect.TERMINATE,
    "19": Effect.FREEZE,
    "STOP": Effect.FREEZE,
    "18": Effect.CONTINUE,
    "CONT": Effect.CONTINUE,
}
_DASHED_SIGNAL = re.compile(r"-(\d|[A-Z\d][A-Z\d+-]+)")
"""As pkill and killall take it: -9, -STOP, -SIGSTOP. A single letter is an option of theirs."""


def read_command(words: Sequence[str]) -> Command:
    """Read a command line. Raises InputError that says what of it is not known, without the line."""
    usage, rest = _usage(words)
    short = "".join(each for each in usage.options if len(each.rstrip(":")) == 1)
    long = [each for each in usage.options if len(each.rstrip(":")) > 1]
    try:
        options, names = getopt.gnu_getopt(rest, short, long)
    except getopt.GetoptError as error:
        raise InputError(str(error)) from error
    if usage.only_forced and not options:
        raise InputError("what runs is removed with -f only")
    if not names:
        raise InputError("it names nothing")
    if len(names) > (usage.names_max or len(names)):
        raise InputError(f"left over: {' '.join(names[usage.names_max :])}")
    return Command(_effect(usage, options), tuple(dict.fromkeys(names)), usage.restarts)


def _usage(words: Sequence[str]) -> tuple[_Usage, list[str]]:
    """Return how a command line is to be written, and what of it is left to read."""
    program, rest = PurePath(words[0]).name if words else "", [*words[1:]]
    if program in _SIGNALLERS:
        return _SIGNALLERS[program], [
            f"--signal={each[1:]}" if _DASHED_SIGNAL.fullmatch(each) else each for each in rest
        ]
    if program not in _MANAGERS:
        raise InputError(f"known: {', '.join([*_MANAGERS, *_SIGNALLERS])}")
    verb = next((each for each in rest if not each.startswith("-")), "")
    if verb not in _MANAGERS[program]:
        raise InputError(f"known of {program}: {', '.join(_MANAGERS[program])}")
    rest.remove(verb)
    return _MANAGERS[program][verb], rest


def _effect(usage: _Usage, options: Sequence[tuple[str, str]]) -> Effect:
    effect = usage.effect
    signals = [value for option, value in options if option in ("-s", "--signal")]
    if len(signals) > 1:
        raise InputError(f"several signals: {', '.join(signals)}")
    for signal in signals:
        known = _SIGNALS.get(signal.upper().removeprefix("SIG"))
        if known is None:
            raise InputError(f"the signal {signal!r} is no fault")
        effect = known
    for time in [value for option, value in options if option in ("-t", "--time", "--timeout")]:
        if re.fullmatch(r"-?\d+", time) is None:
            raise InputError(f"{time!r} is no time to end in")
        effect = usage.effect if int(time) else Effect.CRASH
    return effect
