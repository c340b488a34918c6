"""The record of a run: its order, its hash, and what can be asked of it."""

from collections.abc import Callable

import pytest

from simulator import History, InputError, Kind, Reading
from simulator.history import Unseen, Value
from simulator.plan import Step, Wait


class Scene:
    """A history whose time, and what is unseen in it, the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.unseen = Unseen()
        self.history = History(lambda: self.now_s, lambda: self.unseen)


def recorded(change: Callable[[Scene], object] = lambda _scene: None) -> str:
    scene = Scene()
    scene.history.record(Kind.INVOKE, "user:alice", "ask", {"text": "hi"}, 1)
    change(scene)
    scene.history.record(Kind.OK, "user:alice", "ask", {"result": "m1"}, 1)
    return scene.history.hash


def test_equal_histories_have_equal_hashes() -> None:
    """Equality of hashes is the whole proof that a replay was exact."""
    assert recorded() == recorded()
    assert len(recorded()) == 32


@pytest.mark.parametrize(
    "change",
    [
        lambda scene: setattr(scene, "now_s", 0.000001),
        lambda scene: setattr(scene, "unseen", Unseen(now_s=1e-9)),
        lambda scene: setattr(scene, "unseen", Unseen(choices=1)),
        lambda scene: setattr(scene, "unseen", Unseen(turns=1)),
        lambda scene: setattr(scene, "unseen", Unseen(drawn=1)),
        lambda scene: setattr(scene, "unseen", Unseen(random=1)),
        lambda scene: scene.history.begin_step(Step(Wait())),
        lambda scene: scene.history.record(Kind.MARK, "", "heal"),
        lambda scene: scene.history.record(Kind.OBSERVE, "a", "seen", {"x": 1}),
    ],
    ids=["time", "exact time", "choice", "turn", "drawn", "random", "step", "mark", "observation"],
)
def test_the_hash_covers_what_was_done_and_what_decided_it(change: Callable[[Scene], object]) -> None:
    """A difference that the hash missed would be a divergence that nobody sees."""
    assert recorded(change) != recorded()


@pytest.mark.parametrize(
    "other",
    [
        (Kind.FAIL, "h", "n", {"k": 1}, 1),
        (Kind.OK, "i", "n", {"k": 1}, 1),
        (Kind.OK, "h", "m", {"k": 1}, 1),
        (Kind.OK, "h", "n", {"k": 2}, 1),
        (Kind.OK, "h", "n", {"l": 1}, 1),
        (Kind.OK, "h", "n", {"k": 1}, 2),
        (Kind.OK, "h", "n", {"k": 1}, None),
    ],
)
def test_the_hash_covers_every_field(other: tuple[Kind, str, str, dict[str, int], int | None]) -> None:
    """Each field of an event is evidence."""
    hashes = []
    for fields in ((Kind.OK, "h", "n", {"k": 1}, 1), other):
        history = Scene().history
        history.record(*fields)
        hashes.append(history.hash)
    assert hashes[0] != hashes[1]


def test_the_order_of_a_dictionary_is_no_difference() -> None:
    """Data are named, not ordered."""
    one, other = Scene().history, Scene().history
    one.record(Kind.OBSERVE, "h", "n", {"a": 1, "b": {"c": 1, "d": 2}})
    other.record(Kind.OBSERVE, "h", "n", {"b": {"d": 2, "c": 1}, "a": 1})
    assert one.hash == other.hash


def test_an_event_does_not_change_with_what_it_was_recorded_from() -> None:
    """A property that saw the future of a list would judge what never was."""
    history = Scene().history
    items: list[Value] = [1]
    inner: list[Value] = [1]
    nested: dict[str, Value] = {"inner": inner}
    event = history.record(Kind.OBSERVE, "h", "n", {"items": items, "nested": nested})
    items.append(2)
    inner.append(2)
    assert event.data == {"items": [1], "nested": {"inner": [1]}}


@pytest.mark.parametrize("value", [object(), ValueError("x"), "\ud800"])
def test_data_that_no_trace_can_hold_are_refused_and_leave_no_event(value: object) -> None:
    """An event without a hash would be kept, judged, and impossible to save."""
    history = Scene().history
    empty = history.hash
    with pytest.raises(InputError, match=r"'n' on host='h'.*JSON"):
        history.record(Kind.OBSERVE, "h", "n", {"x": value})  # type: ignore[dict-item]
    assert not history.events
    assert history.hash == empty


def test_operations_are_paired_with_how_they_ended() -> None:
    """ok happened, fail did not, info nobody knows, and what has not ended is open."""
    history = Scene().history
    for name in ("good", "refused", "unclear", "open"):
        history.record(Kind.INVOKE, "user:alice", name, {"x": name}, history.next_operation())
    history.record(Kind.INFO, "user:alice", "unclear", {"error": "?"}, 3)
    history.record(Kind.OK, "user:alice", "good", {"result": 7}, 1)
    history.record(Kind.FAIL, "user:alice", "refused", {"error": "no"}, 2)
    found = history.operations()
    assert [(each.name, each.number, each.ok, each.failed, each.result) for each in found] == [
        ("good", 1, True, False, 7),
        ("refused", 2, False, True, None),
        ("unclear", 3, False, False, None),
        ("open", 4, False, False, None),
    ]
    assert found[3].completed is None
    assert found[0].user == "alice"
    assert found[0].arguments == {"x": "good"}
    assert [each.name for each in history.operations("open", "good")] == ["good", "open"]


def test_marks_and_faults_are_found_by_name() -> None:
    """Properties that wait for heal or quiet ask for it."""
    scene = Scene()
    scene.history.record(Kind.FAULT, "a", "crash", {"phase": "begin"})
    scene.now_s = 2.5
    scene.history.record(Kind.MARK, "", "heal")
    assert scene.history.marked_at("heal") == 2.5
    assert scene.history.marked_at("quiet") is None
    assert [event.host for event in scene.history.faults("crash")] == ["a"]
    assert not scene.history.faults("freeze")
    assert len(scene.history.faults()) == 1


def test_a_reading_counts_what_its_answers_held() -> None:
    """A promise for which nothing was examined is told from one that was kept."""
    history = Scene().history
    history.record(Kind.INVOKE, "user:alice", "ask", {}, 1)
    history.record(Kind.OBSERVE, "user:alice", "frame")
    history.record(Kind.OBSERVE, "user:alice", "frame")
    reading = Reading(history)
    assert not reading.observed("row")
    assert not reading.faults()
    assert reading.marked_at("heal") is None
    assert len(reading.events) == 3
    assert not reading.examined, "looking at all events in bulk examines nothing in particular"
    reading.observed("frame")
    reading.operations()
    assert dict(reading.examined) == {"frame": 2, "ask": 1}
