"""`wavetank gate`: may this be deployed, and is it well once it was? By evidence, of which nothing may be missing."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import click

from simulator.live.target import load_target
from wavetank.arguments import DEPLOYED_SYSTEM, SECONDS
from wavetank.checklist import POST, PRE, Item, Rules, read_rules
from wavetank.evidence import Evidence, evidence_in, least_scale, whole
from wavetank.provenance import changed_here, commit_here, provenance
from wavetank.results import FILE, as_json, check_writable, write_results

__all__ = ["gate"]

BLOCKED = 4
EVIDENCE = Path(".wavetank") / "evidence"
MAX_AGE = "24h"
SHOWN_MAX = 3
CLOCKS_DIFFER_S = 60.0
ALERTS = "alerts configured"

EPILOG = f"""
\b
Examples:
  wavetank matrix --json {EVIDENCE}/matrix.json          evidence is what commands write
  wavetank e2e --json {EVIDENCE}/e2e.json
  wavetank load --json {EVIDENCE}/load.json
  wavetank coverage {DEPLOYED_SYSTEM} --critical-only --generate \\
      --json {EVIDENCE}/coverage.json
  wavetank chaos --all --json {EVIDENCE}/chaos.json
  wavetank gate pre                                      may it be deployed?
  wavetank gate pre --markdown .wavetank/summary.md      and a summary for a pull request
  wavetank observe --system {DEPLOYED_SYSTEM} --target target.toml --for 10m \\
      --json {EVIDENCE}/observe.json
  wavetank gate post --target target.toml --alerts alerts.yaml   after it was, by that target's

\b
All must be there that the system comes with: components, journeys, objectives, promises, and
experiments, of which only those that cannot be done on a target may be left out, by name. What
failed counts until the same was shown again on the same target, or simulated. What is damaged,
was made of another commit (of the code that was tested), system or with defects, did not end with
exit code 0, is older than --max-age, or is not there counts as not shown. Without --target, post
wants all of one target: that of the newest evidence.
Exit codes: 0 DEPLOY, {BLOCKED} BLOCK, 2 the result could not be written, or an option makes no sense.
"""


@attrs.frozen
class Checked:
    """An item, why it is not shown, by what it was looked at, and what should be known beside."""

    item: str
    why: str = ""
    evidence: Evidence | None = None
    aside: str = ""

    @property
    def is_shown(self) -> bool:
        """Whether nothing is wrong."""
        return not self.why


@attrs.frozen
class Wanted:
    """What evidence must be: how old at most, of which commit, system, and target if it is live."""

    now: datetime
    age_s_max: float
    commit: str | None
    system: str
    target: Path | str | None
    target_sha256: str | None

    def is_of_target(self, each: Evidence) -> bool:
        """Say whether evidence is simulated, or of the target that is wanted, if one is."""
        return not each.is_live or self.target is None or each.result.target_sha256 == self.target_sha256

    def refusal(self, each: Evidence) -> str:
        """Say why evidence shows nothing, whatever it says; nothing if it may."""
        result, age_s = each.result, each.age_s(self.now)
        if age_s < -CLOCKS_DIFFER_S:
            return f"OF THE FUTURE: {each.file} was made at {result.made_at.isoformat()}, by a clock that is wrong"
        if age_s > self.age_s_max:
            return f"STALE: {each.file} is {age_s / 3600:.1f} hours old"
        if result.commit is None and result.module is not None:
            return f"OTHER COMMIT: {each.file} is of {result.module}, which no repository keeps"
        if result.commit is None or self.commit != result.commit or result.commit.endswith("+"):
            commits = f"commit {result.commit or 'unknown'}, and this is {self.commit or 'unknown'}"
            return f"OTHER COMMIT: {each.file} is of {commits}"
        if result.system != self.system:
            return f"OTHER SYSTEM: {each.file} is of {result.system}, and this is about {self.system} (--system)"
        return ""


@click.command(epilog=EPILOG)
@click.argument("when", type=click.Choice(["pre", "post"]))
@click.option("--system", default=DEPLOYED_SYSTEM, show_default=True, help="What the evidence must be of.")
@click.option(
    "--target",
    "target_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What live evidence must be of: the deployment that this file describes.",
)
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
    system: str,
    target_file: Path | None,
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
    now, changed = datetime.now(UTC), () if commit else changed_here()
    commit = commit or commit_here()
    target_sha256 = load_target(target_file).sha256 if target_file is not None else None
    rules = read_rules(alerts_file) if alerts_file is not None else None
    known, damaged = evidence_in(directory)
    wanted = Wanted(now, max_age_s, commit, system, target_file, target_sha256)
    if when == "post" and target_file is None:
        wanted = _of_one_target(wanted, known)
    checked = [Checked("evidence", f"DAMAGED: {each}") for each in damaged]
    checked += [_checked(each, known, wanted) for each in (PRE if when == "pre" else POST)]
    if when == "post":
        checked.append(_alerts(rules, known, wanted))
    is_shown = all(each.is_shown for each in checked)
    verdict = ("DEPLOY" if when == "pre" else "HEALTHY") if is_shown else "BLOCK"
    scale = least_scale(each.evidence for each in checked if each.evidence is not None)
    told = verdict if scale is None else f"{verdict}, on evidence SCALED by {scale:g}"
    differs = f": {_some(changed)} differ from it, or are not in it" if changed else ""
    click.echo(f"system  {system}\ncommit  {commit or 'unknown: not in a checkout'}{differs}\n")
    width = max(len(each.item) for each in checked)
    for each in checked:
        click.echo(f"{'✓' if each.is_shown else '✗'} {each.item:{width}}  {_told(each, now)}")
    click.echo(f"\n{told}")
    code = 0 if is_shown else BLOCKED
    body = {
        **provenance("gate"),
        "system": system,
        "target": str(target_file) if target_file is not None else None,
        "when": when,
        "verdict": verdict,
        "evidence_scale": scale,
        "exit_code": code,
        "items": [_as_json(each, now) for each in checked],
    }
    markdown = "\n".join(_markdown(when, told, checked, commit, now))
    written = write_results(json_file, as_json(body), markdown_file, markdown)
    return code if code or written else 2


def _of_one_target(wanted: Wanted, known: Sequence[Evidence]) -> Wanted:
    """Want all that is live to be of the target of the newest evidence."""
    commands = [each.command for each in POST]
    live = [each for each in known if each.is_live and each.result.command in commands]
    if not live:
        return wanted
    return attrs.evolve(wanted, target=live[0].result.target, target_sha256=live[0].result.target_sha256)


def _checked(item: Item, known: Sequence[Evidence], wanted: Wanted) -> Checked:
    """Look at the latest evidence of an item, and at the latest on every other target, or simulated."""
    mine = [each for each in known if each.result.command == item.command and each.is_live >= item.live]
    if not mine:
        return Checked(item.name, f"MISSING: no result of wavetank {item.command}{' with --target' * item.live}")
    of_target = [each for each in mine if wanted.is_of_target(each)]
    if not of_target:
        return Checked(
            item.name,
            f"OTHER TARGET: {mine[0].file} is of {mine[0].result.target}, and this is about {wanted.target}",
            mine[0],
        )
    refusal = wanted.refusal(of_target[0])
    if refusal:
        return Checked(item.name, refusal, of_target[0])
    deployments: dict[str | None, list[Evidence]] = {}
    for each in of_target:
        if not wanted.refusal(each):
            deployments.setdefault(each.result.target_sha256, []).append(each)
    latest = [whole(each) for each in deployments.values()]
    for each in latest:
        why = _wrong(item, each)
        if why:
            return Checked(item.name, why, each, _some(item.aside(each.result)))
    return Checked(item.name, "", latest[0], _some(item.aside(latest[0].result)))


def _wrong(item: Item, evidence: Evidence) -> str:
    result = evidence.result
    wrong = list(item.wrong(result))
    if result.interrupted:
        wrong.append(f"wavetank {item.command} was interrupted")
    if not wrong and result.exit_code:
        wrong.append(f"wavetank {item.command} ended with exit code {result.exit_code}")
    planted = f"DEFECTS: {evidence.file} was made with {', '.join(result.defects)}" if result.defects else ""
    return "; ".join(filter(None, (_some(wrong, "; "), planted)))


def _alerts(rules: Rules | None, known: Sequence[Evidence], wanted: Wanted) -> Checked:
    """Look whether there is an alert for each objective of the target."""
    if rules is None:
        return Checked(ALERTS, "MISSING: no rules. Name their file with --alerts")
    return _checked(Item(ALERTS, "load", rules.wrong, live=True, aside=rules.aside), known, wanted)


# How it is told


def _some(words: Iterable[str], separator: str = ", ") -> str:
    each = list(words)
    more = f" and {len(each) - SHOWN_MAX} more" if len(each) > SHOWN_MAX else ""
    return f"{separator.join(each[:SHOWN_MAX])}{more}"


def _told(checked: Checked, now: datetime) -> str:
    """Say why it is not shown or by what it is, on which deployment, and what should be known beside."""
    evidence = checked.evidence
    if evidence is None:
        return checked.why
    minutes = evidence.age_s(now) / 60
    by = checked.why or f"{evidence.file}, {minutes:.0f} minutes old, sha256 {evidence.sha256[:12]}"
    scale = least_scale([evidence])
    scaled = "" if scale is None else f"SCALED by {scale:g}"
    return "; ".join(filter(None, (by, evidence.deployment, scaled, checked.aside)))


def _as_json(checked: Checked, now: datetime) -> dict[str, object]:
    evidence = checked.evidence
    return {
        "item": checked.item,
        "shown": checked.is_shown,
        "why": checked.why,
        "aside": checked.aside,
        "deployment": evidence.deployment if evidence is not None else None,
        "scale": evidence.result.scale if evidence is not None else None,
        "file": str(evidence.file) if evidence is not None else None,
        "sha256": evidence.sha256 if evidence is not None else None,
        "commit": evidence.result.commit if evidence is not None else None,
        "age_s": evidence.age_s(now) if evidence is not None else None,
    }


def _markdown(when: str, told: str, checked: Sequence[Checked], commit: str | None, now: datetime) -> Iterator[str]:
    yield f"## {told} ({when}-deployment, commit `{(commit or 'unknown')[:12]}`)\n"
    yield "| | item | by |"
    yield "|---|---|---|"
    for each in checked:
        told_of_it = _told(each, now).replace("|", "\\|").replace("\n", " ")
        yield f"| {'✓' if each.is_shown else '✗'} | {each.item} | {told_of_it} |"
    yield ""
