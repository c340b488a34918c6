"""How the behaviours that a campaign has seen grew over its runs: as numbers, and as a graph of a few lines."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from simulator.statistics import Statistics

__all__ = ["growth", "growth_lines"]

COLUMNS = 60
LINES = 4
EIGHTHS = " ▁▂▃▄▅▆▇█"


def growth(statistics: Statistics) -> list[tuple[int, int]]:
    """Return each run that showed something new, with how many behaviours were known after it."""
    new = Counter(statistics.first_run.values())
    runs = sorted(new)
    return list(zip(runs, accumulate(new[run] for run in runs), strict=True))


def growth_lines(statistics: Statistics) -> Iterator[str]:
    """Yield the graph: what was known after every so many runs, the last column after all."""
    known = len(statistics.first_run)
    columns = min(COLUMNS, statistics.runs)
    if not known:
        return
    new = Counter((run * columns - 1) // statistics.runs for run in statistics.first_run.values())
    heights = [8 * LINES * height // known for height in accumulate(new[column] for column in range(columns))]
    yield f"\n{known:,} behaviours, the last new one in run {statistics.last_new_run} of {statistics.runs}:"
    for line in reversed(range(LINES)):
        yield "  " + "".join(EIGHTHS[min(8, max(0, height - 8 * line))] for height in heights).rstrip()
