"""Who makes the runs: the options for that, and what they come to."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from typing import Any, TypeVar

import click

from simulator.errors import EnvironmentFailedError, InputError
from simulator.system import System
from simulator.workers import Alone, Pool, Workers, is_portable
from simulator.world.bystanders import standing_still

__all__ = ["cores", "held_up", "hired", "worker_options"]

F = TypeVar("F", bound=Callable[..., Any])
CONNECT_WITHIN_S = 10.0


def worker_options(function: F) -> F:
    """Add `--workers N` and `--cluster ADDRESS`."""
    function = click.option(
        "--cluster", metavar="ADDRESS", help="Run on the Dask cluster with this scheduler (tcp://HOST:8786)."
    )(function)
    return click.option(
        "--workers", type=click.IntRange(min=1), help="Processes that run at once  [as many as there are cores]"
    )(function)


@contextlib.contextmanager
def hired(system: System, workers: int | None, cluster: str | None) -> Iterator[Workers]:
    """Give the workers that the options ask for. Raises InputError for options that exclude each other, and others."""
    if cluster is not None:
        if workers is not None:
            raise InputError("--workers and --cluster exclude each other: a cluster has as many workers as it has.")
        with _connected(cluster) as pool:
            yield pool
        return
    # A system that cannot be sent to other processes is run in this one, unless that is not what was asked for.
    count = workers or (cores() if is_portable(system) else 1)
    if count == 1:
        yield Alone()
    else:
        with Pool(count) as pool:
            yield pool


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Pool]:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise InputError("--cluster needs Dask. Install it with wavetank: pip install 'wavetank[dask]'.") from error
    try:
        client = distributed.Client(address, timeout=CONNECT_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise EnvironmentFailedError(
            f"no Dask scheduler answers at {address}: {error}. Start dask scheduler."
        ) from error
    with client, standing_still(lambda: held_up(client.loop)):
        threads = client.nthreads()
        if not threads:
            raise EnvironmentFailedError(f"the cluster at {address} has no workers. Start dask worker {address}.")
        if any(count > 1 for count in threads.values()):
            raise EnvironmentFailedError(
                f"a worker of the cluster at {address} has {max(threads.values())} threads, and a process can hold one "
                f"world at a time. Start them with dask worker {address} --nthreads 1."
            )
        deaths = (BrokenExecutor, distributed.KilledWorker)
        with Pool(len(threads), lambda: client.get_executor(pure=False), deaths) as pool:
            yield pool


@contextlib.contextmanager
def held_up(loop: Any) -> Iterator[None]:
    """Hold up an event loop in another thread, between two of its callbacks.

    Dask's looks at the clock: in a world's time it would wait for years before it sends what is to be sent.
    """
    is_held, may_go_on = threading.Event(), threading.Event()

    def wait() -> None:
        is_held.set()
        may_go_on.wait()

    try:
        loop.add_callback(wait)
        is_held.wait()
        yield
    finally:  # also when this is interrupted while it waits: else the loop would be held for ever
        may_go_on.set()
