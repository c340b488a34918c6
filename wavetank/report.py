"""What a campaign found, for people on standard output, and for machines as JSON and JUnit XML."""

from collections.abc import Iterator, Mapping

import click
import msgspec

from simulator.campaign import RUNS_DEFAULT, STEPS_DEFAULT, Budget, Campaign
from simulator.failure import Failure
from simulator.property import Expectation, Property
from simulator.trace import Trace
from simulator.variant import Variant
from wavetank.arguments import DEFAULT_SYSTEM
from wavetank.corpus import Corpus
from wavetank.growth import growth, growth_lines
from wavetank.junit import Case, as_junit
from wavetank.profile import DEFAULT_PROFILE
from wavetank.saving import Saved

__all__ = ["as_json", "as_xml", "examined_words", "failure_lines", "print_header", "result_lines"]

EXAMINED_MAX = 5
"""How many kinds of what a promise examined are told to a person; the JSON has all."""


GROWTH_RUNS_MIN = 500
"""Below it how behaviours grew over the runs says little."""


def print_header(
    system: str, budget: Budget, seed: int, defects: tuple[str, ...], profile: str = DEFAULT_PROFILE
) -> None:
    """Say what is about to be done, and with which seed: it is never lost."""
    limits = [f"{budget.runs} runs" if budget.runs else "", f"{budget.max_time_s:g} s" if budget.max_time_s else ""]
    planted = f"  defects {', '.join(defects)}" if defects else ""
    click.echo(f"system  {system}{planted}")
    limits.append("until nothing new comes" if budget.until_flat else "")
    until = " or ".join(filter(None, limits)) or "until interrupted"
    click.echo(f"profile {profile}: {until}, up to {budget.steps} steps each")
    click.echo(f"seed    {seed}")


def result_lines(
    campaign: Campaign, trace: Trace | None, saved: Saved, profile: str = DEFAULT_PROFILE
) -> Iterator[str]:
    """Yield every property, the figures and, on a violation, its story and how to replay it, or why it is not saved."""
    statistics = campaign.statistics
    yield ""
    for each in campaign.properties:
        yield _property_line(campaign, each)
    ratio = statistics.simulated_s / statistics.search_s if statistics.search_s else 0.0
    yield (
        f"\n{statistics.runs} runs, {statistics.steps:,} steps, {statistics.events:,} events: "
        f"{statistics.simulated_s:,.0f} simulated s in {statistics.search_s:.1f} real s ({ratio:,.0f} to 1)"
    )
    if campaign.budget.until_flat or statistics.runs >= GROWTH_RUNS_MIN:
        yield from growth_lines(statistics)
    if campaign.failure is not None and trace is not None:
        search = f"wavetank check {trace.system}{_planted(trace)}{_limits(campaign, profile)} --seed {trace.seed}"
        yield from failure_lines(campaign.failure, trace, saved, search, is_interrupted=campaign.interrupted)
    elif campaign.failure is None:
        yield from _doubt_lines(campaign)
    if campaign.interrupted:
        yield "interrupted; the figures above are those of the runs that ended"
    elif campaign.exit_code == 0:
        yield "all properties hold"


def _property_line(campaign: Campaign, each: Property) -> str:
    state = _state(campaign, each)
    word = state if state in ("holds", "reached") else state.upper()
    width = max(len(other.name) for other in campaign.properties)
    return f"{word:11}  {each.expectation.value:10}  {each.name:{width}}  {_detail(campaign, each)}"


def _state(campaign: Campaign, each: Property) -> str:
    tally = campaign.statistics.tallies[each.name]
    if campaign.failure is not None and each == campaign.failure.broken:
        return "violated"
    if each.expectation is Expectation.SOMETIMES:
        return "reached" if tally.held else "not reached"
    return "holds" if tally.held else "unknown"


def _detail(campaign: Campaign, each: Property) -> str:
    tally = campaign.statistics.tallies[each.name]
    runs = max(1, campaign.statistics.runs)
    if each.expectation is Expectation.SOMETIMES:
        return f"in {tally.held} of {campaign.statistics.runs} runs ({100 * tally.held / runs:.0f} %)"
    return f"held in {tally.held} of {campaign.statistics.runs} runs, examined {examined_words(tally.examined)}"


def examined_words(examined: Mapping[str, int]) -> str:
    """Word what a promise examined, the kinds of which there is most."""
    most = sorted(examined.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{count:,} {name}" for name, count in most[:EXAMINED_MAX]) or "nothing"
    return words + (f" and {len(most) - EXAMINED_MAX} more kinds" if len(most) > EXAMINED_MAX else "")


def _doubt_lines(campaign: Campaign) -> Iterator[str]:
    """Say what a campaign without a failure has not shown."""
    for each in campaign.unreached():
        yield f"never reached: {each.name}. Allow more runs (--runs, --max-time), or more faults."
    for each in campaign.unknown():
        missing = campaign.statistics.tallies[each.name].missing
        yield f"not judged: {each.name}, because {missing or 'no run ended'}."
    for name in campaign.never_succeeded():
        tried = campaign.statistics.outcomes[name].total()
        yield f"never succeeded: {name}, in {tried:,} tries. Its host, port or protocol may be wrong."


def failure_lines(failure: Failure, trace: Trace, saved: Saved, search: str, *, is_interrupted: bool) -> Iterator[str]:
    """Yield a failure's story and how to replay it, or why it is not saved; `search` is the command that finds it."""
    yield f"\n{failure.broken.name} is violated: {failure.broken.summary}"
    yield f"evidence: {failure.violation.evidence}"
    reduction = failure.reduction
    why = "interrupted" if is_interrupted else "time ran out"
    rest = "" if reduction.complete else f"; {why}, more could perhaps be removed"
    if failure.frame:
        yield f"found with {failure.frame}"
    yield (
        f"\n{len(failure.found.steps)} steps shrunk to {len(failure.plan.steps)} by {reduction.replays} replays in "
        f"{reduction.real_s:.1f} s{rest}. {failure.plan.setting}:"
    )
    for number, line in enumerate(trace.story, 1):
        yield f"{number:3}. {line}"
    if failure.variant is not None:
        yield from _variant_lines(failure.variant)
    yield from _replay_lines(trace, saved, search)
    if not reduction.complete and not saved.why_not:
        yield f"  smaller:        wavetank shrink {saved.name}"


def _variant_lines(variant: Variant) -> Iterator[str]:
    if variant.failing == variant.passing:
        yield f"\nthe same passes {variant.without}, and the same happens in it: only this makes it a failure"
        return
    yield f"\nthe same passes {variant.without}. Where the two part:"
    yield f"  failing:  {variant.failing}"
    yield f"  passing:  {variant.passing}"


def _replay_lines(trace: Trace, saved: Saved, search: str) -> Iterator[str]:
    if saved.why_not:
        yield f"\nNOT saved: {saved.why_not} {'This goes on:' if saved.again else 'The same search finds it again:'}"
        yield f"  {saved.again or search}"
        return
    yield f"\nsaved as {saved.name}, hash {trace.hash}. Replay it"
    yield f"  in simulation:  wavetank replay {saved.name}"
    if trace.system == DEFAULT_SYSTEM:
        yield f"  live:           wavetank staging up{_planted(trace)}, then"
        yield f"                  wavetank replay {saved.name} --target target.toml"


def _planted(trace: Trace) -> str:
    return "".join(f" --defect {name}" for name in trace.defects)


def _limits(campaign: Campaign, profile: str) -> str:
    """Return the options, beside the seed, without which another search would be made."""
    budget, options, has_own = campaign.budget, [], profile != DEFAULT_PROFILE
    if has_own:
        options.append(f" --profile {profile}")
    if budget.max_time_s is not None:
        options.append(f" --max-time {budget.max_time_s:g}")
    elif budget.runs is None and not budget.until_flat:
        options.append(" --until-interrupted")
    if budget.runs and (has_own or budget.runs != RUNS_DEFAULT or budget.max_time_s):
        options.append(f" --runs {budget.runs}")
    if budget.until_flat:
        options.append(" --until-flat")
    if has_own or budget.steps != STEPS_DEFAULT:
        options.append(f" --steps {budget.steps}")
    if len(campaign.properties) < len(campaign.system.all_properties()):
        options += [f" --property {each.name}" for each in campaign.properties]
    return "".join(options)


def as_json(system: str, profile: str, campaign: Campaign, trace: Trace | None, saved: Saved, corpus: Corpus) -> bytes:
    """Return the result for machines: one JSON object."""
    statistics = campaign.statistics
    body = {
        "system": system,
        "profile": profile,
        "seed": campaign.seed,
        "exit_code": campaign.exit_code,
        "interrupted": campaign.interrupted,
        "runs": statistics.runs,
        "steps": statistics.steps,
        "events": statistics.events,
        "simulated_s": statistics.simulated_s,
        "real_s": statistics.real_s,
        "behaviours": {
            "count": len(statistics.first_run),
            "last_new_run": statistics.last_new_run,
            "is_flat": statistics.is_flat,
            "growth": growth(statistics),
        },
        "properties": [
            {
                "name": each.name,
                "expectation": each.expectation.value,
                "state": _state(campaign, each),
                "runs_held": statistics.tallies[each.name].held,
                "runs_unknown": statistics.tallies[each.name].unknown,
                "examined": dict(statistics.tallies[each.name].examined),
            }
            for each in campaign.properties
        ],
        "failure": _failure_json(campaign, trace, saved),
        "regressions": corpus.as_json(),
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def _failure_json(campaign: Campaign, trace: Trace | None, saved: Saved) -> object:
    if campaign.failure is None or trace is None:
        return None
    return {
        "id": saved.name or None,
        "property": trace.broken.property,
        "site": trace.broken.site,
        "evidence": trace.broken.evidence,
        "hash": trace.hash,
        "found_with": campaign.failure.frame,
        "steps_found": len(campaign.failure.found.steps),
        "steps": len(trace.plan.steps),
        "replays": campaign.failure.reduction.replays,
        "shrink_s": campaign.failure.reduction.real_s,
        "search_s": campaign.statistics.search_s,
        "shrunk_completely": campaign.failure.reduction.complete,
        "story": trace.story,
    }


def as_xml(system: str, campaign: Campaign, trace: Trace | None, saved: Saved, corpus: Corpus) -> str:
    """Return the result as JUnit XML: one test case per trace of the corpus, and one per property."""
    cases = (*corpus.cases(), *_cases(system, campaign, trace, saved))
    return as_junit(system, cases, campaign.statistics.real_s)


def _cases(system: str, campaign: Campaign, trace: Trace | None, saved: Saved) -> Iterator[Case]:
    seed = f"seed {campaign.seed}"
    for each in campaign.properties:
        if campaign.failure is not None and trace is not None and each == campaign.failure.broken:
            place = saved.name or f"not saved: {saved.why_not}"
            story = "\n".join((*trace.story, seed, place))
            yield Case(system, each.name, "failure", trace.broken.evidence, story)
        elif campaign.failure is None and each in campaign.unreached():
            yield Case(system, each.name, "failure", "never reached", seed)
        elif campaign.failure is None and each in campaign.unknown():
            yield Case(system, each.name, "error", "not judged: nothing to examine happened", seed)
        else:
            yield Case(system, each.name)
    if campaign.interrupted:
        yield Case(system, "campaign", "error", "interrupted")
