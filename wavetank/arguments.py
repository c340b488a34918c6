"""Arguments that several commands take, and how they are understood."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import click

from simulator.errors import InputError
from simulator.load.quantity import TIME_UNITS, seconds_of

__all__ = ["DEFAULT_SYSTEM", "DEPLOYED_SYSTEM", "SECONDS", "SEED_MAX", "Seconds", "defect_option"]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_SYSTEM = "models.system:system"
DEPLOYED_SYSTEM = "models.system:deployed"
SEED_MAX = 2**32 - 1


class Seconds(click.ParamType[float]):
    """A duration: a number of seconds, or with a unit ("90", "500ms", "2m", "1h")."""

    name = "TIME"
    pattern: ClassVar[str] = rf"^[0-9.]+({'|'.join(TIME_UNITS)})?$"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds; must be more than nothing."""
        try:
            return seconds_of(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


SECONDS = Seconds()


def defect_option(function: F) -> F:
    """Add `--defect NAME`, which may be given several times."""
    return click.option(
        "--defect", "defects", multiple=True, metavar="NAME", help="Switch on a planted bug (see wavetank defects)."
    )(function)
