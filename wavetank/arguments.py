"""Arguments that several commands take, and how they are understood."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import click

__all__ = ["DEFAULT_SYSTEM", "SECONDS", "Seconds", "defect_option"]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_SYSTEM = "models.system:system"
UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Seconds(click.ParamType[float]):
    """A duration: a number of seconds, or with a unit ("90", "500ms", "2m", "1h")."""

    name = "TIME"
    pattern: ClassVar[str] = rf"^[0-9.]+({'|'.join(UNITS_S)})?$"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds; must be more than nothing."""
        text = str(value).strip()
        unit = next((each for each in UNITS_S if text.endswith(each)), "")
        try:
            seconds = float(text.removesuffix(unit)) * UNITS_S.get(unit, 1.0)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a duration. Write 90, 500ms, 2m or 1h.", param, ctx)
        return seconds


SECONDS = Seconds()


def defect_option(function: F) -> F:
    """Add `--defect NAME`, which may be given several times."""
    return click.option(
        "--defect", "defects", multiple=True, metavar="NAME", help="Switch on a planted bug (see wavetank defects)."
    )(function)
