"""What a user declares: found by its name, and refused with a sentence when no run could be made of it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest

from simulator import Host, InputError, System, Trouble, User, always, operation
from simulator.campaign import Budget, Campaign
from simulator.errors import known_names
from simulator.fault import FAULT_KINDS, Fault
from simulator.plan import Plan, Setting, Step, Strike
from simulator.simulated_run import SimulatedRun
from simulator.story import tell
from simulator.system import load_system
from tests.simulator.small import Quiet, outcomes, quiet, twins


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_system_is_found_in_the_working_directory(directory: Path) -> None:
    """Where its author is."""
    (directory / "mine_at_home.py").write_text("from tests.simulator.small import quiet as system\n")
    assert load_system("mine_at_home:system") is quiet


@pytest.mark.parametrize("path", ["", "x", "x:", ":x", "my_system.py"])
def test_a_name_without_module_and_object_is_explained(path: str) -> None:
    """With an example."""
    with pytest.raises(InputError, match=r"module:object.*Example"):
        load_system(path)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no_such_module_at_all:system", "no module named 'no_such_module_at_all'.*PYTHONPATH"),
        ("tests.no_such:system", "no module named 'tests.no_such'"),
        ("no_such.inner:system", "no module named 'no_such.inner'"),
        (".relative:system", "module:object as in an import, not '.relative:system'"),
        ("tests.simulator.small:nothing", "has no 'nothing'"),
        ("tests.simulator.small:Quiet", "is a type, not a System object"),
        ("tests.simulator.small:sys", "is a module, not a System object"),
    ],
)
def test_what_cannot_be_loaded_is_named(path: str, says: str) -> None:
    """The input and the cure."""
    with pytest.raises(InputError, match=says):
        load_system(path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import not_installed_here", "No module named 'not_installed_here'. Install what it needs"),
        ("import wa", "No module named 'wa'. Install what it needs"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(directory: Path, source: str, says: str) -> None:
    """The last is no part of the system's own name, though it begins it; a script that exits must not end us with 0."""
    (directory / "wash.py").write_text(source)
    with pytest.raises(InputError, match=says):
        load_system("wash:system")


def test_an_unknown_property_or_defect_lists_the_known() -> None:
    """A typing error is mended from the message alone."""
    with pytest.raises(InputError, match=r"no property named 'isolatoin'. Known: uncaught, finishes"):
        quiet.chosen_properties(["isolatoin"])
    with pytest.raises(InputError, match=r"no defect named 'x'. Known: known"):
        outcomes.with_defects(["x"])
    with pytest.raises(InputError, match=r"no defect named 'x'. This system declares none"):
        quiet.with_defects(["x"])


def test_of_many_names_the_nearest_is_told() -> None:
    """Nobody finds a typing error in forty-five names; the rest is one command away."""
    many = type("Many", (Quiet,), {"defects": {f"{each}-is-lost": "" for each in "abcdefghijklmnop"} | {"stale": ""}})()
    with pytest.raises(InputError, match=r"named 'stlae'\. Did you mean 'stale'\? wavetank defects lists them all\.$"):
        many.with_defects(["stlae"])
    with pytest.raises(InputError, match=r"named '12345'\. wavetank defects lists them all\.$"):
        many.with_defects(["12345"])


def test_defects_are_switched_on_in_a_copy() -> None:
    """The object that others imported stays sound."""
    assert outcomes.with_defects(["known"]).planted == {"known"}
    assert not outcomes.planted


def test_two_promises_of_one_name_are_refused() -> None:
    """One of them would never be judged, and nobody would know."""
    with pytest.raises(InputError, match=r"two properties are named 'twin'"):
        twins.chosen_properties([])

    class Hiding(Quiet):
        @always
        def uncaught(self, _history: object) -> None:
            """The name of a promise that every system makes."""

    with pytest.raises(InputError, match=r"two properties are named 'uncaught'"):
        Hiding().chosen_properties([])


def test_a_property_asked_for_twice_is_judged_once() -> None:
    """And reported once."""
    assert [each.name for each in quiet.chosen_properties(["finishes", "uncaught", "finishes"])] == [
        "finishes",
        "uncaught",
    ]


def hosts(*declared: Host) -> type[System]:
    return type("Declared", (Quiet,), {"hosts": lambda _self: iter(declared)})


def kinds(kind: str, system: type[System]) -> type[System]:
    return type("Declared", (system,), {"fault_kinds": (kind,)})


def nothing() -> None: ...


def with_trouble(host: str, *names: str, sentence: str = "") -> Host:
    troubles = tuple(Trouble(name, nothing, nothing, sentence) for name in names)
    return Host(host, quiet.serve, troubles=troubles)


@pytest.mark.parametrize(
    ("system", "says"),
    [
        (type("Declared", (Quiet,), {"users": (3, 1)}), r"users=\(3, 1\)"),
        (type("Declared", (Quiet,), {"users": (-1, 1)}), r"users=\(-1, 1\)"),
        (type("Declared", (Quiet,), {"latencies_s": ()}), "latencies_s"),
        (type("Declared", (Quiet,), {"replicas": {"fronts": ()}}), r"replicas has 'fronts': \(\), nothing to draw"),
        (type("Declared", (Quiet,), {"replicas": {"fronts": (1, -1)}}), "replicas has 'fronts'"),
        (type("Declared", (Quiet,), {"latencies_s": (-0.1,)}), "latencies_s"),
        (type("Declared", (Quiet,), {"fault_kinds": ("crahs",)}), "no fault kind 'crahs'.*Known: crash"),
        (hosts(Host("a", quiet.serve), Host("a", quiet.serve)), "two hosts named 'a'"),
        (hosts(Host("user", quiet.serve)), "wavetank's own"),
        (hosts(Host("observer", quiet.serve)), "wavetank's own"),
        (hosts(Host("a", quiet.serve, needs=("b",))), "'a' needs 'b'. Known: a"),
        (hosts(Host("a", quiet.serve, behind="b"), Host("b", quiet.serve)), "'a' is behind 'b', which is a host's own"),
        (hosts(Host("a", quiet.serve, behind="a")), "'a' is behind 'a'"),
        (hosts(Host("a", quiet.serve, behind="user")), "'a' is behind 'user', which is .* wavetank's"),
        (hosts(with_trouble("a", "crash")), "'a' has two troubles named 'crash', or that is a fault kind"),
        (hosts(with_trouble("a", "sick", "sick")), "'a' has two troubles named 'sick'"),
        (hosts(with_trouble("a", "sick", sentence="{1} is sick")), "sentence of trouble 'sick' of Declared's host 'a'"),
        (hosts(with_trouble("a", "sick", sentence="{who} is sick")), r"It may hold \{0\}, the host, and \{for_s\}"),
        (hosts(with_trouble("a", "sick", sentence="{0 is sick")), "sentence of trouble 'sick'"),
        (kinds("sick", hosts(with_trouble("b", "well"))), "no fault kind 'sick'.*Known: crash.*, well"),
    ],
)
def test_a_declaration_that_no_run_could_be_made_of_is_refused(system: type[System], says: str) -> None:
    """Before the search, in a sentence; not in the middle of it, in a traceback of Hypothesis."""
    with pytest.raises(InputError, match=says):
        Campaign(system(), budget=Budget(runs=1), seed=0)


def test_a_sentence_that_names_what_is_not_there_is_refused() -> None:
    """It would be missed only when a failure is told, and the failure be lost with it."""
    with pytest.raises(InputError, match=r"'pay' names \{amuont\}"):

        @operation(amount=st.integers(), sentence="{user} pays {amuont}")
        async def pay(self: System, user: object, amount: int) -> None: ...


def test_faults_follow_from_hosts_and_links() -> None:
    """Nobody declares them."""

    class Two(Quiet):
        fault_kinds = ("crash", "partition")

        def hosts(self) -> Iterator[Host]:
            yield Host("store", self.serve)
            yield Host("front", self.serve, needs=("store",), open_to_users=True)

    found = Two().possible_faults()
    assert sorted(found["crash"]) == [("front",), ("store",)]
    assert sorted(found["partition"]) == [("front", "store"), ("user", "front")]


class Shared(Quiet):
    """Two front hosts behind one name, which can be told to end; a store that gets into troubles."""

    fault_kinds = None

    def hosts(self) -> Iterator[Host]:
        yield Host("a", self.serve, behind="front", needs=("store",), open_to_users=True, on_terminate=nothing)
        yield Host("b", self.serve, behind="front", needs=("store", "front"), open_to_users=True)
        yield Host("store", self.serve, troubles=(Trouble("full", nothing, nothing, "{0} is full for {for_s} s"),))
        yield Host("batch", self.serve, needs=("front",))


def test_all_that_is_declared_can_be_struck() -> None:
    """Every kind of the table and every trouble, unless the system says which."""
    found = Shared().possible_faults()
    assert list(found) == [*FAULT_KINDS, "full"]
    assert found["full"] == [("store",)]
    assert found["terminate"] == [("a",)]
    assert found["crash"] == [("a",), ("b",), ("store",), ("batch",)]
    assert list(kinds("full", Shared)().possible_faults()) == ["full"]
    assert type("None", (Shared,), {"fault_kinds": ()})().possible_faults() == {}


def test_who_needs_a_shared_name_is_linked_to_each_host_behind_it() -> None:
    """And users to each that is open to them; a name is no place that a fault could strike."""
    Shared().check_declared()
    links = Shared().possible_faults()["partition"]
    assert sorted(links) == [
        *(("a", "store"), ("b", "a"), ("b", "store"), ("batch", "a"), ("batch", "b"), ("user", "a"), ("user", "b"))
    ]
    assert "front" not in Shared().topology().nodes


def test_a_trouble_is_told_in_the_words_of_its_system() -> None:
    """A reader of a story knows the service, not its switches."""
    plan = Plan(Setting(), (Step(Strike(Fault("full", ("store",), 2.0))), Step(Strike(Fault("crash", ("a",), 1.0)))))
    story = tell(Shared(), plan)
    assert story[0].endswith("store is full for 2 s")
    assert story[1].endswith("a crashes and is back after 1 s")


class Broken(System):
    """Its hosts cannot be listed."""

    def hosts(self) -> Iterator[Host]:
        raise LookupError("no hosts today")


def test_hosts_that_cannot_be_listed_are_one_sentence() -> None:
    """A typo in `hosts` is met before the first run, not as a traceback out of the search."""
    with pytest.raises(InputError, match=r"Broken.hosts\(\) raised LookupError: no hosts today"):
        Broken().check_declared()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"amount": (1, 9)}, "not a Hypothesis strategy"), ({"amnt": st.just(1)}, "no argument 'amnt'")],
)
def test_an_operation_whose_arguments_cannot_be_drawn_is_refused_where_it_is_declared(
    arguments: dict[str, Any], says: str
) -> None:
    """Found in a run instead, it would be searched, shrunk and saved as a failure of the system."""
    with pytest.raises(InputError, match=says):

        @operation(**arguments)
        async def deposit(self: System, user: User, amount: int) -> None:
            """Do nothing."""


def test_an_operation_that_is_not_async_is_refused_where_it_is_declared() -> None:
    """In a run it would be told as a violation, at a line of wavetank's."""
    with pytest.raises(InputError, match=r"operation 'deposit' must be async: write async def deposit"):

        @operation()  # type: ignore[arg-type]
        def deposit(self: System, user: User) -> None:
            """Do nothing."""


def test_names_that_no_command_lists_are_listed_themselves() -> None:
    """A sentence with a hole in the place of a command is of no use."""
    many = [f"name-{number}" for number in range(12)]
    assert known_names(()) == "There are none."
    assert known_names(many, meant="nmae-3").startswith("Did you mean 'name-3'")
    assert known_names(many, meant="else").endswith("name-11.")


def test_an_operation_with_nothing_to_draw_needs_no_parentheses() -> None:
    """As promises do not."""

    class Counted(Quiet):
        @operation
        async def count(self, user: User) -> None:
            """Do nothing."""

    assert "count" in Counted().operations()


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"users": 3}, r"users=3 is not the fewest and the most users of a run. Example: \(1, 3\)"),
        ({"users": (1, 2, 3)}, "is not the fewest and the most"),
        ({"mix": lambda _self: ()}, r'no tuple of Mixed. Example: mix = \(Mixed\("ask"\),\)'),
        ({"mix": ("ask",)}, "no tuple of Mixed"),
    ],
)
def test_a_declaration_of_another_shape_is_one_sentence(declared: dict[str, Any], says: str) -> None:
    """It would be met as a traceback out of wavetank."""
    with pytest.raises(InputError, match=says):
        type("Odd", (Quiet,), declared)().check_declared()


def test_a_system_without_hosts_is_one_sentence() -> None:
    """Most likely the name of the method is misspelt."""
    with pytest.raises(InputError, match=r"System does not define hosts\(\)"):
        System().check_declared()


class Sized(Quiet):
    """As many hosts as it is asked for."""

    fault_kinds = None
    replicas: ClassVar[dict[str, tuple[int, ...]]] = {"fronts": (2, 1, 3)}

    def hosts(self) -> Iterator[Host]:
        """All fronts."""
        for number in range(self.count_of("fronts")):
            yield Host(f"front-{number}", self.serve, open_to_users=True)


def test_hosts_are_checked_for_every_number_of_them() -> None:
    """Also for one that is drawn late."""

    class Doubled(Sized):
        def hosts(self) -> Iterator[Host]:
            yield from super().hosts()
            if self.count_of("fronts") == 3:
                yield Host("front-0", self.serve)

    with pytest.raises(InputError, match="two hosts named 'front-0'"):
        Doubled().check_declared()
    Sized().check_declared()


def test_a_plan_says_how_many_hosts_there_are() -> None:
    """Where it says nothing there are as many as usual."""

    def names(setting: Setting) -> list[str]:
        with SimulatedRun(Sized(), setting) as run:
            return [host.name for host in run.hosts]

    assert names(Setting()) == ["front-0", "front-1"]
    assert names(Setting(replicas={"fronts": 1})) == ["front-0"]
    assert len(Sized().with_replicas({"fronts": 3}).possible_faults()["crash"]) == 3


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (Setting(replicas={"fronts": 4}), r"the plan has fronts=4, and the system fronts: 2, 1, 3\."),
        (Setting(replicas={"backs": 1}), "the plan has backs=1, and the system fronts: 2, 1, 3"),
        (Setting(latencies={"user:bob": 0.02}), "host='user:bob' far away. .*user:alice"),
        (Setting(latencies={"front-2": 0.02}), "host='front-2' far away"),
    ],
)
def test_a_plan_of_a_system_that_was_another_is_refused(setting: Setting, says: str) -> None:
    """By name, before anything is done."""
    with pytest.raises(InputError, match=says):
        Sized().check_plan(Plan(setting, ()))
    Sized().check_plan(Plan(Setting(replicas={"fronts": 3}, latencies={"front-2": 0.02, "user:alice": 0.02}), ()))
