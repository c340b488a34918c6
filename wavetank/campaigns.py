"""`wavetank campaigns`: the campaigns that are kept, and what one of them came to."""

import click

from simulator.campaign import Campaign
from simulator.errors import InputError
from simulator.journal import CAMPAIGNS, Kept, find_campaign, is_running, read_campaign, saved
from wavetank import report
from wavetank.check import budget_of, system_of
from wavetank.saving import Saved, trace_of

__all__ = ["campaigns"]

ENDED = {0: "all hold", 1: "failed", 2: "not judged", 130: "interrupted"}
EPILOG = """
\b
A campaign is kept under .wavetank/campaigns/, batch by batch, once it has searched for half a
minute; a shorter one only while its failure is being shrunk. The latest ten stay.

\b
Examples:
  wavetank campaigns                    which there are, the latest first
  wavetank campaigns latest             what the latest came to, killed, running or ended
  wavetank check --resume 20260102-2    go on with that of which the ID begins so
"""


@click.command(epilog=EPILOG)
@click.argument("id", required=False)
def campaigns(id: str | None) -> int:
    """List the campaigns that are kept, or tell one as `wavetank check` has, or would have by then."""
    if id is not None:
        _tell(read_campaign(find_campaign(id)))
        return 0
    known = saved()
    for each in known:
        try:
            click.echo(f"{each:18}  {_summary(read_campaign(each))}")
        except InputError as error:
            click.echo(f"{each:18}  damaged      {error}")
    if not known:
        click.echo(f"none under {CAMPAIGNS}")
    return 0


def _summary(kept: Kept) -> str:
    settings = kept.settings
    planted = f" with {', '.join(settings.defects)}" if settings.defects else ""
    runs = f"{kept.runs:,}{f' of {settings.runs:,}' if settings.runs else ''} runs in {kept.real_s:,.0f} s"
    found = [name for each in kept.searched if each.found is not None for name, _violation in each.found.violations]
    broken = f", {found[0]} is violated" if found else ""
    return f"{_state(kept):11}  {runs}: {settings.system}{planted}, seed {settings.seed}{broken}"


def _state(kept: Kept) -> str:
    if is_running(kept.id):
        return "running"
    return "killed" if kept.end is None else ENDED.get(kept.end.exit_code, "failed")


def _tell(kept: Kept) -> None:
    settings, budget = kept.settings, budget_of(kept.settings)
    report.print_header(settings.system, budget, settings.seed, settings.defects, settings.profile)
    if kept.end is not None:
        click.echo(kept.end.told)
        return
    campaign = Campaign(
        system_of(settings),
        budget=budget,
        seed=settings.seed,
        properties=settings.properties,
        earlier=kept.searched,
        earlier_s=kept.real_s,
    ).recall()
    resume = f"wavetank check --resume {kept.id}"
    trace, not_saved = None, Saved()
    if campaign.failure is not None:
        trace = trace_of(settings.system, settings.seed, campaign.system, campaign.failure)
        not_saved = Saved(why_not="the campaign has not shrunk it yet.", again=resume)
    click.echo("\n".join(report.result_lines(campaign, trace, not_saved, settings.profile)))
    click.echo("it is still running" if is_running(kept.id) else f"go on with it: {resume}")
