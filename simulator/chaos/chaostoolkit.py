"""Experiments of the Chaos Toolkit, as far as they do what can be done here too: the common kinds of them.

Actions: a process or container that is killed, stopped, paused, restarted (by a command that `command` knows), and
proxies of Toxiproxy that are disabled, or get a timeout or a latency (chaostoxi). HTTP probes look at a system from
outside: in their place stands what users see. Everything else is refused by name; nothing of a file is ever executed.
"""

import re
import shlex
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from simulator.chaos.command import Effect, read_command
from simulator.chaos.experiment import Action, Experiment, Pauses, Probe, Rollback, SteadyState
from simulator.errors import InputError
from simulator.fault import SLOW_EXTRA_S, Seconds
from simulator.system import System

__all__ = ["Imported", "from_chaos_toolkit"]

AS_USERS_SEE_IT = Probe("success_rate", "> 99%", during="any")
RESTART_S = 1.0
MILLISECONDS = 1000
T = TypeVar("T")

_NAME = re.compile(r"[\w.:@/ -]+")
"""What names a process, a container or a proxy, and is no pattern, and nothing that a shell would replace."""
_PASSED_OVER = {"version", "title", "description", "tags", "steady-state-hypothesis", "method", "rollbacks"} | {
    "contributions",
    "extensions",
    "runtime",
}


class _Pauses(msgspec.Struct, frozen=True):
    before: Seconds = 0.0
    after: Seconds = 0.0


class _Provider(msgspec.Struct, frozen=True):
    type: str = ""
    path: str = ""
    url: str = ""
    module: str = ""
    func: str = ""
    arguments: str | tuple[Any, ...] | dict[str, Any] = ()


class _Activity(msgspec.Struct, frozen=True):
    name: str = "nameless"
    type: str = ""
    provider: _Provider = _Provider()
    pauses: _Pauses = _Pauses()
    background: bool = False
    controls: tuple[Any, ...] = ()


class _Hypothesis(msgspec.Struct, frozen=True):
    title: str = ""
    probes: tuple[_Activity, ...] = ()


class _File(msgspec.Struct, frozen=True):
    """What is read of a file."""

    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    hypothesis: _Hypothesis | None = msgspec.field(default=None, name="steady-state-hypothesis")
    method: tuple[_Activity, ...] = ()
    rollbacks: tuple[_Activity, ...] | None = None


@attrs.frozen
class Imported:
    """An experiment that was the Toolkit's, and what of it is another now."""

    experiment: Experiment
    notes: tuple[str, ...]


@attrs.frozen
class _Done:
    """What one activity does: kinds of faults at places, or the end of what was done before at the same."""

    name: str
    key: str
    """By what the end of it is known: the host and its state, the proxy, or the toxic's name."""
    faults: tuple[str, ...] = ()
    places: tuple[tuple[str, ...], ...] = ()
    for_s: float | None = None
    note: str = ""
    """What of it is another than in the file, if it is done."""

    def is_end(self, lasting: Container[str]) -> bool:
        """Whether it ends something: what is down is started by a restart too."""
        return not self.faults or (self.for_s is not None and self.key in lasting)


class _Translation:
    """One experiment under translation: what must be refused is gathered, so that all of it is told at once."""

    def __init__(self, system: System) -> None:
        self.notes: list[str] = []
        self.refused: list[str] = []
        self._hosts = system.host_names()
        self._links = [edge for edge in system.topology().edges if "user" not in edge]
        self._terminable = {places[0] for places in system.possible_faults().get("terminate", ())}

    def probes(self, probes: Iterable[_Activity]) -> Iterator[Probe]:
        """Yield what stands for the probes of a steady state."""
        for each in probes:
            if each.provider.type != "http":
                self.refused.append(f"the probe {each.name!r}: provider {each.provider.type!r}")
                continue
            stands = f"{AS_USERS_SEE_IT.measure} {AS_USERS_SEE_IT.tolerance}"
            self.notes.append(
                f"the probe {each.name!r} asks {each.provider.url!r}; what users see is measured: {stands}"
            )
            yield msgspec.structs.replace(AS_USERS_SEE_IT, name=each.name)

    def method(self, activities: Iterable[_Activity]) -> tuple[list[Action], dict[str, list[str]]]:
        """Return the actions of a method, and the names of those that last until their rollback, by their keys.

        What ends within the method lasts for as long as the pauses in between.
        """
        actions: list[Action] = []
        lasting: dict[str, list[tuple[int, float]]] = {}
        now_s = 0.0
        for done, pauses in self._done(activities):
            now_s += pauses.before
            if done.is_end(lasting):
                for place, begun_s in self._ended(done, lasting):
                    if begun_s == now_s:
                        self.refused.append(f"{done.name!r}: it ends at once what was begun (pause before it)")
                    actions[place] = msgspec.structs.replace(actions[place], for_=now_s - begun_s)
                if actions:
                    actions[-1] = _paused(actions[-1], after_s=pauses.before + pauses.after)
            else:
                self.notes += [done.note] if done.note else []
                made = [
                    Action(f"{done.name}: {fault} {' to '.join(place)}", fault, place, done.for_s)
                    for fault in done.faults
                    for place in done.places
                ]
                if done.for_s is None:
                    lasts = [number for number, each in enumerate(made, len(actions)) if each.fault != "reset"]
                    lasting.setdefault(done.key, []).extend((number, now_s) for number in lasts)
                made[0] = _paused(made[0], before_s=pauses.before)
                made[-1] = _paused(made[-1], after_s=pauses.after)
                actions += made
            now_s += pauses.after
        return actions, {key: [actions[place].name for place, _ in places] for key, places in lasting.items()}

    def rollbacks(self, activities: Iterable[_Activity], lasting: dict[str, list[str]]) -> Iterator[Rollback]:
        """Yield the ends of what lasts (it is taken out there), and note what has none."""
        if lasting:
            self.notes.append("the steady state is judged when all is healed (the Toolkit judges it before rollbacks)")
        for done, pauses in self._done(activities):
            if done.is_end(lasting):
                names = self._ended(done, lasting)
                for name, kept in zip(names, _spread(pauses, len(names)), strict=True):
                    yield Rollback(name, Pauses(kept.before, kept.after))
            else:
                self.refused.append(f"the rollback {done.name!r}: it undoes nothing")
        for names in lasting.values():
            self.notes.append(f"nothing undoes {' and '.join(map(repr, names))}: healed when the method ends")

    def _ended(self, done: _Done, lasting: dict[str, list[T]]) -> list[T]:
        ended = lasting.pop(done.key, [])
        if done.key and not ended:
            self.notes.append(f"{done.name!r} is left out: nothing was done that it could end")
        return ended

    def _done(self, activities: Iterable[_Activity]) -> Iterator[tuple[_Done, _Pauses]]:
        """Yield what activities do, each to one host or proxy."""
        for each in activities:
            if each.type == "probe":
                self.notes.append(
                    f"the probe {each.name!r} of the method is left out: the steady state is measured all along"
                )
                yield _Done(each.name, ""), each.pauses
            elif each.background or each.controls:
                self.refused.append(f"{each.name!r}: {'background' if each.background else 'controls'}")
            else:
                try:
                    done = self._by_provider(each.name, each.provider)
                except InputError as error:
                    self.refused.append(f"{each.name!r}: {error}")
                else:
                    yield from zip(done, _spread(each.pauses, len(done)), strict=True)

    def _by_provider(self, name: str, provider: _Provider) -> list[_Done]:
        match provider.type:
            case "process":
                line = _line(provider)
                try:
                    return self._by_process(name, line)
                except (InputError, ValueError) as error:
                    raise InputError(f"{line or 'no command'} ({error})") from error
            case "python":
                return [self._by_toxiproxy(name, provider)]
            case other:
                raise InputError(f"provider {other!r}")

    def _by_process(self, name: str, line: str) -> list[_Done]:
        """Return what a command line does. Raises InputError, and ValueError for a quotation without an end."""
        command = read_command(shlex.split(line))
        hosts = {each: self._named_host(each) for each in command.names}
        unknown = [repr(each) for each, host in hosts.items() if host is None]
        if unknown:
            raise InputError(f"no host is named in {' and '.join(unknown)}")
        for_s = RESTART_S if command.restarts else None
        return [self._by_effect(name, command.effect, host, for_s) for host in dict.fromkeys(hosts.values()) if host]

    def _by_effect(self, name: str, effect: Effect, host: str, for_s: float | None) -> _Done:
        down, frozen = f"{host} is down", f"{host} is frozen"
        match effect:
            case Effect.START:
                return _Done(name, down)
            case Effect.CONTINUE:
                return _Done(name, frozen)
            case Effect.FREEZE:
                return _Done(name, frozen, ("freeze",), ((host,),))
            case Effect.TERMINATE if host not in self._terminable:
                note = f"{name!r}: {host} crashes, since it cannot be told to end"
                return _Done(name, down, ("crash",), ((host,),), for_s, note)
        return _Done(name, down, (effect.value,), ((host,),), for_s)

    def _by_toxiproxy(self, name: str, provider: _Provider) -> _Done:
        arguments = provider.arguments if isinstance(provider.arguments, Mapping) else {}
        proxy = str(arguments.get("proxy_name", arguments.get("for_proxy", "")))
        host = self._named_host(proxy)
        links = tuple(edge for edge in self._links if edge[1] == host)
        off, toxic = f"{proxy} is off", f"{proxy}/{arguments.get('toxic_name', '')}"
        match provider.module if links else "", provider.func:
            case "chaostoxi.proxy.actions", "disable_proxy":
                return _Done(name, off, ("reset", "refuse"), links)
            case "chaostoxi.proxy.actions", "enable_proxy":
                return _Done(name, off)
            case "chaostoxi.toxic.actions", "create_timeout_toxic":
                if arguments.get("timeout"):
                    self.notes.append(f"{name!r}: no connection is closed after {arguments['timeout']} ms here")
                return _Done(name, toxic, ("silence",), links)
            case "chaostoxi.toxic.actions", "create_latency_toxic":
                if arguments.get("latency") != SLOW_EXTRA_S * MILLISECONDS or arguments.get("jitter"):
                    varied = f" and a jitter of {arguments['jitter']} ms" if arguments.get("jitter") else ""
                    latency, extra = arguments.get("latency"), f"{SLOW_EXTRA_S * MILLISECONDS:g} ms"
                    self.notes.append(f"{name!r}: a latency of {latency} ms{varied} is one of {extra} here")
                return _Done(name, toxic, ("slow",), tuple((to, source) for source, to in links))
            case "chaostoxi.toxic.actions", "delete_toxic":
                return _Done(name, toxic)
        raise InputError(f"{provider.module}.{provider.func}")

    def _named_host(self, name: str) -> str | None:
        """Return the host that a process, a container or a proxy is named after."""
        if name in self._hosts:
            return name
        parts = re.split(r"[^a-z0-9]+", name.lower()) if _NAME.fullmatch(name) else []
        found = [host for host in self._hosts if host in parts]
        if len(found) != 1:
            return None
        self.notes.append(f"{name!r} is taken for {found[0]}")
        return found[0]


def from_chaos_toolkit(content: Mapping[str, Any], where: str, system: System) -> Imported:
    """Translate one. Raises InputError that names all that cannot be done here."""
    try:
        file = msgspec.convert(content, _File, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{where} is no experiment of the Chaos Toolkit: {error}. wavetank chaos --help shows one of wavetank's."
        ) from error
    translation, steady = _Translation(system), file.hypothesis or _Hypothesis()
    translation.refused += [f"the key {key!r}" for key in content if key not in _PASSED_OVER and content[key]]
    probes = tuple(translation.probes(steady.probes))
    method, lasting = translation.method(file.method)
    rollbacks = tuple(translation.rollbacks(file.rollbacks or (), lasting))
    if translation.refused:
        raise InputError(
            f"{where} is an experiment of the Chaos Toolkit that cannot be done here: "
            f"{'; '.join(translation.refused)}. Write it as one of wavetank's (wavetank chaos --help)."
        )
    experiment = Experiment(
        title=file.title or where,
        description=file.description,
        tags=file.tags,
        steady_state=SteadyState(probes or (AS_USERS_SEE_IT,), steady.title),
        method=tuple(method),
        rollbacks=rollbacks,
    )
    return Imported(experiment, tuple(dict.fromkeys(translation.notes)))


def _line(provider: _Provider) -> str:
    """Return a command line as it is typed: a string of arguments is the shell's, a list or mapping holds words."""
    match provider.arguments:
        case str(typed):
            return f"{provider.path} {typed}".strip()
        case dict(pairs):
            words = [word for pair in pairs.items() for word in pair if word not in (None, "")]
        case words:
            pass
    return f"{provider.path} {shlex.join(map(str, words))}".strip()


def _paused(action: Action, *, before_s: float = 0.0, after_s: float = 0.0) -> Action:
    """Return an action with more time around it."""
    pauses = Pauses(float(action.pauses.before) + before_s, float(action.pauses.after) + after_s)
    return msgspec.structs.replace(action, pauses=pauses)


def _spread(pauses: _Pauses, count: int) -> list[_Pauses]:
    """Return the pauses of each of many that are done at once: before the first, and after the last."""
    last = count - 1
    return [
        _Pauses(pauses.before if place == 0 else 0.0, pauses.after if place == last else 0.0) for place in range(count)
    ]
