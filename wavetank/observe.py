"""`wavetank observe`: the promises of a system judged on what its hosts tell, live or in logs, driving nothing."""

import math
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import click
import msgspec
import trio

from simulator.errors import EnvironmentFailedError, InputError, known_names
from simulator.history import Event
from simulator.live.following import Follower
from simulator.live.recording import Recording, SessionWriter, Source
from simulator.live.target import Target, load_target
from simulator.monitor import EVENTS_MAX, Monitor
from simulator.property import Expectation, Outcome, Property
from simulator.system import System, load_system
from wavetank.arguments import DEFAULT_SYSTEM, SECONDS
from wavetank.driving import Driven
from wavetank.live import target_system
from wavetank.progress import Line, warn
from wavetank.provenance import provenance
from wavetank.report import examined_words
from wavetank.results import FILE, check_writable, write_results
from wavetank.ungrouped import run_ungrouped

__all__ = ["exit_code_of", "observe", "promise_line"]

JUDGED_EVERY_S = 1.0
WRITTEN_AT_ONCE = 1000
JUDGING_SHARE_MAX = 0.1
"""How much of the time may be spent on judging; when it takes long, it is done less often."""

EPILOG = f"""
\b
Neither users nor faults are seen, nor how it began. So only promises declared in_parts can be
judged (Property(..., in_parts=True), @always(in_parts=True)); the others are unknown, and that
is told. A recorded run that is whole, users and all, is judged by every promise.

\b
Each violation is told at once, and once; again only when it was gone in between. What a promise
examined is the most that it examined at once: of what is kept, the last --window (up to one and a
half of it, and {EVENTS_MAX:,} events at most). What took longer than that from its cause to its effect
is not seen as a violation. Judging takes a tenth of the time at most.

\b
Examples:
  wavetank observe --target target.toml                     until Ctrl-C (or SIGTERM)
  wavetank observe --target target.toml --for 10m --inspect at the end, look into the stores too
  wavetank observe --target target.toml --record seen.jsonl to judge it again, or to import it
  wavetank observe --log gateway-a=a.jsonl --log agents=b.jsonl
  wavetank observe --log seen.jsonl --property isolation

\b
Exit codes: 0 what could be judged holds, 1 a promise is broken, 2 could not run, or nothing could
be judged. Ctrl-C is how observing ends, and changes none of them; a second one, while the stores
are looked into, gives up: 130.
"""

ERRORS_SHOWN_MAX = 10


@click.command(epilog=EPILOG)
@click.option("--target", "target_file", type=click.Path(path_type=Path), help="Follow the deployment described here.")
@click.option("--log", "logs", multiple=True, metavar="[HOST=]FILE", help="Read this log, or recorded session, whole.")
@click.option("--for", "for_s", type=SECONDS, help="Stop after this time (90, 10m, 1h)  [until Ctrl-C]")
@click.option("--property", "properties", multiple=True, metavar="NAME", help="Judge only this property.")
@click.option(
    "--system", "system_name", metavar="SYSTEM", help=f"module:object  [a session's own, or {DEFAULT_SYSTEM}]"
)
@click.option(
    "--window", "window_s", type=SECONDS, default="30m", show_default=True, help="Judge the last so much time."
)
@click.option("--inspect", is_flag=True, help="Look into the target's stores at the end; changes nothing.")
@click.option("--record", "record_file", type=FILE, help="Write what is seen, as it comes, as a session.")
@click.option("--yes-really", is_flag=True, help="The target is meant, although it is not this machine.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def observe(
    target_file: Path | None,
    logs: tuple[str, ...],
    for_s: float | None,
    properties: tuple[str, ...],
    system_name: str | None,
    window_s: float,
    inspect: bool,
    record_file: Path | None,
    yes_really: bool,
    json_file: Path | None,
) -> int:
    """Judge what the hosts of a deployment tell, in their logs and metrics. Drives nothing, changes nothing."""
    check_writable(json_file)
    if (target_file is None) == (not logs):
        raise InputError("either --target FILE or --log [HOST=]FILE says what to observe. Give one of the two.")
    if target_file is not None:
        target, name = load_target(target_file), system_name or DEFAULT_SYSTEM
        system = target_system(load_system(name), target, confirmed=yes_really)
        seen = Driven(name, system, target, target_file)
        with _Watch(seen, properties, window_s, record_file) as watch:
            run_ungrouped(_follow, watch, system, target, for_s, inspect)
            return watch.conclude(json_file)
    if for_s is not None or inspect or yes_really:
        raise InputError("--for, --inspect and --yes-really are about a --target; logs are read to their end.")
    with Recording([Source.of(each) for each in logs]) as recording:
        name = system_name or recording.system or DEFAULT_SYSTEM
        system = load_system(name)
        _check_hosts(system, logs)
        with _Watch(Driven(name, system), properties, window_s, record_file) as watch:
            for recorded in recording:
                watch.take(recorded.event)
            return watch.conclude(json_file)


class _Watch:
    """A monitor whose findings are told as they come, and whose events are recorded if that is wanted."""

    def __init__(self, observed: Driven, properties: Sequence[str], window_s: float, record_file: Path | None) -> None:
        self.errors: list[str] | None = None
        """What logs told of errors; None where nobody looked for any."""
        self._monitor = Monitor(observed.system, _judged(observed.system, properties), window_s)
        self._line = Line()
        self._observed = observed
        self._is_complete = True
        self._session = SessionWriter(record_file, observed.name) if record_file is not None else None
        self._unwritten: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._line.clear()
        self._write()
        if self._session is not None:
            self._session.close()

    def take(self, event: Event) -> None:
        """Take an event."""
        self._unwritten.append(self._monitor.add(event))
        if len(self._unwritten) >= WRITTEN_AT_ONCE:
            self._write()
        if self._monitor.is_full:
            self._judge()
            self._monitor.drop()

    def warn(self, sentence: str) -> None:
        """Say what does not end the observation."""
        self._line.clear()
        warn(sentence)

    def fail(self, error: EnvironmentFailedError) -> None:
        """Say what could not be done, though the rest can."""
        self._is_complete = False
        self.warn(str(error))

    async def judge_now_and_then(self) -> None:
        """Judge every second, or less often if that takes long, until cancelled."""
        took_s = 0.0
        while True:
            await trio.sleep(max(JUDGED_EVERY_S, took_s / JUDGING_SHARE_MAX))
            begun_s = time.perf_counter()
            self._write()
            self._judge()
            took_s = time.perf_counter() - begun_s
            self._line.show(f"{self._monitor.count:,} events, judged in {took_s:.2f} s")

    def conclude(self, json_file: Path | None) -> int:
        """Judge for the last time, tell what each promise came to, and return the exit code."""
        self._judge(at_end=True)
        self._write()
        standings = self._monitor.standings
        width = max(len(each.promise.name) for each in standings)
        click.echo(f"\n{self._monitor.count:,} events in {self._monitor.latest_s:.1f} s")
        for each in standings:
            examined = f"examined {examined_words(each.examined)}"
            detail = f"because {each.missing}" if each.outcome is Outcome.UNKNOWN else examined
            click.echo(promise_line(each.promise, each.outcome, width, detail))
        outcomes = [each.outcome for each in standings]
        click.echo(_summary(outcomes))
        for error in (self.errors or ())[:ERRORS_SHOWN_MAX]:
            click.echo(f"LOGGED  {error}")
        if self.errors and len(self.errors) > ERRORS_SHOWN_MAX:
            click.echo(f"LOGGED  {len(self.errors) - ERRORS_SHOWN_MAX} more lines that tell of errors")
        exit_code = exit_code_of(outcomes, is_complete=self._is_complete)
        written = write_results(json_file, self._as_json(exit_code))
        return exit_code or (0 if written else 2)

    def _judge(self, *, at_end: bool = False) -> None:
        for each in self._monitor.judge(at_end=at_end):
            self._line.clear()
            try:
                click.echo(f"{each.at_s:10.3f} s  {each.property} is violated: {each.violation.evidence}")
            except OSError as error:  # whoever read it has gone
                raise EnvironmentFailedError(f"nothing more can be told: {error}.") from error

    def _write(self) -> None:
        events, self._unwritten = self._unwritten, []
        if self._session is None:
            return
        try:
            self._session.write(events)
        except EnvironmentFailedError as error:
            self._session.close()
            self._session = None
            self.fail(error)

    def _as_json(self, exit_code: int) -> bytes:
        """Return the result for machines: one JSON object."""
        body = {
            **provenance("observe", self._observed.name),
            **self._observed.told(),
            "exit_code": exit_code,
            "complete": self._is_complete,
            "events": self._monitor.count,
            "errors": self.errors,
            "lasted_s": self._monitor.latest_s,
            "properties": [
                {
                    "name": each.promise.name,
                    "expectation": each.promise.expectation.value,
                    "outcome": each.outcome.value,
                    "examined": dict(each.examined),
                    "missing": each.missing if each.outcome is Outcome.UNKNOWN else "",
                    "violations": [
                        {"at_s": seen.at_s, "site": seen.violation.site, "evidence": seen.violation.evidence}
                        for seen in each.violations
                    ],
                }
                for each in self._monitor.standings
            ],
        }
        return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


async def _follow(watch: _Watch, system: System, target: Target, for_s: float | None, inspect: bool) -> None:
    """Follow a target until the time is up or a signal comes; then look into its stores, if that is wanted."""
    follower = Follower(system, target, watch.take, watch.warn)
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            click.echo(f"observing {follower.what}; {'until Ctrl-C' if for_s is None else f'for {for_s:g} s'}")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follower.follow)
                nursery.start_soon(watch.judge_now_and_then)
                with trio.move_on_after(math.inf if for_s is None else for_s):
                    async for _ in signals:
                        break
                nursery.cancel_scope.cancel()
        follower.read_logs()
        if inspect:
            try:
                await follower.inspect()
            except EnvironmentFailedError as error:
                watch.fail(error)
    finally:
        watch.errors = follower.errors
        follower.close()


def _check_hosts(system: System, logs: Sequence[str]) -> None:
    """Raise InputError for a log that is said to be of a host that there is not."""
    known = system.host_names()
    for source in map(Source.of, logs):
        if source.host and source.host not in known:
            raise InputError(
                f"{source.path} is said to be of host {source.host!r}. {known_names(known, 'the hosts of the system')}"
            )


def _judged(system: System, names: Sequence[str]) -> list[Property]:
    """Return the promises that one history can break."""
    chosen = system.chosen_properties(names)
    judged = [each for each in chosen if each.expectation is not Expectation.SOMETIMES]
    if not judged:
        raise InputError(
            f"{', '.join(names)} must be reached in some run, and cannot be broken. Name other properties."
        )
    return judged


def promise_line(promise: Property, outcome: Outcome, width: int, detail: str) -> str:
    """Return the line of a report that says what one promise came to; `width` is that of the longest name."""
    word = "holds" if outcome is Outcome.HOLDS else outcome.value.upper()
    return f"{word:11}  {promise.expectation.value:10}  {promise.name:{width}}  {detail}"


def exit_code_of(outcomes: Sequence[Outcome], *, is_complete: bool = True) -> int:
    """Return what outcomes mean to a script: a violation first; nothing judged, or not all done, is no success."""
    if Outcome.VIOLATED in outcomes:
        return 1
    return 0 if Outcome.HOLDS in outcomes and is_complete else 2


def _summary(outcomes: Sequence[Outcome]) -> str:
    judged = [each for each in outcomes if each is not Outcome.UNKNOWN]
    violated = outcomes.count(Outcome.VIOLATED)
    what = f"{violated} violated" if violated else "all of these hold" if judged else "nothing could be judged"
    return f"{len(judged)} of {len(outcomes)} promises could be judged: {what}"
