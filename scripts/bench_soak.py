"""`scripts/bench soak`: thousands of runs of the healthy platform, and what its workers hold on to meanwhile."""

import json

import attrs
import click
import psutil

from models.system import system
from scripts.bench_command import run_command
from simulator.batch import Searched
from simulator.campaign import Budget, Campaign
from simulator.workers import Pool
from wavetank.workers import cores

MIB = 2**20

EPILOG = """
\b
One JSON line per so many runs: how many a second, and the most that any worker held by the end of a
batch: memory, open files and threads, and the memory of the campaign itself. The last line compares
the last of them with the first.

\b
Exit codes: 0 nothing was broken; 1 a promise was (see it with scripts/check, the same seed and as
many runs); 3 a run could not be repeated exactly. A run in fifty is made twice.

\b
Examples:
  scripts/bench soak --runs 20000           more than an hour on two cores
  scripts/bench soak --runs 2000 --seed 7   other runs, and fewer
"""


@attrs.frozen
class Held:
    """What processes hold, each number that of the one that holds most."""

    worker_mib: float = 0.0
    campaign_mib: float = 0.0
    files: int = 0
    threads: int = 0

    @classmethod
    def now(cls) -> "Held":
        """Look at the workers and at this process."""
        itself = psutil.Process()
        seen = [each for each in map(_look, itself.children()) if each is not None]
        return cls(
            worker_mib=max((mib for mib, _files, _threads in seen), default=0.0),
            campaign_mib=itself.memory_info().rss / MIB,
            files=max((files for _mib, files, _threads in seen), default=0),
            threads=max((threads for _mib, _files, threads in seen), default=0),
        )

    def most(self, other: "Held") -> "Held":
        """Return the larger number of each."""
        return Held(*map(max, attrs.astuple(self), attrs.astuple(other)))


def _look(worker: psutil.Process) -> tuple[float, int, int] | None:
    """Return a worker's memory, files and threads; None for one that has just ended."""
    try:
        return worker.memory_info().rss / MIB, worker.num_fds(), worker.num_threads()
    except psutil.NoSuchProcess:
        return None


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--runs", type=click.IntRange(min=1), default=20_000, show_default=True, help="How many in all.")
@click.option("--every", type=click.IntRange(min=1), default=1_000, show_default=True, help="How many runs per line.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the campaign.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=cores,
    help="Processes that run at once  [as many as there are cores]",
)
def bench(runs: int, every: int, seed: int, workers: int) -> int:
    """Run the healthy platform for a long time, and watch its workers."""
    parts: list[Held] = []
    held, done, told, told_s = Held(), 0, 0, 0.0

    def on_batch(searched: Searched, real_s: float) -> None:
        nonlocal held, done, told, told_s
        held, done = held.most(Held.now()), done + searched.statistics.runs
        if done >= min(runs, every * (len(parts) + 1)):
            parts.append(held)
            figures = {name: round(value, 1) for name, value in attrs.asdict(held).items()}
            per_s = round((done - told) / (real_s - told_s), 2)
            print(json.dumps({"runs": done, "runs_per_s": per_s, **figures}), flush=True)
            held, told, told_s = Held(), done, real_s

    with Pool(workers) as pool:
        budget = Budget(runs=runs)
        campaign = Campaign(system, budget=budget, seed=seed, workers=pool, on_batch=on_batch).run()
    if campaign.interrupted:
        raise KeyboardInterrupt
    if campaign.failure is not None:
        broken = campaign.failure.broken.name
        print(json.dumps({"runs": campaign.statistics.runs, "broken": broken, "at": campaign.failure.violation.site}))
        return 1
    ratio = {
        "worker_ratio": round(parts[-1].worker_mib / parts[0].worker_mib, 3),
        "campaign_ratio": round(parts[-1].campaign_mib / parts[0].campaign_mib, 3),
    }
    unreached = [each.name for each in campaign.unreached()]
    print(json.dumps({"runs": campaign.statistics.runs, "broken": None, "unreached": unreached, **ratio}))
    return 0


if __name__ == "__main__":
    run_command(bench, "scripts/bench soak")
