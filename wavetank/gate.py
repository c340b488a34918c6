"""`wavetank gate`: may this be deployed, and is it well once it was? By evidence, of which nothing may be missing."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import click
import msgspec
import yaml

from simulator.errors import InputError
from simulator.load.sample import is_rate
from simulator.whole_file import write_whole
from wavetank.arguments import SECONDS
from wavetank.provenance import commit_here, provenance
from wavetank.results import FILE, as_json, check_writable, write_results

__all__ = ["gate"]

BLOCKED = 4
EVIDENCE = Path(".wavetank") / "evidence"
MAX_AGE = "24h"
WRONG_SHOWN_MAX = 3
OF_LEAKS = ("resources", "finishes")
"""Promises of which a leak breaks one, or keeps it from being judged."""

EPILOG = f"""
\b
Examples:
  wavetank matrix --json {EVIDENCE}/matrix.json          evidence is what commands write
  wavetank e2e --json {EVIDENCE}/e2e.json
  wavetank load --json {EVIDENCE}/load.json
  wavetank coverage --critical-only --json {EVIDENCE}/coverage.json
  wavetank chaos --all --json {EVIDENCE}/chaos.json
  wavetank gate pre                                      may it be deployed?
  wavetank gate pre --markdown summary.md                and a summary for a pull request
  wavetank gate post --alerts alerts.yaml                after it was, by evidence with --target

\b
What was made of another commit, is older than --max-age, or is not there counts as not shown.
Exit codes: 0 DEPLOY, {BLOCKED} BLOCK, 2 the evidence could not be read.
"""


@attrs.frozen
class Evidence:
    """One result that a command wrote: what it says, and what it is worth."""

    file: Path
    command: str
    made_at: datetime
    commit: str | None
    sha256: str
    body: Mapping[str, Any]

    def age_s(self, now: datetime) -> float:
        """How old it is."""
        return (now - self.made_at).total_seconds()

    @property
    def is_live(self) -> bool:
        """Whether it was made on a target."""
        return self.body.get("target") is not None


@attrs.frozen
class Item:
    """One item of a checklist: what it needs, and how that is read: nothing wrong, or what is."""

    name: str
    command: str
    wrong: Callable[[Mapping[str, Any]], Iterable[str]]
    live: bool = False


@attrs.frozen
class Checked:
    """An item, whether it is shown, by what, and why not."""

    item: str
    is_shown: bool
    why: str
    evidence: Evidence | None = None


@click.command(epilog=EPILOG)
@click.argument("when", type=click.Choice(["pre", "post"]))
@click.option(
    "--evidence",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=EVIDENCE,
    show_default=True,
    help="Where the results of commands are (--json).",
)
@click.option("--max-age", "max_age_s", type=SECONDS, default=MAX_AGE, show_default=True, help="Of any evidence.")
@click.option("--commit", help="What the evidence must be of  [the commit that is checked out]")
@click.option(
    "--alerts", "alerts_file", type=click.Path(path_type=Path, dir_okay=False), help="Prometheus rules (for post)."
)
@click.option("--markdown", "markdown_file", type=FILE, help="Write a summary for a pull request.")
@click.option("--json", "json_file", type=FILE, help="Write the result as JSON.")
def gate(
    when: str,
    directory: Path,
    max_age_s: float,
    commit: str | None,
    alerts_file: Path | None,
    markdown_file: Path | None,
    json_file: Path | None,
) -> int:
    """Decide by evidence whether something may be deployed (pre), or is well after it was (post)."""
    check_writable(json_file)
    check_writable(markdown_file)
    now, commit = datetime.now(UTC), commit or commit_here()
    known = _evidence_in(directory)
    items = PRE if when == "pre" else POST
    checked = [_checked(each, known, now, max_age_s, commit) for each in items]
    if when == "post":
        checked.insert(1, _alerts(alerts_file, known))
    verdict = "DEPLOY" if all(each.is_shown for each in checked) else "BLOCK"
    if when == "post":
        verdict = "HEALTHY" if verdict == "DEPLOY" else "BLOCK"
    click.echo(f"commit  {commit or 'unknown: not in a checkout'}\n")
    width = max(len(each.item) for each in checked)
    for each in checked:
        click.echo(f"{'✓' if each.is_shown else '✗'} {each.item:{width}}  {each.why or _source(each, now)}")
    click.echo(f"\n{verdict}")
    code = 0 if verdict != "BLOCK" else BLOCKED
    if markdown_file is not None:
        write_whole(markdown_file, "\n".join(_markdown(when, verdict, checked, commit, now)).encode(), "the summary")
    body = {
        **provenance("gate"),
        "when": when,
        "verdict": verdict,
        "exit_code": code,
        "items": [_as_json(each, now) for each in checked],
    }
    written = write_results(json_file, as_json(body))
    return code if code or written else 2


def _evidence_in(directory: Path) -> list[Evidence]:
    """Return what a directory holds, the latest first. Raises InputError for what cannot be read."""
    found = []
    for file in sorted(directory.glob("*.json")):
        try:
            data = file.read_bytes()
            body = msgspec.json.decode(data)
            made_at = datetime.fromisoformat(body["made_at"])
            command, commit = str(body["command"]), body["commit"]
        except (OSError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file} is no result of a command of wavetank: {error!r}. Remove it.") from error
        found.append(Evidence(file, command, made_at, commit, hashlib.sha256(data).hexdigest(), body))
    found.sort(key=lambda each: each.made_at, reverse=True)
    matrices = [each for each in found if each.command == "matrix"]
    return [each for each in found if each.command != "matrix"] + ([_merged(matrices)] if matrices else [])


def _merged(matrices: Sequence[Evidence]) -> Evidence:
    """Return parts of a matrix as one, which is as old as the oldest of the cells that count: the latest of each."""
    cells: dict[tuple[str, str], tuple[Evidence, Mapping[str, Any]]] = {}
    for each in matrices:
        for cell in each.body["cells"]:
            cells.setdefault((cell["component"], cell["kind"]), (each, cell))
    used = list(dict.fromkeys(each.file for each, _ in cells.values()))
    parts = [each for each in matrices if each.file in used]
    commits = dict.fromkeys(each.commit for each in parts)
    return Evidence(
        parts[0].file if len(parts) == 1 else parts[0].file.parent / "matrix*.json",
        "matrix",
        min(each.made_at for each in parts),
        next(iter(commits)) if len(commits) == 1 else "several",
        hashlib.sha256("".join(each.sha256 for each in parts).encode()).hexdigest(),
        {**parts[0].body, "cells": [cell for _, cell in cells.values()]},
    )


def _checked(item: Item, known: Sequence[Evidence], now: datetime, max_age_s: float, commit: str | None) -> Checked:
    """Look at the latest evidence of an item."""
    mine = [each for each in known if each.command == item.command and each.is_live >= item.live]
    where = " with --target" if item.live else ""
    if not mine:
        return Checked(item.name, False, f"MISSING: no result of wavetank {item.command}{where}")
    latest = mine[0]
    if latest.age_s(now) > max_age_s:
        hours = latest.age_s(now) / 3600
        return Checked(item.name, False, f"STALE: {latest.file} is {hours:.1f} hours old", latest)
    if commit is None or latest.commit is None or latest.commit != commit or commit.endswith("+"):
        why = f"{latest.file} is of commit {latest.commit or 'unknown'}, and this is {commit or 'unknown'}"
        return Checked(item.name, False, f"OTHER COMMIT: {why}", latest)
    wrong = list(item.wrong(latest.body))
    if wrong:
        more = f" and {len(wrong) - WRONG_SHOWN_MAX} more" if len(wrong) > WRONG_SHOWN_MAX else ""
        return Checked(item.name, False, f"{'; '.join(wrong[:WRONG_SHOWN_MAX])}{more}", latest)
    return Checked(item.name, True, "", latest)


# What is wrong, by the results of commands


def _cells(kind: str) -> Callable[[Mapping[str, Any]], Iterator[str]]:
    def wrong(body: Mapping[str, Any]) -> Iterator[str]:
        mine = [each for each in body["cells"] if each["kind"] == kind]
        done = [each["component"] for each in mine]
        yield from (f"no {kind} cell of {name}" for name in body["components"] if name not in done)
        for each in mine:
            if each["state"] != "holds":
                yield f"{each['component']} {each['state']}: {each['why'] or each['ran']}"

    return wrong


def _journeys(body: Mapping[str, Any]) -> Iterator[str]:
    for name, each in body["journeys"].items():
        if not each["walked"]:
            yield f"{name} was not walked"
        elif each["wrong"]:
            yield f"{name}: {each['wrong'][0]['what']}"
    yield from _violated(body)


def _violated(body: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"broke {name}" for name in body["violated"])
    if body.get("interrupted"):
        yield "it was interrupted"


def _objectives(keep: Callable[[str], bool] = lambda _measure: True) -> Callable[[Mapping[str, Any]], Iterator[str]]:
    def wrong(body: Mapping[str, Any]) -> Iterator[str]:
        mine = [each for each in body["objectives"] if keep(each["measure"])]
        if not mine:
            yield "there is no such objective"
        for each in mine:
            if each["met"] not in ("met", "only live"):
                yield f"{each['measure']} {each['objective']} is {each['met']}"
        yield from _violated(body)

    return wrong


def _leaks(body: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"the memory of {each['host']} grows" for each in body["growths"] if each["is_leak"])
    for name in OF_LEAKS:
        outcome = body["verdicts"].get(name, "holds")  # not every system promises that its resources come back
        if outcome != "holds":
            yield f"{name} is {outcome}"


def _breakers(body: Mapping[str, Any]) -> Iterator[str]:
    """Every move of every breaker must have been seen at one of the hosts that have it."""
    seen: dict[tuple[str, str], bool] = {}
    for each in body["goals"]:
        if each["kind"] == "transition" and each["name"].startswith("breaker of "):
            place, _, move = each["name"].partition(": ")
            breaker = place.removeprefix("breaker of ").partition(" at ")[0]
            seen[breaker, move] = seen.get((breaker, move), False) or each["reached"]
    if not seen:
        yield "no breaker was found"
    yield from (
        f"the breaker of {breaker} was never seen to go {move}" for (breaker, move), was in seen.items() if not was
    )
    yield from body["broken"]


def _rollback(body: Mapping[str, Any]) -> Iterator[str]:
    """The experiment in which versions change back and forth must have been done, and held."""
    journals = {name: each for name, each in body["journals"].items() if "rollback" in each["experiment"]["tags"]}
    if not journals:
        yield "no experiment with the tag rollback was done"
    for name, each in journals.items():
        outcome = each["wavetank"]["outcome"]
        if outcome != "held":
            yield f"{name} {outcome}" + "".join(f", broke {broken}" for broken in each["wavetank"]["violated"])


def _experiments(body: Mapping[str, Any]) -> Iterator[str]:
    for name, each in body["journals"].items():
        if each["wavetank"]["outcome"] != "held":
            yield f"{name} {each['wavetank']['outcome']}"


def _critical(body: Mapping[str, Any]) -> Iterator[str]:
    """Nothing that hosts logged may be an error, or break a promise; and there must have been something."""
    if not body["events"]:
        yield "nothing was logged"
    if body["errors"] is None:
        yield "errors were not looked for, since no target was observed"
    yield from body["errors"] or ()
    for each in body["properties"]:
        if each["outcome"] == "violated":
            yield f"broke {each['name']}"


def _is_latency(measure: str) -> bool:
    return not is_rate(measure) and measure not in ("memory", "cpu")


PRE = (
    Item("unit", "matrix", _cells("unit")),
    Item("integration", "matrix", _cells("integration")),
    Item("end-to-end", "e2e", _journeys),
    Item("objectives", "load", _objectives()),
    Item("no leaks", "load", _leaks),
    Item("breakers tested", "coverage", _breakers),
    Item("chaos", "chaos", _experiments),
    Item("rollback validated", "chaos", _rollback),
)
POST = (
    Item("smoke in staging", "e2e", _journeys, live=True),
    Item("error rate", "load", _objectives(lambda measure: measure in ("error_rate", "success_rate")), live=True),
    Item("response times", "load", _objectives(_is_latency), live=True),
    Item("no critical errors in logs", "observe", _critical),
)


def _alerts(file: Path | None, known: Sequence[Evidence]) -> Checked:
    """Look whether there is an alert for each objective: one that names its measure."""
    name = "alerts configured"
    if file is None:
        return Checked(name, False, "MISSING: no rules. Name their file with --alerts")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        rules = [rule for group in content["groups"] for rule in group["rules"] if "alert" in rule and rule.get("expr")]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{file} holds no Prometheus rules: {error!r}.") from error
    loads = [each for each in known if each.command == "load"]
    measures = [each["measure"] for each in loads[0].body["objectives"]] if loads else []
    if not measures:
        return Checked(
            name, False, "MISSING: without a result of wavetank load nobody knows for what there must be alerts"
        )
    lacking = [measure for measure in measures if not any(measure in yaml.safe_dump(rule) for rule in rules)]
    if lacking:
        return Checked(name, False, f"no alert names {', '.join(lacking)}")
    return Checked(name, True, f"{len(rules)} alerts in {file}")


# How it is told


def _source(checked: Checked, now: datetime) -> str:
    if checked.evidence is None:
        return ""
    minutes = checked.evidence.age_s(now) / 60
    return f"{checked.evidence.file}, {minutes:.0f} minutes old, sha256 {checked.evidence.sha256[:12]}"


def _as_json(checked: Checked, now: datetime) -> dict[str, object]:
    evidence = checked.evidence
    return {
        "item": checked.item,
        "shown": checked.is_shown,
        "why": checked.why,
        "file": str(evidence.file) if evidence is not None else None,
        "sha256": evidence.sha256 if evidence is not None else None,
        "commit": evidence.commit if evidence is not None else None,
        "age_s": evidence.age_s(now) if evidence is not None else None,
    }


def _markdown(when: str, verdict: str, checked: Sequence[Checked], commit: str | None, now: datetime) -> Iterator[str]:
    yield f"## {verdict} ({when}-deployment, commit `{(commit or 'unknown')[:12]}`)\n"
    yield "| | item | by |"
    yield "|---|---|---|"
    for each in checked:
        told = (each.why or _source(each, now)).replace("|", "\\|")
        yield f"| {'✓' if each.is_shown else '✗'} | {each.item} | {told} |"
    yield ""
