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
    ],
)
def test_what_is_done_to_processes_is_done_to_their_hosts(
    tmp_path: Path, path: str, arguments: object, kind: str, host: str
) -> None:
    made = imported(tmp_path, content([activity("a", path, arguments, pauses={"after": 5})]))
    assert done(made) == [(kind, (host,), 0, 5)]


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
                **toxic("slow", "create_latency_toxic", for_proxy="llm", toxic_name="t", latency=900),
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
    assert any("a latency of 900 ms is one of 300 ms here" in note for note in made.notes)


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
        (content([activity("a", "docker", "kill redis")], controls=[{"name": "x"}]), "the key 'controls'"),
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


def test_all_that_is_refused_is_told_at_once(tmp_path: Path) -> None:
    body = content([activity("a", "rm", "-rf /"), activity("b", "docker", "kill redis"), activity("c", "reboot")])
    with pytest.raises(InputError, match=r"'a': rm -rf /; 'c': reboot\."):
        imported(tmp_path, body)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(InputError, match="is not JSON"):
        read_experiment(tmp_path / "one.json", deployed)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="is not YAML"):
        read_experiment(tmp_path / "one.yaml", deployed)
