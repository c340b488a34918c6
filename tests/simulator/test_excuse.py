"""Excuses: a fault that makes it impossible to finish something is found, wherever it is; any other is none."""

import pytest

from simulator import Host, InputError, Pending
from simulator.excuse import Excuses
from simulator.fault import Fault


async def nothing() -> None: ...


HOSTS = (
    Host("front-a", nothing, needs=("worker",), open_to_users=True, behind="front"),
    Host("front-b", nothing, needs=("worker",), open_to_users=True, behind="front"),
    Host("worker", nothing, needs=("store", "archive"), optional=("archive",)),
    Host("store", nothing, needs=("worker",)),
    Host("archive", nothing),
)


def excuse(needs: tuple[str, ...] | None, *places: tuple[str, ...]) -> str | None:
    kinds = {1: "crash", 2: "partition"}
    return Excuses(HOSTS, [Fault(kinds[len(at)], at) for at in places]).excuse(Pending("it", needs))


@pytest.mark.parametrize(
    ("needs", "at", "says"),
    [
        (("store",), ("store",), "it needs store, and the fault 'crash' at store is not over"),
        (("worker",), ("store",), "it needs worker, and so store, and the fault 'crash' at store is not over"),
        (("worker",), ("worker", "store"), "and so store, and the fault 'partition' at worker and store is not over"),
        (("worker",), ("store", "worker"), "and so store, and the fault 'partition' at store and worker is not over"),
        (
            ("worker", "archive"),
            ("archive",),
            "needs worker, and so archive, and the fault 'crash' at archive is not over",
        ),
        (("worker", "archive"), ("worker", "archive"), "the fault 'partition' at worker and archive is not over"),
        (("user:alice",), ("store",), "needs user:alice, and so front-a, and so worker, and so store, and the fault"),
        (("user:alice",), ("front-b", "worker"), "needs user:alice, and so front-b, and so worker, and the fault"),
        (("front-a",), ("user:bob", "front-a"), "the fault 'partition' at user:bob and front-a is not over"),
        (None, ("archive",), "it may need everything, and the fault 'crash' at archive is not over"),
    ],
)
def test_an_excuse_is_found_at_a_host_on_a_link_and_in_what_a_host_needs(
    needs: tuple[str, ...] | None, at: tuple[str, ...], says: str
) -> None:
    """An impossible demand would send somebody to look for a bug that is none. The words say where to look instead."""
    assert says in str(excuse(needs, at))


@pytest.mark.parametrize(
    ("needs", "at"),
    [
        (("store",), ("archive",)),
        (("worker",), ("archive",)),
        (("worker",), ("worker", "archive")),
        (("archive",), ("worker",)),
        (("user:alice",), ("front-a",)),
        (("user:alice",), ("user:alice", "front-b")),
        ((), ("store",)),
    ],
)
def test_what_is_not_needed_is_no_excuse(needs: tuple[str, ...], at: tuple[str, ...]) -> None:
    """What a host can do without, and one of two behind a name while the other can be reached, need not be well."""
    assert excuse(needs, at) is None


def test_a_shared_name_is_out_of_reach_when_each_behind_it_is() -> None:
    """In whatever way: one host is down, and the other cannot be reached by this user. Another user reaches it."""
    places = ("front-a",), ("front-b", "user:alice")
    assert (
        excuse(("user:alice",), *places)
        == "it needs user:alice, and so front-a, and the fault 'crash' at front-a is not over"
    )
    assert excuse(("user:bob",), *places) is None


def test_when_nothing_is_broken_there_is_no_excuse() -> None:
    """Also not for what may need everything."""
    assert excuse(None) is None
    assert excuse(("user:alice", "archive")) is None


def test_a_need_that_is_no_host_is_the_systems_mistake() -> None:
    """Said also while nothing is broken, or it would be found in a rare run only."""
    with pytest.raises(InputError, match=r"pending 'it' needs 'stor'\. Known: front-a, front, front-b, worker, store"):
        excuse(("stor",))
