"""Small systems that each show one thing, for the tests of the search and of the command."""

import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import hypothesis.strategies as st
import structlog
import trio

from simulator import (
    Expectation,
    Failed,
    Host,
    Observer,
    Property,
    Reading,
    System,
    User,
    Violation,
    always,
    operation,
    sometimes,
)
from simulator.history import Value


class Quiet(System):
    """One host that does nothing, one operation that always works: every promise holds."""

    fault_kinds: ClassVar[tuple[str, ...] | None] = ()

    def hosts(self) -> Iterator[Host]:
        yield Host("server", self.serve, open_to_users=True)

    async def serve(self) -> None:
        await trio.sleep_forever()

    @operation()
    async def act(self, user: User) -> Any:
        return None


class Counting(Quiet):
    """Breaks its promise at the third operation with a number of 5 or more; numbers below are beside the point."""

    @operation(number=st.integers(0, 9), word=st.sampled_from(("", "q", "xyz")))
    async def act(self, user: User, number: int, word: str) -> int:  # type: ignore[override]
        return number

    @always
    def few_large(self, history: Reading) -> str | None:
        """At most two large numbers."""
        large = [each for each in history.operations("act") if each.result is not None and int(str(each.result)) >= 5]
        return f"{len(large)} large numbers" if len(large) > 2 else None


class Armed(Quiet):
    """Breaks its promise when something is done after the one code of a million, which is hardly ever drawn."""

    CODE = 777_777

    @operation(code=st.integers(0, 999_999))
    async def arm(self, user: User, code: int) -> int:
        return code

    @always
    def harmless(self, history: Reading) -> str | None:
        """Nothing is done once the code was given."""
        done = history.operations("arm", "act")
        armed = next((place for place, each in enumerate(done) if each.arguments.get("code") == self.CODE), len(done))
        return f"{done[armed + 1].name} after the code" if done[armed + 1 :] else None


class Wordy(Quiet):
    """Draws from strategies for which Hypothesis keeps tables on disk."""

    @operation(word=st.text(), letter=st.characters(categories=["Lu"]), blob=st.binary(), pair=st.tuples(st.floats()))
    async def say(self, user: User, word: str, letter: str, blob: str, pair: list[float]) -> None: ...


class Unreached(Quiet):
    """Names a state that no run reaches."""

    @sometimes
    def never(self, history: Reading) -> bool:
        """Something that does not happen."""
        return bool(history.observed("wonder"))


class Drifting(Quiet):
    """Carries state from one run into the next, which no run can be repeated with."""

    seen: list[int] = []  # noqa: RUF012 - shared between runs: that is what is wrong with it

    @operation()
    async def act(self, user: User) -> None:
        self.seen.append(1)
        user.observe("seen", count=len(self.seen))

    @always
    def nothing(self, history: Reading) -> str | None:
        """Nothing is ever done."""
        return "something was done" if history.operations("act") else None


class Awkward(Quiet):
    """Finds evidence that no terminal and no XML likes."""

    @always
    def plain(self, history: Reading) -> str | None:
        """Evidence is plain."""
        return "a\x00b \x1b[31m ü <&>" if history.operations("act") else None


class Outcomes(Quiet):
    """Operations that end in every way there is."""

    defects = {"known": "nothing, it is only a name"}  # noqa: RUF012

    @operation()
    async def act(self, user: User) -> int:
        return 1

    @operation()
    async def refused(self, user: User) -> None:
        raise Failed("no")

    @operation()
    async def broken(self, user: User) -> None:
        raise ConnectionResetError("gone")

    @operation()
    async def late(self, user: User) -> None:
        with trio.fail_after(0.1):
            await trio.sleep_forever()

    @operation()
    async def stuck(self, user: User) -> None:
        await trio.sleep_forever()

    @operation()
    async def wrong(self, user: User) -> None:
        raise ValueError("a bug")

    @operation()
    async def exits(self, user: User) -> None:
        sys.exit(0)

    @operation()
    async def returns_object(self, user: User) -> object:
        return object()

    @operation(items=st.lists(st.integers()))
    async def changes(self, user: User, items: list[Value]) -> None:
        items.append(1)
        user.observe("items", items=items)
        items.append(2)

    @operation(when=lambda user: bool(user.memory.get("asked")))
    async def only_then(self, user: User) -> None: ...

    @operation()
    async def ask(self, user: User) -> None:
        user.memory["asked"] = True


class SelfHarming(Quiet):
    """A host that does to itself what its class says."""

    how = "raise"

    async def serve(self) -> None:
        await trio.sleep(1)
        if self.how == "raise":
            raise ValueError("a bug")
        if self.how == "exit":
            sys.exit(0)
        structlog.get_logger().info("spoke", error=ValueError("logged"), thing=object())
        await trio.sleep_forever()


class Uninspectable(Quiet):
    """Its store is not there when it is looked into."""

    async def inspect(self, observer: Observer) -> None:
        await trio.open_tcp_stream("server", 7000)


class Twins(Quiet):
    """Two promises of one name, the first of which would never be judged."""

    properties = (Property("twin", Expectation.ALWAYS, lambda _history: Violation("seen")),)

    @always
    def twin(self, history: Reading) -> None:
        """Another one."""


quiet = Quiet()
counting = Counting()
armed = Armed()
wordy = Wordy()
unreached = Unreached()
drifting = Drifting()
awkward = Awkward()
outcomes = Outcomes()
twins = Twins()
