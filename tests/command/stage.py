"""Runs the command as its users do: in a process of its own, in a directory of its own."""

import contextlib
import hashlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import msgspec

from simulator.plan import Plan
from simulator.simulated_run import simulate
from simulator.trace import Broken, Trace, write_trace
from tests.simulator.small import armed
from wavetank.command import main

ROOT = Path(__file__).parents[2]
SMALL = "tests.simulator.small"
UNSTEADY = "tests.simulator.unsteady"
BANK = "tests.reader.my_system:system"


def environment(**more: str) -> dict[str, str]:
    """The variables of a user's shell: what this project adds is where it is."""
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "PATH", "LANG")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | more


def wavetank(directory: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "wavetank", *arguments],
        cwd=directory,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def on_a_terminal(directory: Path, *arguments: str) -> tuple["subprocess.Popen[str]", int]:
    """Begin the command with a terminal for its standard error, where progress is shown at once. Close it yourself."""
    terminal, stderr = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "wavetank", *arguments],
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    os.close(stderr)
    return running, terminal


def interrupted(directory: Path, *arguments: str, at: str) -> tuple[int, str]:
    """Press Ctrl-C when its progress has shown what a pattern describes. Return the exit code and what it said."""
    running, terminal = on_a_terminal(directory, *arguments)
    try:
        shown = ""
        while not re.search(at, shown):
            shown += os.read(terminal, 4096).decode()
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    finally:
        running.kill()
        os.close(terminal)
    return running.returncode, out


def refused(directory: Path, *arguments: str) -> str:
    """Run what must be refused: exit code 2, one sentence on standard error, no traceback. Return the sentence."""
    code, out, err = called(directory, *arguments)
    assert code == 2, (out, err)
    assert "Traceback" not in out + err
    last = err.strip().splitlines()[-1]
    assert last.startswith(("wavetank: ", "Error: ")), err
    return last


def called(directory: Path, *arguments: str) -> tuple[object, str, str]:
    """Run the command in this process, which is much faster. Returns exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(directory),
        mock.patch.object(sys, "argv", ["wavetank", *arguments]),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)),  # for children that it runs
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            return ended.code, out.getvalue(), err.getvalue()


def normalised(text: str) -> str:
    """Replace real durations and what follows from them; everything else is the same in every run of one seed."""
    text = re.sub(r"in \d+\.\d real s \([\d,]+ to 1\)", "in R real s (N to 1)", text)
    return re.sub(r"replays in \d+\.\d s", "replays in R s", text)


def listing(directory: Path) -> list[str]:
    """Everything in a directory and below."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def edited(path: Path, changes: dict[str, object]) -> None:
    """Change what a saved trace says, as an older or another wavetank would have written it."""
    body = json.loads(path.read_bytes()) | changes
    body.pop("checksum")
    encoded = msgspec.json.encode(body, order="deterministic")
    body["checksum"] = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    path.write_text(json.dumps(body))


def saved_armed(path: Path, plan: Plan, seed: int = 0) -> Path:
    """Save a failure of `tests.simulator.small:armed`: an act after the code breaks its promise."""
    saved = Trace(
        system=f"{SMALL}:armed",
        defects=(),
        seed=seed,
        plan=plan,
        broken=Broken(property="harmless", site="", evidence="act after the code"),
        hash=simulate(armed, plan, ()).history.hash,
        simulated_s=1.0,
        story=(),
        events=(),
    )
    return write_trace(saved, path)
