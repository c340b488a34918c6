"""Ways of work follow from who needs whom and what stores hand on; a run must show their links one after another."""

from collections.abc import Iterator

import pytest
import trio

from simulator import Host, System
from simulator.errors import InputError
from simulator.history import History, Kind
from simulator.traffic import Traffic
from simulator.ways import Way, ways_of

CALL = Way(("user", "front", "store"), is_handed_on=False)
WORK = Way(("user", "front", "store", "worker"), is_handed_on=True)


class Shop(System):
    """Two fronts leave orders in a store, which a worker takes up; it asks a bank and puts the news into a queue."""

    store = Host("store", trio.sleep_forever, hands_on={"front": ("worker",)})

    def hosts(self) -> Iterator[Host]:
        yield self.store
        yield Host("queue", trio.sleep_forever, hands_on={"worker": ("front",)})
        yield Host("bank", trio.sleep_forever)
        for name in ("front-a", "front-b"):
            yield Host(name, trio.sleep_forever, ("store", "queue", "bank"), open_to_users=True, behind="front")
        yield Host("worker", trio.sleep_forever, ("store", "queue", "bank"))


def history_of(*messages: tuple[str, str, float, float], until_s: float = 10.0) -> History:
    """Return what there is of one operation of alice, begun at 1 s, and one more, begun at 20 s."""
    now_s = 1.0
    made = History(lambda: now_s)
    links: dict[tuple[str, str], Traffic] = {}
    for source, destination, sent_s, arrived_s in messages:
        links.setdefault((source, destination), Traffic()).note(sent_s, arrived_s)
    made.links = links
    made.record(Kind.INVOKE, "user:alice", "order", operation=1)
    now_s = until_s
    made.record(Kind.OK, "user:alice", "order", operation=1)
    now_s = 20.0
    made.record(Kind.INVOKE, "user:alice", "order", operation=2)
    return made


def test_work_goes_through_stores_and_comes_back_to_the_user() -> None:
    """What is only called ends the way of whoever calls it; the worker asks it before it hands on the result."""
    ways = [str(each) for each in ways_of(Shop())]
    there = ("user > front-a > queue", "user > front-a > bank", "user > front-b > queue", "user > front-b > bank")
    back = [
        f"user > {front} > store > worker > bank > worker > queue > {other} > user"
        for front in ("front-a", "front-b")
        for other in ("front-a", "front-b")
    ]
    assert sorted(ways) == sorted([*there, *back])


def test_links_must_be_used_one_after_another() -> None:
    """A message that was sent before the one arrived that should have led to it was led to by something else."""
    asked = ("user:alice", "front", 1.0, 1.1)
    assert CALL.was_gone(history_of(asked, ("front", "store", 1.1, 1.2)))
    assert not CALL.was_gone(history_of(asked, ("front", "store", 1.05, 1.2)))
    assert not CALL.was_gone(history_of(("user:alice", "front", 0.9, 1.1), ("front", "store", 1.1, 1.2)))
    assert not CALL.was_gone(history_of(asked))


def test_one_users_work_is_not_another_ones() -> None:
    assert not CALL.was_gone(history_of(("user:bob", "front", 1.0, 1.1), ("front", "store", 1.1, 1.2)))


def test_what_is_called_answers_before_the_operation_ends_what_is_handed_on_may_be_done_later() -> None:
    late = (("user:alice", "front", 1.0, 1.1), ("front", "store", 1.1, 1.2), ("store", "worker", 1.2, 9.0))
    assert CALL.was_gone(history_of(*late, until_s=1.2))
    assert not CALL.was_gone(history_of(*late, until_s=1.15))
    assert WORK.was_gone(history_of(*late, until_s=1.15))
    assert not WORK.was_gone(history_of(*late[:2], ("store", "worker", 20.5, 20.6))), "the next operation has begun"


@pytest.mark.parametrize(
    ("hands_on", "match"),
    [({"fronts": ("worker",)}, "'fronts'"), ({"front": ("bank",)}, "'bank', which does not need it")],
)
def test_a_store_hands_on_only_between_hosts_that_need_it(hands_on: dict[str, tuple[str, ...]], match: str) -> None:
    class Wrong(Shop):
        store = Host("store", trio.sleep_forever, hands_on=hands_on)

    with pytest.raises(InputError, match=match):
        Wrong().check_declared()
