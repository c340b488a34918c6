"""Experiments of the Chaos Toolkit: the common kinds are taken over, everything else is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.system import deployed
from simulator.chaos.chaostoolkit import Imported
from simulator.chaos.files import read_experiment
from simulator.errors import InputError
from simulator.yaml_file import parse_yaml


def activity(name: str, path: str, arguments: object = (), **more: object) -> dict[str, Any]:
    provider = {"type": "process", "path": path, "arguments": arguments}
    return {"type": "action", "name": name, "provider": provider, **more}


def toxic(name: str, func: str, **arguments: object) -> dict[str, Any]:
    module = "chaostoxi.proxy.actions" if "proxy" in func else "chaostoxi.toxic.actions"
    return {
        "type": "action",
        "name": name,
        "provider": {"type": "python", "module": module, "func": func, "arguments": arguments},
    }


def content(method: list[dict[str, Any]], rollbacks: list[dict[str, Any]] | None = None, **more: object) -> Any:
    probe = {
        "type": "probe",
        "name": "it answers",
        "tolerance": 200,
        "provider": {"type": "http", "url": "http://localhost:8080/health"},
    }
    return {
        "version": "1.0.0",
        "title": "one",
        "description": "n/a",
        "steady-state-hypothesis": {"title": "all is well", "probes": [probe]},
        "method": method,
        "rollbacks": rollbacks or [],
        **more,
    }


def imported(directory: Path, body: Any, suffix: str = ".json") -> Imported:
    path = directory / f"one{suffix}"
    path.write_text(json.dumps(body) if suffix == ".json" else yaml.safe_dump(body))
    made = read_experiment(path, deployed)
    made.experiment.check("one", deployed)
    return made


def done(made: Imported) -> list[tuple[str, tuple[str, ...], float, float]]:
    before_s = 15.0
    return [
        (each.fault.kind, each.fault.at, each.at_s - before_s, each.fault.for_s) for each in made.experiment.struck()
    ]


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_a_container_that_is_killed_is_back_when_it_is_started(tmp_path: Path, suffix: str) -> None:
    body = content(
        [activity("kill it", "docker", ["kill", "my-app_redis_1"], pauses={"before": 1, "after": 7})],
        [activity("start it", "docker", ["start", "my-app_redis_1"])],
    )
    made = imported(tmp_path, body, suffix)
    assert done(made) == [("crash", ("redis",), 1, 7)]
    assert made.experiment.title == "one"
    assert [each.measure for each in made.experiment.steady_state.probes] == ["success_rate"]
    assert "'it answers' asks 'http://localhost:8080/health'; what users see is measured" in made.notes[0]


@pytest.mark.parametrize(
    ("path", "arguments", "kind", "host"),
    [
        ("docker", "pause clickhouse", "freeze", "clickhouse"),
        ("podman", ["stop", "gateway-a"], "terminate", "gateway-a"),
        ("/usr/bin/systemctl", "stop postgres", "crash", "postgres"),
        ("pkill", "-9 -f agents", "crash", "agents"),
        ("pkill -STOP llm", "", "freeze", "llm"),
        ("killall", "agents", "terminate", "agents"),
        ("docker", "kill --signal SIGSTOP redis", "freeze", "redis"),
        ("docker", "kill --signal=sigterm agents", "terminate", "agents"),
        ("docker", "kill redis -s 19", "freeze", "redis"),
        ("docker", {"kill": "redis", "-s": "STOP"}, "freeze", "redis"),
        ("docker", "rm -f llm", "crash", "llm"),
        ("docker", "stop -t 30 agents", "terminate", "agents"),
        ("docker", ["stop", "-t", 0, "agents"], "crash", "agents"),
        ("pkill", "--signal STOP -x redis", "freeze", "redis"),
        ("pkill", "-SIGKILL redis-server", "crash", "redis"),
        ("pkill", "-f 'python -m agents'", "terminate", "agents"),
        ("killall", "-q -9 agents", "crash", "agents"),
        ("systemctl", "kill agents", "terminate", "agents"),
        ("systemctl", "--user kill -s KILL agents.service", "crash", "agents"),
    ],
)
def test_what_is_done_to_processes_is_done_to_their_hosts(
    tmp_path: Path, path: str, arguments: object, kind: str, host: str
) -> None:
    made = imported(tmp_path, content([activity("a", path, arguments, pauses={"after": 5})]))
    assert done(made) == [(kind, (host,), 0, 5)]


def test_each_that_a_command_names_gets_a_fault_of_its_own(tmp_path: Path) -> None:
    body = content(
        [activity("a", "docker", "kill redis clickhouse", pauses={"before": 2, "after": 5})],
        [activity("b", "docker", "start redis clickhouse", pauses={"before": 1, "after": 3})],
    )
    assert done(imported(tmp_path, body)) == [("crash", ("redis",), 2, 6), ("crash", ("clickhouse",), 2, 6)]


def test_what_is_another_than_its_name_is_told(tmp_path: Path) -> None:
    made = imported(tmp_path, content([activity("a", "docker", "pause redis_1 redis_2 llm", pauses={"after": 5})]))
    assert done(made) == [("freeze", ("redis",), 0, 5), ("freeze", ("llm",), 0, 5)]
    assert [note for note in made.notes if "taken for" in note] == [
        "'redis_1' is taken for redis",
        "'redis_2' is taken for redis",
    ]


def test_what_nothing_undoes_is_told_to_be_healed(tmp_path: Path) -> None:
    """The Toolkit looks at the steady state with it still down."""
    method = [activity("a", "docker", "kill redis clickhouse", pauses={"after": 5})]
    made = imported(tmp_path, content(method, [activity("b", "docker", "start redis")]))
    assert made.notes[1:] == (
        "the steady state is judged when all is healed (the Toolkit judges it before rollbacks)",
        "nothing undoes 'a: crash clickhouse': healed when the method ends",
    )
    ended = [*method, activity("b", "docker", "start redis clickhouse")]
    assert not any("healed" in note for note in imported(tmp_path, content(ended)).notes)


@pytest.mark.parametrize(
    ("begin", "end", "lasts_s"),
    [
        ("docker kill redis", "docker restart redis", 4),
        ("docker kill redis", "docker unpause redis", 6),
        ("docker pause redis", "docker start redis", 6),
        ("pkill -STOP redis", "pkill -CONT redis", 4),
    ],
)
def test_what_is_down_is_started_and_what_is_frozen_continued(
    tmp_path: Path, begin: str, end: str, lasts_s: float
) -> None:
    """What ends nothing is told; only a restart starts what is down, as a start does."""
    made = imported(
        tmp_path, content([activity("a", begin, pauses={"after": 4}), activity("b", end, pauses={"after": 2})])
    )
    assert [each[3] for each in done(made)] == [lasts_s]
    assert ("'b' is left out: nothing was done that it could end" in made.notes) == (lasts_s > 4)


def test_what_is_down_is_started_by_a_restart_in_a_rollback(tmp_path: Path) -> None:
    body = content(
        [activity("a", "docker", "kill redis", pauses={"after": 4})],
        [activity("b", "docker", "restart redis", pauses={"before": 3})],
    )
    assert done(imported(tmp_path, body)) == [("crash", ("redis",), 0, 7)]


def test_pauses_of_a_probe_that_is_left_out_are_kept(tmp_path: Path) -> None:
    probe = {"type": "probe", "name": "p", "provider": {"type": "http"}, "pauses": {"after": 4}}
    made = imported(tmp_path, content([activity("a", "docker", "kill redis"), probe]))
    assert done(made) == [("crash", ("redis",), 0, 4)]


def test_pauses_of_a_rollback_are_made_once_however_much_it_ends(tmp_path: Path) -> None:
    body = content(
        [{**toxic("off", "create_timeout_toxic", for_proxy="redis", toxic_name="t"), "pauses": {"after": 5}}],
        [{**toxic("on", "delete_toxic", for_proxy="redis", toxic_name="t"), "pauses": {"before": 3}}],
    )
    assert [each[3] for each in done(imported(tmp_path, body))] == [8, 8, 8]


def test_what_ends_within_the_method_lasts_until_then(tmp_path: Path) -> None:
    body = content(
        [
            activity("pause", "docker", "pause llm", pauses={"after": 4}),
            activity("kill", "docker", "kill redis", pauses={"after": 2}),
            activity("go on", "docker", "unpause llm", pauses={"after": 3}),
            activity("restart", "systemctl", "restart agents"),
        ]
    )
    assert done(imported(tmp_path, body)) == [
        ("freeze", ("llm",), 0, 6),
        ("crash", ("redis",), 4, 6),
        ("terminate", ("agents",), 9, 1),
    ]


def test_proxies_are_named_after_what_is_behind_them(tmp_path: Path) -> None:
    body = content(
        [
            {**toxic("off", "disable_proxy", proxy_name="clickhouse"), "pauses": {"after": 5}},
            {
                **toxic("slow", "create_latency_toxic", for_proxy="llm", toxic_name="t", latency=900, jitter=5),
                "pauses": {"after": 2},
            },
        ],
        [
            toxic("on", "enable_proxy", proxy_name="clickhouse"),
            toxic("fast", "delete_toxic", for_proxy="llm", toxic_name="t"),
        ],
    )
    made = imported(tmp_path, body)
    assert done(made) == [
        ("reset", ("agents", "clickhouse"), 0, 7),
        ("refuse", ("agents", "clickhouse"), 0, 7),
        ("slow", ("llm", "agents"), 5, 2),
    ]
    assert any("a latency of 900 ms and a jitter of 5 ms is one of 300 ms here" in note for note in made.notes)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (content([activity("a", "rm", "-rf /")]), "'a': rm -rf /"),
        (content([activity("a", "docker", "kill elsewhere")]), "'a': docker kill elsewhere"),
        (
            content([toxic("a", "create_slicer_toxic", for_proxy="redis")]),
            "chaostoxi.toxic.actions.create_slicer_toxic",
        ),
        (
            content([{"type": "action", "name": "a", "provider": {"type": "http", "url": "http://x"}}]),
            "'a': provider 'http'",
        ),
        (content([activity("a", "docker", "kill redis", background=True)]), "'a': background"),
        (content([activity("a", "docker", "kill redis", controls=[{"name": "x"}])]), "'a': controls"),
        (content([activity("a", "docker", "kill redis")], controls=[{"name": "x"}]), "the key 'controls'"),
        (
            content([activity("a", "docker", "kill redis"), activity("b", "docker", "start redis")]),
            "'b': it ends at once what was begun",
        ),
        (
            content([activity("a", "docker", "kill redis")], [activity("b", "docker", "kill llm")]),
            "the rollback 'b': it undoes nothing",
        ),
        (content("nothing"), "is no experiment of the Chaos Toolkit"),  # type: ignore[arg-type]
        (["a"], "it holds a list"),
    ],
)
def test_what_cannot_be_done_here_is_refused_by_name(tmp_path: Path, body: Any, told: str) -> None:
    with pytest.raises(InputError) as refusal:
        imported(tmp_path, body)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("docker kill --signal=HUP clickhouse", "the signal 'HUP' is no fault"),
        ("docker kill -s", "option -s requires argument"),
        ("docker kill --all", "option --all not recognized"),
        ("docker kill redis elsewhere nowhere", "no host is named in 'elsewhere' and 'nowhere'"),
        ("docker kill redis; reboot", "no host is named in 'redis;' and 'reboot'"),
        ("docker kill ${redis}", "no host is named in '${redis}'"),
        ("docker kill", "it names nothing"),
        ("docker rm llm", "what runs is removed with -f only"),
        ("docker rm -fv llm", "option -v not recognized"),
        ("docker stop --time=soon agents", "'soon' is no time to end in"),
        ("docker compose kill redis", "known of docker: kill, stop, rm, pause, restart, unpause, start"),
        ("docker-compose kill redis", "known: docker, podman, systemctl, pkill, killall"),
        ("kubectl delete pod redis-0", "known: docker, podman, systemctl, pkill, killall"),
        ("kill -STOP redis", "known: docker, podman, systemctl, pkill, killall"),
        ("docker kill 'redis", "No closing quotation"),
        ("pkill -USR1 redis", "the signal 'USR1' is no fault"),
        ("pkill -STOP -KILL redis", "several signals: STOP, KILL"),
        ("pkill -9 clickhouse-server -u redis", "option -u not recognized"),
        ("pkill redis clickhouse", "left over: clickhouse"),
        ("killall -u redis clickhouse", "option -u not recognized"),
        ("systemctl reload agents", "known of systemctl: kill, stop, restart, start"),
    ],
)
def test_a_command_that_is_not_known_is_refused_with_what_of_it_is_not(tmp_path: Path, line: str, reason: str) -> None:
    path, _, arguments = line.partition(" ")
    with pytest.raises(InputError) as refusal:
        imported(tmp_path, content([activity("a", path, arguments)]))
    assert f"'a': {line} ({reason})." in str(refusal.value)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("kill redis", "Expected `object`, got `str` - at `$.method[0]`"),
        (
            activity("a", "docker", "kill redis", pauses={"after": "abc"}),
            "Expected `float`, got `str` - at `$.method[0].pauses.after`",
        ),
        (
            activity("a", "docker", "kill redis", pauses={"before": -1}),
            "Expected `float` >= 0.0 - at `$.method[0].pauses.before`",
        ),
        (
            activity("a", "docker", None),
            "Expected `str | object | array`, got `null` - at `$.method[0].provider.arguments`",
        ),
    ],
)
def test_what_has_another_shape_is_told_with_its_place(tmp_path: Path, step: Any, told: str) -> None:
    with pytest.raises(InputError) as refusal:
        imported(tmp_path, content([step]))
    assert f"is no experiment of the Chaos Toolkit: {told}. " in str(refusal.value)


def test_all_that_is_refused_is_told_at_once(tmp_path: Path) -> None:
    body = content([activity("a", "rm", "-rf /"), activity("b", "docker", "kill redis"), activity("c", "reboot")])
    with pytest.raises(InputError, match=r"'a': rm -rf / \(.*\); 'c': reboot \(.*\)\."):
        imported(tmp_path, body)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(InputError, match="is not JSON"):
        read_experiment(tmp_path / "one.json", deployed)


def test_a_key_of_yaml_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """The last would be taken, and the other swallowed; one that replaces what is merged is no other."""
    (tmp_path / "one.yaml").write_text("title: one\ntitle: two\n")
    with pytest.raises(InputError, match="the key 'title' is there twice"):
        read_experiment(tmp_path / "one.yaml", deployed)
    merged = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\n"
    assert parse_yaml(merged)["c"] == {"x": 3, "y": 1}


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="is not YAML"):
        read_experiment(tmp_path / "one.yaml", deployed)
