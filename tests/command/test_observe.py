"""`wavetank observe`: promises judged on what is logged and recorded, and what is said of what cannot be judged."""

import contextlib
import http.server
import json
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.system import system as chat
from simulator.errors import EnvironmentFailedError
from simulator.live.logs import is_error
from simulator.live.recording import SessionWriter
from simulator.live.target import load_target
from simulator.plan import Do, Plan, Setting, Step
from simulator.simulated_run import simulate
from simulator.trace import event_record, load_trace
from tests.command.stage import ROOT, called, environment, listing, refused
from tests.command.watched import SHOP, events_of, line, session, shop, sold

OF_SHOP = ("--system", SHOP)
WAIT_S = 30.0
TWICE = """\
     2.000 s  sold-once is violated: the hat was sold 2 times

3 events in 2.0 s
UNKNOWN      always      few-queue  because nothing to examine happened
VIOLATED     always      sold-once  examined 3 sold
UNKNOWN      always      told       because it is a promise about whole runs (not declared in_parts)
UNKNOWN      always      uncaught   because nothing to examine happened
UNKNOWN      eventually  left-over  because the stock was not looked into
UNKNOWN      eventually  finishes   because it is a promise about whole runs (not declared in_parts)
1 of 6 promises could be judged: 1 violated
"""


def by_name(report: str) -> list[str]:
    """The lines of a report, promises in an order that does not depend on that of a class's methods."""
    return sorted(report.splitlines())


def verdicts(directory: Path) -> dict[str, str]:
    body = json.loads((directory / "out.json").read_bytes())
    return {each["name"]: each["outcome"] for each in body["properties"]}


# Logs


def test_logs_are_merged_by_their_times_and_a_violation_is_told(tmp_path: Path) -> None:
    """The output is an interface. Neither log alone shows that the hat was sold twice."""
    (tmp_path / "a.jsonl").write_text(
        sold("hat", 2.0) + "Traceback: of something else\n[1]\n" + line("other", 1.0)[:20]
    )
    (tmp_path / "b.jsonl").write_text(sold("hat", 0.0, host="shop") + sold("pen", 1.0, host="shop"))
    code, out, err = called(tmp_path, "observe", "--log", "shop=a.jsonl", "--log", "b.jsonl", *OF_SHOP)
    assert (code, err) == (1, "")
    assert by_name(out) == by_name(TWICE)
    assert out.splitlines()[0] == TWICE.splitlines()[0], "a violation comes first"


def test_what_could_be_judged_and_what_not_is_there_for_machines(tmp_path: Path) -> None:
    """A dashboard must not take unknown for well."""
    (tmp_path / "a.jsonl").write_text(sold("hat", 0.0) + sold("pen", 2.5))
    assert called(tmp_path, "observe", "--log", "shop=a.jsonl", *OF_SHOP, "--json", "out.json")[0] == 0
    body = json.loads((tmp_path / "out.json").read_bytes())
    properties = {each["name"]: each for each in body.pop("properties")}
    assert body.pop("command") == "observe"
    assert body.pop("made_at")
    assert body.keys() >= {"commit", "wavetank"}
    told = {name: body[name] for name in ("system", "exit_code", "complete", "events", "lasted_s")}
    assert told == {"system": SHOP, "exit_code": 0, "complete": True, "events": 2, "lasted_s": 2.5}
    assert properties["sold-once"] == {
        "name": "sold-once",
        "expectation": "always",
        "outcome": "holds",
        "examined": {"sold": 2},
        "missing": "",
        "violations": [],
    }
    assert properties["told"]["outcome"] == "unknown"
    assert "whole runs" in properties["told"]["missing"]


def test_where_nothing_could_be_judged_nothing_holds(tmp_path: Path) -> None:
    """An empty log is no proof of health, nor is one of which no promise speaks."""
    for content in ("", line("other", 0.0)):
        (tmp_path / "a.jsonl").write_text(content)
        code, out, _ = called(tmp_path, "observe", "--log", "shop=a.jsonl", *OF_SHOP)
        assert code == 2
        assert out.endswith("0 of 6 promises could be judged: nothing could be judged\n")


def test_a_check_that_cannot_read_an_entry_is_unknown_and_the_others_go_on(tmp_path: Path) -> None:
    """Another program may log something of the same name."""
    (tmp_path / "a.jsonl").write_text(sold("hat", 0.0) + line("metrics", 0.5))
    code, out, _ = called(tmp_path, "observe", "--log", "shop=a.jsonl", *OF_SHOP)
    assert code == 0
    assert "few-queue  because property 'few-queue' could not judge a history: KeyError" in out


@pytest.mark.parametrize(
    ("gap_s", "code"), [(100.0, 1), (1000.0, 0)], ids=["within the window", "longer than what is kept"]
)
def test_only_a_window_is_kept_and_it_slides(tmp_path: Path, gap_s: float, code: int) -> None:
    """Hours must not need memory for hours; what lies within the window is found wherever it is."""
    times = [500.0, 500.0 + gap_s]
    others = [sold(f"pen {number}", number * 10.0) for number in range(300)]
    lines = sorted([*others, *(sold("hat", at_s) for at_s in times)], key=lambda each: json.loads(each)["timestamp"])
    (tmp_path / "a.jsonl").write_text("".join(lines))
    assert called(tmp_path, "observe", "--log", "shop=a.jsonl", *OF_SHOP, "--window", "100")[0] == code


def test_too_many_events_are_dropped_before_the_window_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy deployment fills any memory in half an hour."""
    monkeypatch.setattr("simulator.monitor.EVENTS_MAX", 100)
    (tmp_path / "a.jsonl").write_text("".join(sold(f"pen {number}", number * 0.01) for number in range(500)))
    assert called(tmp_path, "observe", "--log", "shop=a.jsonl", *OF_SHOP, "--json", "out.json")[0] == 0
    body = json.loads((tmp_path / "out.json").read_bytes())
    (examined,) = (each["examined"]["sold"] for each in body["properties"] if each["name"] == "sold-once")
    assert (body["events"], examined) == (500, 100)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "either --target FILE or --log [HOST=]FILE"),
        (("--log", "shop=good.jsonl", "--target", "target.toml"), "either --target FILE or --log [HOST=]FILE"),
        (("--log", "shop=good.jsonl", "--for", "1m"), "are about a --target"),
        (("--log", "shoe=good.jsonl"), "good.jsonl is said to be of host 'shoe'. Known: shop."),
        (("--log", "good.jsonl"), "good.jsonl:1 does not say of which host it is. Write HOST=good.jsonl"),
        (("--log", "shop=timeless.jsonl"), "timeless.jsonl:2 does not say when"),
        (("--log", "none.jsonl"), "the log cannot be read: [Errno 2] No such file or directory: 'none.jsonl'"),
        (("--log", "."), "the log cannot be read: [Errno 21] Is a directory"),
        (("--log", "shop=good.jsonl", "--property", "sold"), "no property named 'sold'"),
        (("--log", "shop=good.jsonl", "--property", "busy"), "busy must be reached in some run"),
        (("--log", "s.jsonl", "--log", "shop=good.jsonl"), "s.jsonl is a recorded session, whose times are its own"),
        (("--log", "damaged.jsonl"), "damaged.jsonl:3 is no event of a recorded session"),
        (("--log", "newer.jsonl"), "newer.jsonl has format version=2, and this wavetank reads up to 1"),
        (("--log", "shop=good.jsonl", "--record", "s.jsonl"), "s.jsonl is there already, and would be lost"),
        (("--target", "none.toml"), "the target cannot be read"),
        (("--target", "far.toml"), "on '10.1.2.3', which is not this machine"),
        (("--target", "blind.toml"), "neither log, log_command nor metrics"),
        (("--target", "lost.toml"), "the target's log cannot be read"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """What is wrong, where, and the cure; and nothing is written."""
    (tmp_path / "good.jsonl").write_text(sold("hat", 0.0))
    (tmp_path / "timeless.jsonl").write_text(sold("hat", 0.0) + '{"event": "sold", "item": "pen"}\n')
    events = events_of(shop, Plan(Setting(), (Step(Do("buy", 0, {"item": "hat"})),)))
    recorded = session(tmp_path / "s.jsonl", events).read_text().splitlines(keepends=True)
    (tmp_path / "damaged.jsonl").write_text("".join([*recorded[:2], recorded[2][:9] + "\n", *recorded[3:]]))
    (tmp_path / "newer.jsonl").write_text(recorded[0].replace('"version": 1', '"version": 2'))
    here = '[hosts.shop]\naddress = "127.0.0.1:1"\n'
    (tmp_path / "far.toml").write_text(f'{here}metrics = "http://10.1.2.3:9090/metrics"\n')
    (tmp_path / "blind.toml").write_text(here)
    (tmp_path / "lost.toml").write_text(f'{here}log = "nowhere.jsonl"\n')
    before = listing(tmp_path)
    assert says in refused(tmp_path, "observe", *arguments, *OF_SHOP)
    assert listing(tmp_path) == before


# Recorded sessions


def test_a_recorded_run_that_is_whole_is_judged_as_a_run_is(tmp_path: Path) -> None:
    """Users, faults and the beginning are in it: every promise says what it said when the run was made."""
    saved = load_trace(ROOT / "tests" / "traces" / "cache-without-user.json")
    result = simulate(chat.with_defects(saved.defects), saved.plan, chat.all_properties())
    session(tmp_path / "s.jsonl", map(event_record, result.history.events), "models.system:system")
    assert called(tmp_path, "observe", "--log", "s.jsonl", "--json", "out.json")[0] == 1
    judged = {name: outcome for name, outcome in verdicts(tmp_path).items() if outcome == "violated"}
    assert list(judged) == result.violated == ["isolation"]


def test_a_recording_is_judged_like_what_it_was_made_of(tmp_path: Path) -> None:
    """So that what was seen once can be judged again, by other promises."""
    (tmp_path / "a.jsonl").write_text(sold("hat", 0.0) + sold("hat", 2.0) + sold("pen", 2.0))
    code, out, _ = called(tmp_path, "observe", "--log", "shop=a.jsonl", *OF_SHOP, "--record", "seen.jsonl")
    assert (code, called(tmp_path, "observe", "--log", "seen.jsonl")) == (1, (1, out, ""))
    header, *events = map(json.loads, (tmp_path / "seen.jsonl").read_text().splitlines())
    assert (header["format"], header["version"], header["system"]) == ("wavetank-session", 1, SHOP)
    assert events[0] == {"at_s": 0.0, "kind": "observe", "host": "shop", "name": "sold", "data": {"item": "hat"}}


def test_a_recording_that_was_killed_half_way_through_a_line_is_read(tmp_path: Path) -> None:
    """The rest of it is as good as ever."""
    path = session(tmp_path / "s.jsonl", [{"at_s": 0.0, "kind": "observe", "host": "shop", "name": "sold"}] * 2)
    path.write_bytes(path.read_bytes()[:-9])
    out = called(tmp_path, "observe", "--log", "s.jsonl")[1]
    assert "1 events in 0.0 s" in out


def test_a_full_disk_is_noticed_before_anything_is_observed(tmp_path: Path) -> None:
    """Not after ten hours."""
    (tmp_path / "a.jsonl").write_text(sold("hat", 0.0))
    sentence = refused(tmp_path, "observe", "--log", "shop=a.jsonl", *OF_SHOP, "--record", "/dev/full")
    assert sentence == (
        "wavetank: the session could not be recorded: [Errno 28] No space left on device. path=/dev/full. "
        "Make room, or run elsewhere."
    )


def test_a_disk_that_is_full_later_ends_the_recording_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promises are judged on; but that not everything was done shows in the exit code."""

    def write(_self: SessionWriter, _events: object) -> None:
        raise EnvironmentFailedError("the session could not be recorded: no space")

    monkeypatch.setattr(SessionWriter, "write", write)
    (tmp_path / "a.jsonl").write_text(sold("hat", 0.0))
    code, out, err = called(tmp_path, "observe", "--log", "shop=a.jsonl", *OF_SHOP, "--record", "seen.jsonl")
    assert (code, err) == (2, "wavetank: the session could not be recorded: no space\n")
    assert "1 of 6 promises could be judged: all of these hold" in out


# A deployment


@contextlib.contextmanager
def observing(directory: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Follow a target in a process of its own, which has begun when this is entered."""
    command = [sys.executable, "-m", "wavetank", "observe", "--target", "target.toml", *OF_SHOP, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=directory, env=environment(), stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline().startswith("observing log of shop")
            yield running
        finally:
            running.kill()


def target(directory: Path, **values: str) -> None:
    """Describe a deployment that logs to log.jsonl, where nothing is but what was before."""
    (directory / "log.jsonl").write_text(sold("hat", -9.0))
    entries = "".join(f'{key} = "{value}"\n' for key, value in {"log": "log.jsonl", **values}.items())
    (directory / "target.toml").write_text(f"[hosts.shop]\n{entries}[limits]\nobserve_only = true\n")


def append(directory: Path, text: str) -> None:
    with (directory / "log.jsonl").open("a") as log:
        log.write(text)


@pytest.mark.parametrize(("items", "code"), [(("hat", "pen"), 0), ((), 2)])
def test_an_interrupt_is_how_observing_ends(tmp_path: Path, items: tuple[str, ...], code: int) -> None:
    """In good order, with what was seen so far, and none of it counts as an interruption."""
    target(tmp_path)
    with observing(tmp_path, "--record", "seen.jsonl") as running:
        append(tmp_path, "".join(sold(item, 0.0) for item in items))
        wait_lines(tmp_path / "seen.jsonl", 1 + len(items))
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=WAIT_S)
    assert (running.returncode, err) == (code, "")
    assert f"\n{len(items)} events in " in out


def test_a_violation_is_told_at_once_and_once(tmp_path: Path) -> None:
    """While it goes on observing, for somebody to be woken."""
    target(tmp_path)
    with observing(tmp_path) as running:
        assert running.stdout is not None
        append(tmp_path, sold("hat", 0.0) + sold("hat", 0.0))
        assert "sold-once is violated: the hat was sold 2 times" in running.stdout.readline()
        append(tmp_path, sold("hat", 0.0) + "Traceback (most recent call last):\n")
        time.sleep(1.5)  # until it is judged again
        running.send_signal(signal.SIGTERM)
        out, _ = running.communicate(timeout=WAIT_S)
    assert running.returncode == 1
    assert "3 sold" in out
    assert "is violated" not in out
    assert out.endswith("LOGGED  shop: Traceback (most recent call last):\n")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('{"event": "asked", "level": "error"}', True),
        ('{"message": "no event", "level": "CRITICAL"}', True),
        ('{"event": "asked", "exception": "..."}', True),
        ("Traceback (most recent call last):", True),
        ("  + Exception Group Traceback (most recent call last):", True),
        ("2026-01-01 00:00:00 FATAL: the database is starting up", True),
        ('{"event": "asked", "level": "info", "text": "ERROR"}', False),
        ('{"event": "error"}', False),
        ("no errors, no TERROR", False),
    ],
)
def test_what_tells_of_an_error_in_a_log(text: str, is_one: bool) -> None:
    """Its level does, and nothing that somebody says."""
    assert is_error(text.encode()) is is_one


def test_what_was_seen_is_there_after_a_kill(tmp_path: Path) -> None:
    """A machine may die with the deployment that it observes."""
    target(tmp_path)
    with observing(tmp_path, "--record", "seen.jsonl") as running:
        append(tmp_path, sold("hat", 0.0) + sold("hat", 0.0))
        wait_lines(tmp_path / "seen.jsonl", 3)
        running.kill()
    assert called(tmp_path, "observe", "--log", "seen.jsonl")[0] == 1


def wait_lines(path: Path, count: int) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@contextlib.contextmanager
def metrics(status: int, page: str, location: str = "") -> Iterator[str]:
    """Serve one page on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
        server.shutdown()


def test_metrics_are_observations(tmp_path: Path) -> None:
    """What a host counts says more than what it logs, sometimes."""
    page = '# TYPE queue gauge\nqueue{till="1"} 12\nqueue{till="2"} NaN\n'
    with metrics(200, page) as url:
        target(tmp_path, metrics=url)
        arguments = ("observe", "--target", "target.toml", *OF_SHOP, "--for", "1500ms", "--record", "seen.jsonl")
        code, out, _ = called(tmp_path, *arguments)
    assert code == 1
    assert "few-queue is violated: 12 wait" in out
    (seen,) = (json.loads(each) for each in (tmp_path / "seen.jsonl").read_text().splitlines()[1:])
    assert (seen["host"], seen["name"]) == ("shop", "metrics")
    assert seen["data"] == {'queue{till="1"}': 12.0, 'queue{till="2"}': None}


def test_metrics_that_are_not_there_are_told_once_and_nobody_else_is_asked(tmp_path: Path) -> None:
    """A redirection leads to hosts that nobody has allowed."""
    for status, page, says in ((302, "", "302"), (200, "<html>", "is no page in the text format of Prometheus")):
        with metrics(200, 'queue{till="1"} 12\n') as elsewhere, metrics(status, page, elsewhere) as url:
            target(tmp_path, metrics=url)
            arguments = ("observe", "--target", "target.toml", *OF_SHOP, "--for", "500ms")
            code, out, err = called(tmp_path, *arguments)
        assert code == 2
        assert err.count("the metrics of shop are not seen") == 1
        assert says in err
        assert "0 events" in out


@pytest.mark.parametrize(("left", "code"), [("short", 1), ("enough", 0)])
def test_the_stores_are_looked_into_at_the_end_if_that_is_wanted(tmp_path: Path, left: str, code: int) -> None:
    """By the system's own inspect, at the target's addresses."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(left.encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target(tmp_path, address=f"127.0.0.1:{server.server_address[1]}")
        arguments = ("observe", "--target", "target.toml", *OF_SHOP, "--for", "200ms", "--json", "out.json")
        assert called(tmp_path, *arguments)[0] == 2, "without it nothing was seen"
        assert called(tmp_path, *arguments, "--inspect")[0] == code
        server.shutdown()
    body = json.loads((tmp_path / "out.json").read_bytes())
    assert (body["target"], body["target_sha256"]) == ("target.toml", load_target(tmp_path / "target.toml").sha256)
    assert verdicts(tmp_path)["left-over"] == ("violated" if code else "holds")


def test_a_log_command_that_ends_is_told(tmp_path: Path) -> None:
    """Silence would look like health. What it said before counts."""
    target(tmp_path)
    logging = json.dumps(["printf", "%s", sold("hat", 0.0)])
    (tmp_path / "target.toml").write_text(f"[hosts.shop]\nlog_command = {logging}\n[limits]\nobserve_only = true\n")
    code, out, err = called(tmp_path, "observe", "--target", "target.toml", *OF_SHOP, "--for", "1s")
    assert code == 0
    assert err == "wavetank: the log_command of shop has ended: nothing is seen of its log any more\n"
    assert "1 events" in out


def test_secrets_of_the_target_are_not_recorded(tmp_path: Path) -> None:
    """A recording is sent to others."""
    target(tmp_path)
    (tmp_path / "password").write_text("correct horse")
    with (tmp_path / "target.toml").open("a") as file:
        file.write('[credentials]\nshop = { file = "password" }\n')
    with observing(tmp_path, "--record", "seen.jsonl") as running:
        append(tmp_path, sold("hat", 0.0, word="correct horse"))
        wait_lines(tmp_path / "seen.jsonl", 2)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=WAIT_S)
    assert json.loads((tmp_path / "seen.jsonl").read_text().splitlines()[1])["data"]["word"] == "<secret>"


def test_stores_that_are_not_there_do_not_hide_what_was_seen(tmp_path: Path) -> None:
    """But it is told, and not everything is well."""
    target(tmp_path, address="127.0.0.1:1")
    code, out, err = called(tmp_path, "observe", "--target", "target.toml", *OF_SHOP, "--for", "200ms", "--inspect")
    assert code == 2
    assert err.startswith("wavetank: the target's stores could not be inspected: ")
    assert out.endswith("nothing could be judged\n")
