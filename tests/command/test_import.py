"""`wavetank import`: a plan made of what was recorded, logged or written by hand; simulated, told, kept if it fails."""

import json
from pathlib import Path

import msgspec
import pytest

from models.system import QUESTIONS
from models.system import system as chat
from simulator.fault import Fault
from simulator.history import Value
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.simulated_run import simulate
from simulator.trace import load_trace
from tests.command.stage import called, listing, refused
from tests.command.watched import SHOP, events_of, line, session, shop, sold

OF_SHOP = ("--system", SHOP)
HAT: dict[str, Value] = {"item": "hat"}
TOLD = """\
s.jsonl on tests.command.watched:shop: 3 steps, 2 users, latency 1 ms
  1.    0.001 s  alice buy item='hat'
  2.    1.501 s  shop crashes and is back after 1 s
  3.    4.001 s  bob buy item='pen'
  4.    4.001 s  everything is healed; then the system has 60 s to come to rest

"""


def buys(*times_s: float, item: str = "hat") -> Plan:
    """A plan in which the only user buys something at these times."""
    pauses = [later - at_s for at_s, later in zip(times_s, (*times_s[1:], times_s[-1]), strict=True)]
    return Plan(Setting(), tuple(Step(Do("buy", 0, {"item": item}), pause_s) for pause_s in pauses))


def written(directory: Path, name: str = "plan.json") -> Plan:
    return msgspec.json.decode((directory / name).read_bytes(), type=Plan)


def begun(name: str, at_s: float, user: str, **arguments: Value) -> dict[str, Value]:
    return {"at_s": at_s, "kind": "invoke", "host": f"user:{user}", "name": name, "operation": 1, "data": arguments}


# Sessions


def test_a_session_is_told_as_a_plan_and_its_faults_are_in_it(tmp_path: Path) -> None:
    """The output is an interface. What was seen is done again: the plan is that of the run that was recorded."""
    plan = Plan(
        Setting(users=2),
        (
            Step(Do("buy", 0, HAT), 1.5),
            Step(Strike(Fault("crash", ("shop",), 1.0)), 2.5),
            Step(Do("buy", 1, {"item": "pen"})),
        ),
    )
    session(tmp_path / "s.jsonl", events_of(shop, plan))
    code, out, err = called(tmp_path, "import", "s.jsonl", "-o", "plan.json")
    assert (code, err) == (0, "")
    assert out.startswith(TOLD)
    assert "holds        always      sold-once  examined 2 sold\n" in out
    assert written(tmp_path) == plan
    assert listing(tmp_path) == ["plan.json", "s.jsonl"]


def test_users_are_numbered_in_the_order_of_their_coming(tmp_path: Path) -> None:
    """Whatever they were called; a fault at one of them strikes who has their place."""
    struck: dict[str, Value] = {"at": ["user:zoe", "shop"], "for_s": 1.0, "phase": "begin"}
    fault: dict[str, Value] = {"at_s": 2.0, "kind": "fault", "host": "user:zoe", "name": "partition", "data": struck}
    session(tmp_path / "s.jsonl", [begun("buy", 1.0, "zoe", item="hat"), fault, begun("buy", 3.0, "adam", item="pen")])
    assert called(tmp_path, "import", "s.jsonl", "-o", "plan.json")[0] == 0
    assert [step.action for step in written(tmp_path).steps] == [
        Do("buy", 0, HAT),
        Strike(Fault("partition", ("user:alice", "shop"), 1.0)),
        Do("buy", 1, {"item": "pen"}),
    ]


def test_long_pauses_are_cut_short(tmp_path: Path) -> None:
    """Nights are long, and nothing happens in them."""
    session(tmp_path / "s.jsonl", [begun("buy", at_s, "zoe", item=f"hat {at_s}") for at_s in (5.0, 7.5, 3600.0)])
    called(tmp_path, "import", "s.jsonl", "-o", "plan.json")
    assert [step.after_s for step in written(tmp_path).steps] == [2.5, 30.0, 0.0]


def test_what_breaks_a_promise_is_saved_for_the_other_commands(tmp_path: Path) -> None:
    """As if wavetank check had found it; exit code 1, in every process."""
    session(tmp_path / "s.jsonl", events_of(shop, buys(0.0, 1.0, 2.0)))
    code, out, _ = called(tmp_path, "import", "s.jsonl", "--json", "out.json")
    assert code == 1
    assert "VIOLATED     always      sold-once  the hat was sold 3 times\n" in out
    body = json.loads((tmp_path / "out.json").read_bytes())
    assert (body["exit_code"], len(body["story"])) == (1, 4)
    assert f"wavetank replay {body['saved']}\n" in out
    saved = load_trace(tmp_path / ".wavetank" / "failures" / body["saved"] / "trace.json")
    assert (saved.plan, saved.broken.property, saved.hash) == (buys(0.0, 1.0, 2.0), "sold-once", body["hash"])
    assert called(tmp_path, "replay", body["saved"], "--exact")[0] == 1
    code, out, _ = called(tmp_path, "shrink", body["saved"], "--workers", "1")
    assert code == 1
    assert "3 steps shrunk to 2" in out


# Logs


def test_logs_become_what_the_system_says_that_they_tell_of(tmp_path: Path) -> None:
    """An incident that only logs are left of."""
    (tmp_path / "a.jsonl").write_text(sold("hat", 0.0, user="zoe") + line("other", 0.5) + sold("pen", 2.0, user="adam"))
    assert called(tmp_path, "import", "shop=a.jsonl", *OF_SHOP, "-o", "plan.json")[0] == 0
    assert written(tmp_path) == Plan(
        Setting(users=2), (Step(Do("buy", 0, HAT), 2.0), Step(Do("buy", 1, {"item": "pen"})))
    )


def test_the_platforms_logs_tell_who_came_asked_and_left(tmp_path: Path) -> None:
    """Its gateways name users when they connect, and numbers of connections when these end. A third gateway is one."""
    (tmp_path / "a.jsonl").write_text(
        line("connection_opened", 0.0, connection=1, user="zoe", session="s1")
        + line("message_accepted", 1.0, user="zoe", message="zoe-1")
        + line("connection_opened", 2.0, connection=2, user="zoe", session="s1")
        + line("session_ended", 3.0, session="s1")
        + line("connection_closed", 3.5, connection=1)
        + line("connection_closed", 4.0, connection=2)
    )
    (tmp_path / "c.jsonl").write_text(line("connection_opened", 2.5, connection=1, user="adam", session="s2"))
    called(tmp_path, "import", "gateway-a=a.jsonl", "gateway-c=c.jsonl", "-o", "plan.json")
    plan = written(tmp_path)
    assert plan.setting == Setting(users=2, replicas={"gateways": 3})
    assert [step.action for step in plan.steps] == [
        Do("connect", 0),
        Do("ask", 0, {"question": QUESTIONS[0], "thread": 1}),
        Do("connect", 1),
        Do("log_out", 0),
        Do("leave", 0, {"clean": True}),
    ]


def test_the_platforms_own_logs_make_a_plan_that_makes_sense(tmp_path: Path) -> None:
    """Every step of it can be taken, and the same happens: somebody is connected, asks, and is answered."""
    plan = Plan(
        Setting(),
        (
            Step(Do("connect", 0), 0.5),
            Step(Do("ask", 0, {"question": QUESTIONS[0], "thread": 1}), 3.0),
            Step(Do("leave", 0, {"clean": True}), 1.0),
        ),
    )
    logged = [each for each in simulate(chat, plan, ()).history.events if each.host.startswith("gateway")]
    for host in dict.fromkeys(each.host for each in logged):
        entries = (line(each.name, each.at_s, **each.data) for each in logged if each.host == host and each.data)
        (tmp_path / f"{host}.jsonl").write_text("".join(entries))
    logs = [f"{path.stem}={path.name}" for path in sorted(tmp_path.glob("*.jsonl"))]
    code, out, _ = called(tmp_path, "import", *logs, "-o", "plan.json")
    assert code == 0
    assert "left out" not in out
    actions = [step.action for step in written(tmp_path).steps]
    assert actions[:3] == [step.action for step in plan.steps]


# Plans


def test_a_plan_is_edited_by_hand_and_run_again(tmp_path: Path) -> None:
    """One more step, and it fails; a step that makes no sense when its time comes is told to be left out."""
    session(tmp_path / "s.jsonl", events_of(shop, buys(0.0)))
    assert called(tmp_path, "import", "s.jsonl", "-o", "plan.json")[0] == 0
    path = tmp_path / "plan.json"
    body = json.loads(path.read_bytes())
    body["steps"] = [*body["steps"], {"action": {"action": "do", "operation": "buy", "user": 0, "arguments": HAT}}]
    path.write_text(json.dumps(body, indent=4))
    assert called(tmp_path, "import", "plan.json", *OF_SHOP)[0] == 1
    path.write_bytes(msgspec.json.encode(Plan(Setting(), (Step(Do("cancel", 0)), Step(Do("connect", 0), 0.5)))))
    code, out, _ = called(tmp_path, "import", "plan.json")
    assert code == 0
    assert "1.    0.001 s  alice cancels what they asked last  (left out: it made no sense then)\n" in out
    assert "alice connects\n" in out


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([begun("buy", 0.0, user, item="hat") for user in "abc"], "log:4: 'c' is user 3, and the system has 2 at most"),
        ([begun("steal", 0.0, "a")], "log:2: the system has no operation 'steal'. Known: buy"),
        ([begun("buy", 0.0, "a", price=3)], "log:2: operation 'buy' cannot be done with arguments=price"),
        ([begun("buy", 0.0, "a", item="hat"), {}], "log:3 is no event of a recorded session"),
        ([], "nothing that was recorded tells of what a user did"),
        (
            [{"at_s": 0.0, "kind": "observe", "host": "bank", "name": "open"}],
            "log:2 is of host 'bank'. Known: shop",
        ),
        (
            [
                {
                    "at_s": 0.0,
                    "kind": "fault",
                    "host": "bank",
                    "name": "crash",
                    "data": {"at": ["bank"], "phase": "begin"},
                }
            ],
            "log:2: the fault 'crash' strikes 'bank'. Known: shop",
        ),
        (
            [
                {
                    "at_s": 0.0,
                    "kind": "fault",
                    "host": "shop",
                    "name": "burn",
                    "data": {"at": ["shop"], "phase": "begin"},
                }
            ],
            "log:2: no fault kind='burn'",
        ),
    ],
)
def test_what_the_system_does_not_have_is_named_with_its_line(
    tmp_path: Path, lines: list[dict[str, Value]], says: str
) -> None:
    """A log of another system, or of another version of it; nothing is written."""
    session(tmp_path / "log", lines)
    assert says in refused(tmp_path, "import", "log", "-o", "plan.json")
    assert listing(tmp_path) == ["log"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"steps": [], "seting": {}}', "file is no plan: Object contains unknown field `seting`"),
        ('{\n"setting": {},\n"steps": [,]}', "file is no plan: JSON is malformed"),
        ('{"setting": {"users": 9}, "steps": []}', "file: the plan has users=9, and the system has 2 at most"),
        ('{"setting": {"latency_s": -1}, "steps": []}', "file is no plan: Expected `float` >= 0.0"),
        (
            '{"setting": {}, "steps": [{"action": {"action": "do", "operation": "buy", "user": 1, "arguments": '
            '{"item": "hat"}}}]}',
            "file: step 1 is of user=1, and there are 1, counted from 0",
        ),
        (
            '{"setting": {}, "steps": [{"action": {"action": "strike", "fault": {"kind": "crash", "at": ["bank"]}}}]}',
            "file: the fault 'bank crashes and is back after 0 s' names host='bank'",
        ),
        (
            '{"setting": {}, "steps": [{"action": {"action": "strike", "fault": {"kind": "burn", "at": ["shop"]}}}]}',
            "file: no fault kind='burn'",
        ),
        ('{"format": "wavetank-trace", "plan": {}}', "file is a trace: wavetank replay runs it"),
        (sold("hat", 0.0), "file:1 does not say of which host it is. Write HOST=file"),
        ("\x00\xff", "nothing that was recorded tells of what a user did"),
    ],
)
def test_a_damaged_plan_is_one_sentence(tmp_path: Path, content: str, says: str) -> None:
    """It was edited by hand."""
    (tmp_path / "file").write_text(content)
    assert says in refused(tmp_path, "import", "file", *OF_SHOP)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing argument 'LOG...'"),
        (("none",), "the log cannot be read: [Errno 2] No such file or directory: 'none'"),
        (("s.jsonl", "-o", "no/where.json"), "there is no directory"),
        (("s.jsonl", "-o", "/dev/full"), "the plan could not be saved: [Errno 28] No space left on device"),
        (("s.jsonl", "--defect", "old"), "no defect named 'old'"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """Before anything is simulated."""
    session(tmp_path / "s.jsonl", events_of(shop, buys(0.0)))
    assert says in refused(tmp_path, "import", *arguments)
    assert listing(tmp_path) == ["s.jsonl"]
