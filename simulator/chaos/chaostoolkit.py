"""Experiments of the Chaos Toolkit, as far as they do what can be done here too: the common kinds of them.

Actions: a process or container that is killed, stopped, paused, restarted (docker, podman, systemctl, pkill, killall),
and proxies of Toxiproxy that are disabled, or get a timeout or a latency (chaostoxi). HTTP probes look at a system from
outside: in their place stands what users see. Everything else is refused by name; nothing of a file is ever executed.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NoReturn

import attrs
import msgspec

from simulator.chaos.experiment import Action, Experiment, Pauses, Probe, Rollback, SteadyState
from simulator.errors import InputError
from simulator.fault import SLOW_EXTRA_S
from simulator.system import System

__all__ = ["Imported", "from_chaos_toolkit"]

AS_USERS_SEE_IT = Probe("success_rate", "> 99%", during="any")
RESTART_S = 1.0
MILLISECONDS = 1000

KILLS, STOPS, FREEZES, RESTARTS, ENDS = "crash", "terminate", "freeze", "restart", "end"
_CONTAINERS = {
    "kill": KILLS,
    "stop": STOPS,
    "rm": KILLS,
    "pause": FREEZES,
    "restart": RESTARTS,
    "unpause": ENDS,
    "start": ENDS,
}
_COMMANDS: Mapping[str, Mapping[str, str]] = {
    "docker": _CONTAINERS,
    "podman": _CONTAINERS,
    "systemctl": {"kill": KILLS, "stop": STOPS, "restart": RESTARTS, "start": ENDS},
}
_SIGNALS = {"9": KILLS, "KILL": KILLS, "15": STOPS, "TERM": STOPS, "19": FREEZES, "STOP": FREEZES, "18": ENDS}
_SIGNALS |= {"CONT": ENDS}
_SIGNALLERS = ("pkill", "killall")
_PASSED_OVER = {"version", "title", "description", "tags", "steady-state-hypothesis", "method", "rollbacks"} | {
    "contributions",
    "extensions",
    "runtime",
}


@attrs.frozen
class Imported:
    """An experiment that was the Toolkit's, and what of it is another now."""

    experiment: Experiment
    notes: tuple[str, ...]


@attrs.frozen
class _Done:
    """What one activity does: kinds of faults at places, or the end of what was done before at the same."""

    name: str
    faults: tuple[str, ...]
    places: tuple[tuple[str, ...], ...]
    key: str
    """By what the end of it is known: the host, or the toxic's name."""
    for_s: float | None = None


class _Translation:
    """One experiment under translation: what must be refused is gathered, so that all of it is told at once."""

    def __init__(self, system: System) -> None:
        self.notes: list[str] = []
        self.refused: list[str] = []
        self._hosts = system.host_names()
        self._links = [edge for edge in system.topology().edges if "user" not in edge]
        self._terminable = {places[0] for places in system.possible_faults().get("terminate", ())}

    def actions(self, activities: Iterable[Mapping[str, Any]]) -> Iterator[tuple[_Done, Pauses]]:
        """Yield what a list of activities does."""
        for each in activities:
            name = str(each.get("name", "nameless"))
            pauses = each.get("pauses", {})
            kept = Pauses(pauses.get("before", 0.0), pauses.get("after", 0.0))
            if each.get("type") == "probe":
                self.notes.append(
                    f"the probe {name!r} of the method is left out: the steady state is measured all along"
                )
            elif each.get("background"):
                self.refused.append(f"{name!r}: background")
            else:
                done = self._done(name, each.get("provider", {}))
                if done is not None:
                    yield done, kept

    def probes(self, probes: Iterable[Mapping[str, Any]]) -> Iterator[Probe]:
        """Yield what stands for the probes of a steady state."""
        for each in probes:
            name, provider = str(each.get("name", "nameless")), each.get("provider", {})
            if provider.get("type") != "http":
                self.refused.append(f"the probe {name!r}: provider {provider.get('type')!r}")
                continue
            stands = f"{AS_USERS_SEE_IT.measure} {AS_USERS_SEE_IT.tolerance}"
            self.notes.append(f"the probe {name!r} asks {provider.get('url')!r}; what users see is measured: {stands}")
            yield msgspec.structs.replace(AS_USERS_SEE_IT, name=name)

    def _done(self, name: str, provider: Mapping[str, Any]) -> _Done | None:
        match provider.get("type"):
            case "process":
                done = self._by_process(name, _words(provider))
            case "python":
                done = self._by_toxiproxy(name, provider)
            case _:
                done = None
        if done is None:
            self.refused.append(f"{name!r}: {_described(provider)}")
        return done

    def _by_process(self, name: str, words: Sequence[str]) -> _Done | None:
        program, options = PurePath(words[0]).name if words else "", words[1:]
        named = [word for word in options if not word.startswith("-")]
        if program in _SIGNALLERS and named:
            signals = [word.lstrip("-").removeprefix("SIG") for word in options if word.startswith("-")]
            does = next((_SIGNALS[each] for each in signals if each in _SIGNALS), STOPS)
        elif program in _COMMANDS and len(named) > 1:
            does = _COMMANDS[program].get(named[0], "")
        else:
            return None
        host = self._named_host(named[-1])
        if not does or host is None:
            return None
        if does == ENDS:
            return _Done(name, (), ((host,),), host)
        for_s = RESTART_S if does == RESTARTS else None
        kind = STOPS if does == RESTARTS else does
        if kind == STOPS and host not in self._terminable:
            self.notes.append(f"{name!r}: {host} crashes, since it cannot be told to end")
            kind = KILLS
        return _Done(name, (kind,), ((host,),), host, for_s)

    def _by_toxiproxy(self, name: str, provider: Mapping[str, Any]) -> _Done | None:
        arguments = provider.get("arguments", {})
        proxy = str(arguments.get("proxy_name", arguments.get("for_proxy", "")))
        host = self._named_host(proxy)
        links = tuple(edge for edge in self._links if edge[1] == host)
        toxic = f"{proxy}/{arguments.get('toxic_name', '')}"
        if not links:
            return None
        match provider.get("module"), provider.get("func"):
            case "chaostoxi.proxy.actions", "disable_proxy":
                return _Done(name, ("reset", "refuse"), links, proxy)
            case "chaostoxi.proxy.actions", "enable_proxy":
                return _Done(name, (), links, proxy)
            case "chaostoxi.toxic.actions", "create_timeout_toxic":
                return _Done(name, ("silence",), links, toxic)
            case "chaostoxi.toxic.actions", "create_latency_toxic":
                if arguments.get("latency") != SLOW_EXTRA_S * MILLISECONDS:
                    extra = f"{SLOW_EXTRA_S * MILLISECONDS:g} ms"
                    self.notes.append(f"{name!r}: a latency of {arguments.get('latency')} ms is one of {extra} here")
                return _Done(name, ("slow",), tuple((to, source) for source, to in links), toxic)
            case "chaostoxi.toxic.actions", "delete_toxic":
                return _Done(name, (), links, toxic)
        return None

    def _named_host(self, name: str) -> str | None:
        """Return the host that a process, a container or a proxy is named after."""
        if name in self._hosts:
            return name
        parts = re.split(r"[^a-z0-9]+", name.lower())
        found = [host for host in self._hosts if host in parts]
        return found[0] if len(found) == 1 else None


def from_chaos_toolkit(content: Mapping[str, Any], where: str, system: System) -> Imported:
    """Translate one. Raises InputError that names all that cannot be done here."""
    translation = _Translation(system)
    translation.refused += [f"the key {key!r}" for key in content if key not in _PASSED_OVER and content[key]]
    steady = content.get("steady-state-hypothesis") or {}
    try:
        probes = tuple(translation.probes(steady.get("probes", ())))
        method = [*translation.actions(content.get("method", ()))]
        rolled = [*translation.actions(content.get("rollbacks") or ())]
    except (AttributeError, TypeError) as error:
        raise InputError(f"{where} is no experiment of the Chaos Toolkit: {error}.") from error
    if translation.refused:
        _refuse(where, translation.refused)
    actions, ended = _actions(method)
    rollbacks = []
    for done, pauses in rolled:
        if done.faults:
            _refuse(where, [f"the rollback {done.name!r}: it undoes nothing"])
        rollbacks += [Rollback(name, pauses) for name in ended.get(done.key, ())]
    experiment = Experiment(
        title=str(content.get("title", where)),
        description=str(content.get("description", "")),
        tags=tuple(map(str, content.get("tags", ()))),
        steady_state=SteadyState(probes or (AS_USERS_SEE_IT,), str(steady.get("title", ""))),
        method=tuple(actions),
        rollbacks=tuple(rollbacks),
    )
    return Imported(experiment, tuple(translation.notes))


def _actions(method: Sequence[tuple[_Done, Pauses]]) -> tuple[list[Action], dict[str, list[str]]]:
    """Return the actions of a method, and the names of those that last until their rollback, by their keys.

    What ends within the method lasts for as long as the pauses in between.
    """
    actions: list[Action] = []
    lasting: dict[str, list[tuple[int, float]]] = {}
    now_s = 0.0
    for done, pauses in method:
        now_s += float(pauses.before)
        if not done.faults:
            for place, begun_s in lasting.pop(done.key, ()):
                actions[place] = msgspec.structs.replace(actions[place], for_=now_s - begun_s)
            if actions:
                after_s = float(actions[-1].pauses.after) + float(pauses.before) + float(pauses.after)
                kept = Pauses(actions[-1].pauses.before, after_s)
                actions[-1] = msgspec.structs.replace(actions[-1], pauses=kept)
        else:
            made = [
                Action(f"{done.name}: {fault} {' to '.join(place)}", fault, place, done.for_s)
                for fault in done.faults
                for place in done.places
            ]
            made[0] = msgspec.structs.replace(made[0], pauses=Pauses(before=pauses.before))
            if done.for_s is None:
                lasts = [number for number, each in enumerate(made, len(actions)) if each.fault != "reset"]
                lasting.setdefault(done.key, []).extend((number, now_s) for number in lasts)
            actions += made
            last = actions[-1]
            actions[-1] = msgspec.structs.replace(last, pauses=Pauses(last.pauses.before, pauses.after))
        now_s += float(pauses.after)
    return actions, {key: [actions[place].name for place, _ in places] for key, places in lasting.items()}


def _words(provider: Mapping[str, Any]) -> list[str]:
    arguments = provider.get("arguments", [])
    if isinstance(arguments, Mapping):
        arguments = [str(word) for pair in arguments.items() for word in pair if word not in (None, "")]
    words = shlex.split(arguments) if isinstance(arguments, str) else [str(each) for each in arguments]
    return [*shlex.split(str(provider.get("path", ""))), *words]


def _described(provider: Mapping[str, Any]) -> str:
    match provider.get("type"):
        case "process":
            return shlex.join(_words(provider)) or "no command"
        case "python":
            return f"{provider.get('module')}.{provider.get('func')}"
        case other:
            return f"provider {other!r}"


def _refuse(where: str, refused: Sequence[str]) -> NoReturn:
    raise InputError(
        f"{where} is an experiment of the Chaos Toolkit that cannot be done here: {'; '.join(refused)}. "
        "Write it as one of wavetank's (wavetank chaos --help)."
    )
