"""Workers: many processes, the result of one; whatever dies, nothing is lost, and nothing is left behind."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from traceback import walk_stack

import distributed
import pytest
from distributed.utils import LoopRunner

from simulator import EnvironmentFailedError, InputError, System
from simulator.campaign import Budget, Campaign
from simulator.statistics import Statistics
from simulator.workers import Alone, Pool, Workers, check_portable, is_portable
from simulator.world import World
from simulator.world.bystanders import standing_still
from tests.simulator.harmful import KillsOnce, kills_workers, rare, slow
from tests.simulator.small import Quiet, counting
from wavetank.workers import held_up, hired

FAILS, HOLDS = 2, 1
"""Seeds with which the rare system fails in the last of four batches, and in none of them."""


def campaign(
    system: System, workers: Workers | None = None, *, seed: int = 1, runs: int = 100, **options: object
) -> Campaign:
    budget = Budget(runs=runs, steps=12)
    return Campaign(system, budget=budget, seed=seed, workers=workers, **options).run()  # type: ignore[arg-type]


def same(one: Campaign, other: Campaign) -> bool:
    """Whether two campaigns did the same runs, and found and shrunk the same."""
    return (one.statistics, _found(one)) == (other.statistics, _found(other))


def _found(done: Campaign) -> object:
    failure = done.failure
    return failure and (failure.found, failure.plan, failure.violation, failure.result.history.hash)


@cache
def by_one_process(seed: int) -> Campaign:
    return campaign(rare, seed=seed)


@pytest.fixture(params=[FAILS, HOLDS])
def alone(request: pytest.FixtureRequest) -> Campaign:
    return by_one_process(request.param)


def test_a_pool_finds_what_one_process_finds(alone: Campaign) -> None:
    """The same runs, counted the same, and the same failure to the same hash: a report needs no number of workers."""
    assert (alone.failure is not None) is (alone.seed == FAILS)
    with Pool(3) as pool:
        assert same(campaign(rare, pool, seed=alone.seed), alone)
    assert not multiprocessing.active_children()


def test_a_pool_can_be_used_again(alone: Campaign) -> None:
    """What one campaign gave up is not in the way of the next."""
    with Pool(2) as pool:
        assert same(campaign(rare, pool, seed=FAILS), campaign(rare, pool, seed=FAILS))
        assert same(campaign(rare, pool, seed=alone.seed), alone)


def test_a_worker_that_kills_itself_loses_nothing(alone: Campaign, tmp_path: Path) -> None:
    """What it and those beside it had in hand is done again."""
    file = tmp_path / "kill"
    file.touch()
    with Pool(2) as pool:
        done = campaign(KillsOnce(file), pool, seed=alone.seed)
    assert not file.exists()
    assert same(done, alone)


def test_a_worker_that_is_killed_from_outside_loses_nothing() -> None:
    """As the kernel does for want of memory."""
    killed: list[int] = []

    def kill(statistics: Statistics) -> None:
        if statistics.runs in (50, 100, 125):
            killed.append(int(multiprocessing.active_children()[0].pid or 0))
            os.kill(killed[-1], signal.SIGKILL)

    with Pool(2) as pool:
        done = campaign(slow, pool, runs=150, on_run=kill)
    assert len(set(killed)) == 3
    assert done.statistics == campaign(slow, runs=150).statistics


def test_a_job_that_always_kills_its_worker_ends_with_a_sentence() -> None:
    """Not after ever more workers."""
    with Pool(2) as pool, pytest.raises(EnvironmentFailedError) as caught:
        campaign(kills_workers, pool)
    assert str(caught.value) == (
        "workers died 4 times in a row, doing batch 0 of KillsWorkers with seed 1. Killed for want of memory? "
        "With --workers 1 it is done in this process."
    )
    assert not multiprocessing.active_children()


def test_a_system_that_cannot_be_sent_is_refused() -> None:
    """Before anything is begun; one process does not mind."""

    class Here(Quiet):
        """Of this test alone."""

    with Pool(2) as pool, pytest.raises(InputError, match=r"Here cannot be sent to workers: .* use one worker"):
        campaign(Here(), pool)
    with pytest.raises(InputError):
        check_portable(Here())
    assert not is_portable(Here())
    assert is_portable(counting)
    with hired(Here(), None, None) as hands:
        assert isinstance(hands, Alone)
    assert campaign(Here(), runs=2).exit_code == 0


def wait_a_moment(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_results_come_in_the_order_of_the_jobs_and_are_told_as_soon_as_they_are_there() -> None:
    """Of several failures the first is kept, and whichever is there is told."""
    told: list[float] = []
    jobs = [0.5, 0.0, 0.01, 0.3]
    with Pool(2) as pool:
        assert [job for job, _result in pool.in_order(wait_a_moment, jobs, told.append)] == jobs
    assert told.index(0.0) < told.index(0.5)


def test_what_nobody_asks_for_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not hear of it in time is ended, and the next job has another one."""
    monkeypatch.setattr("simulator.workers.GRACE_S", 0.2)
    with Pool(2) as pool:
        results = pool.in_order(wait_a_moment, [0.0, 3600.0, 3600.0])
        assert next(results) == (0.0, 0.0)
        del results
        pool.rest()
        assert not multiprocessing.active_children()
        assert list(pool.in_order(wait_a_moment, [0.0])) == [(0.0, 0.0)]


def test_what_was_found_early_is_not_lost_by_an_interrupt_of_what_comes_before() -> None:
    """A failure of a later batch is told at once; whoever then interrupts has it."""

    def impatient(*_told: object) -> None:
        raise KeyboardInterrupt

    with Pool(2) as pool:
        done = campaign(rare, pool, seed=FAILS, on_violation=impatient)
    assert done.interrupted
    assert done.failure is not None
    assert done.exit_code == 1


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
        ) as started,
        standing_still(lambda: held_up(started.loop)),  # its scheduler is in this process, in a loop of its own
    ):
        yield started


def test_a_cluster_finds_what_one_process_finds(alone: Campaign, cluster: distributed.LocalCluster) -> None:
    """On whichever machine."""
    with hired(rare, None, cluster.scheduler_address) as hands:
        assert hands.count == 2
        assert same(campaign(rare, hands, seed=alone.seed), alone)


def test_the_client_of_a_cluster_is_held_up_while_a_world_is_open(cluster: distributed.LocalCluster) -> None:
    """Without that two campaigns on a cluster waited for ever, one in its third failure and one in its sixth."""

    def held() -> list[bool]:
        frames = sys._current_frames()
        loops = [frames[thread.ident] for thread in threading.enumerate() if thread.name == "IO loop" and thread.ident]
        return [any("held_up" in each.f_code.co_qualname for each, _ in walk_stack(frame)) for frame in loops]

    with hired(rare, None, cluster.scheduler_address):
        assert held() == [False, False], "of the cluster and of its client"
        with World():
            assert held() == [True, True]


def test_an_event_loop_beside_stands_still_while_a_world_is_open() -> None:
    """In a world's time it would wait for years before it sends the next job to the cluster."""
    begun_s, seen = time.time(), []

    def look() -> None:
        seen.append(time.time())
        runner.loop.add_callback(look)

    runner = LoopRunner(asynchronous=False)
    runner.start()
    runner.loop.add_callback(look)
    try:
        with standing_still(lambda: held_up(runner.loop)):
            for _ in range(10):
                with World() as world:
                    world.advance(1.0)
                    sum(range(100_000))
                    looked = len(seen)
                    sum(range(100_000))
                    assert len(seen) == looked
    finally:
        runner.stop()
    assert len(seen) > 10
    assert min(seen) >= begun_s


def test_a_worker_of_a_cluster_that_kills_itself_loses_nothing(
    alone: Campaign, cluster: distributed.LocalCluster, tmp_path: Path
) -> None:
    """The cluster starts another one."""
    file = tmp_path / "kill"
    file.touch()
    system = KillsOnce(file)
    with hired(system, None, cluster.scheduler_address) as hands:
        assert same(campaign(system, hands, seed=alone.seed), alone)
    assert not file.exists()


def test_a_job_that_always_kills_its_worker_ends_with_a_sentence_on_a_cluster_too(
    cluster: distributed.LocalCluster,
) -> None:
    """Dask gives such a job up by itself."""
    with hired(kills_workers, None, cluster.scheduler_address) as hands:
        with pytest.raises(EnvironmentFailedError, match=r"workers died .* doing batch \d of KillsWorkers"):
            campaign(kills_workers, hands)


@pytest.mark.parametrize(("workers", "threads", "says"), [(0, 1, "has no workers"), (1, 2, "has 2 threads")])
def test_a_cluster_that_cannot_do_it_is_refused(workers: int, threads: int, says: str) -> None:
    """With the command that makes it one that can."""
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=threads, processes=True, dashboard_address=":0", host="127.0.0.1"
    ) as unfit:
        with pytest.raises(EnvironmentFailedError, match=f"{says}.* Start .*dask worker"):
            with hired(rare, None, unfit.scheduler_address):
                pytest.fail("it was not refused")


def test_a_cluster_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on port 1; and one asks for workers, or for a cluster."""
    monkeypatch.setattr("wavetank.workers.CONNECT_WITHIN_S", 0.5)
    with pytest.raises(EnvironmentFailedError, match=r"no Dask scheduler answers at \S+:1: .*dask scheduler"):
        with hired(rare, None, "tcp://127.0.0.1:1"):
            pytest.fail("it was not refused")
    with pytest.raises(InputError, match="exclude each other"), hired(rare, 2, "tcp://127.0.0.1:1"):
        pytest.fail("it was not refused")


@pytest.mark.parametrize("per_worker", [1, 2])
def test_no_more_is_handed_out_at_once_than_asked_for(per_worker: int) -> None:
    """What is handed out cannot be taken back: the rest is in vain when the first result is all that is wanted."""
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(20):
            taken.append(job)
            yield job

    with Pool(2) as pool:
        results = pool.in_order(abs, jobs(), per_worker=per_worker)
        assert next(results) == (0, 0)
        assert len(taken) == 2 * per_worker
