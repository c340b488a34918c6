"""What processes of this machine take of it: memory, and processor time, each with what it has forked."""

import os
import time
from collections.abc import Iterator, Mapping

import psutil

from simulator.load.quantity import Dimension
from simulator.load.sample import Sample

__all__ = ["Processes"]


class Processes:
    """Samples of `memory` (bytes resident) and `cpu` (a share of all processors), of all hosts and `of` each.

    Memory that processes share counts for each of them.
    """

    def __init__(self) -> None:
        self._busy_s: dict[int, float] = {}  # by process id
        self._taken_s = time.monotonic()

    def sample(self, pids: Mapping[str, int], at_s: float) -> Iterator[Sample]:
        """Yield what the processes of hosts have in memory now, and how busy they were since the last time."""
        now_s = time.monotonic()
        passed_s, self._taken_s = now_s - self._taken_s, now_s
        memory, cpu = {}, {}
        before, self._busy_s = self._busy_s, {}
        for host, pid in pids.items():
            memory[host], busy_s = 0, 0.0
            for process in _tree(pid):
                try:
                    with process.oneshot():
                        used = process.cpu_times()
                        memory[host] += process.memory_info().rss
                except psutil.Error:  # it has ended
                    continue
                self._busy_s[process.pid] = used.user + used.system
                busy_s += self._busy_s[process.pid] - before.get(process.pid, self._busy_s[process.pid])
            cpu[host] = busy_s / passed_s / (os.cpu_count() or 1) if passed_s else 0.0
        if memory:
            yield from _of_all("memory", "B", memory, at_s)
        if before:
            yield from _of_all("cpu", "%", cpu, at_s)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _of_all(measure: str, dimension: Dimension, by_host: Mapping[str, float], at_s: float) -> Iterator[Sample]:
    yield Sample(measure, at_s, float(sum(by_host.values())), dimension=dimension)
    for host, value in by_host.items():
        yield Sample(f"{measure} of {host}", at_s, float(value), dimension=dimension)
