"""What processes take of the machine."""

import os
import subprocess
import sys

import psutil
import pytest

from simulator.load.processes import Processes
from tests.live.stage import wait_until

BUSY = "import time\nheld = bytearray(64 * 2**20)\nprint(flush=True)\nwhile True: pass"


def test_memory_and_processor_time_of_a_process_and_its_children_are_measured() -> None:
    """A server that forks is as large as all of it. Whatever is not there any more takes nothing."""
    shell = f'{sys.executable} -c "{BUSY}" & wait'
    with subprocess.Popen(["/bin/sh", "-c", shell], stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        processes = Processes()
        pids = {"server": server.pid, "gone": 2**22 - 1}
        first = {each.measure: each.value for each in processes.sample(pids, 0.0)}
        wait_until(lambda: psutil.Process(server.pid).children()[0].cpu_times().user > 0.3)
        second = {each.measure: each.value for each in processes.sample(pids, 0.5)}
        os.killpg(server.pid, 9)
    assert first["memory of server"] > 64 * 2**20
    assert first["memory"] == first["memory of server"]
    assert "cpu" not in first, "there is nothing yet to compare with"
    assert 0 < second["cpu of server"] <= 1 / (os.cpu_count() or 1) + 0.1
    assert second["cpu of gone"] == second["memory of gone"] == 0
    assert second["cpu"] == pytest.approx(second["cpu of server"])
