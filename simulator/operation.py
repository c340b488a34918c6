"""Operations: what users can do, as methods of a system declare it."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from string import Formatter
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import attrs

from simulator.errors import InputError
from simulator.history import Value
from simulator.user import User

if TYPE_CHECKING:  # Hypothesis is imported where plans are generated, nowhere else.
    from hypothesis.strategies import SearchStrategy

__all__ = ["Failed", "Invocation", "OperationType", "operation", "operations_of"]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
_MARK = "__wavetank_operation__"


class Failed(Exception):
    """Raised by an operation that definitely did not happen: it was refused before it could have any effect.

    An `OSError`, a broken connection or a timeout means instead that nobody knows, and is recorded so.
    """


@attrs.frozen
class Invocation:
    """What a user did, as far as it is known: the operation, by its name, and its arguments."""

    user: str
    operation: str
    arguments: Mapping[str, Value] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class OperationType:
    """A kind of operation: how its arguments are drawn, and when it makes sense."""

    name: str
    arguments: Mapping[str, "SearchStrategy[Any]"]
    when: Callable[[User], bool] | None
    sentence: str
    weight: int
    takes: inspect.Signature
    """What the method takes besides itself and the user."""
    needs: tuple[str, ...] | None = None
    """What it needs in order to return, beside the user's way to the system. None: it may need everything."""

    def check_arguments(self, arguments: Mapping[str, Value]) -> None:
        """Raise InputError for arguments that the method does not take: a plan that an older system has made."""
        try:
            self.takes.bind(**arguments)
        except TypeError as error:
            raise InputError(
                f"operation {self.name!r} cannot be done with arguments={', '.join(arguments) or 'none'}: {error}; it "
                f"takes {', '.join(self.takes.parameters) or 'none'}. The system has changed since the plan was made."
            ) from error


@overload
def operation(method: F, /) -> F: ...


@overload
def operation(
    *,
    when: Callable[[User], bool] | None = None,
    sentence: str = "",
    weight: int = 1,
    needs: tuple[str, ...] | None = None,
    **arguments: "SearchStrategy[Any]",
) -> Callable[[F], F]: ...


def operation(
    method: F | None = None,
    /,
    *,
    when: Callable[[User], bool] | None = None,
    sentence: str = "",
    weight: int = 1,
    needs: tuple[str, ...] | None = None,
    **arguments: "SearchStrategy[Any]",
) -> Callable[[F], F] | F:
    """Make an async method `(self, user, **arguments)` an operation.

    It becomes a rule of the machine and a step of plans. `arguments` are strategies whose values JSON can hold.
    `when` says, from what the user remembers, whether the operation makes sense now. `sentence` words it in a
    report, with the arguments and `{user}` to be filled in. `weight` says how often it is wanted compared with
    others: with 0 the search leaves it to plans that somebody writes. `needs` are the hosts without which it may
    never return, beside those that users connect to; if it is not given, any host may be.
    """

    def mark(method: F) -> F:
        name = method.__name__
        words = sentence or " ".join(
            ["{user}", name.replace("_", " "), *(f"{each}={{{each}!r}}" for each in arguments)]
        )
        if not inspect.iscoroutinefunction(cast("object", method)):
            raise InputError(f"operation {name!r} must be async: write async def {name}(self, user, ...).")
        for argument, strategy in arguments.items():
            if not callable(getattr(strategy, "filter", None)):
                raise InputError(
                    f"argument {argument!r} of operation {name!r} is {strategy!r}, not a Hypothesis strategy. "
                    "Example: st.integers(1, 9)"
                )
            if argument not in inspect.signature(method).parameters:
                raise InputError(f"operation {name!r} has no argument {argument!r} to draw. Name one of its own.")
        for _text, field, _spec, _conversion in Formatter().parse(words):
            if field is not None and field not in ("user", *arguments):
                raise InputError(f"the sentence of operation {name!r} names {{{field}}}, which it does not have.")
        signature = inspect.signature(method)
        takes = signature.replace(parameters=list(signature.parameters.values())[2:])
        setattr(method, _MARK, OperationType(name, arguments, when, words, weight, takes, needs))
        return method

    return mark if method is None else mark(method)


@functools.cache
def operations_of(system: type[object]) -> dict[str, OperationType]:
    """Return the operations that a class declares by name, in alphabetical order."""
    found = inspect.getmembers(system, lambda member: hasattr(member, _MARK))
    return {name: getattr(member, _MARK) for name, member in found}
