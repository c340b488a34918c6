"""Components: the parts of a system that people speak of, and by what each of them can be judged."""

from collections.abc import Mapping

import attrs

__all__ = ["Component"]


@attrs.frozen(kw_only=True)
class Component:
    """One part: the hosts that it runs on, the promises it must keep, objectives for what it decides, and journeys.

    `under_faults` are promises of which nothing can be said when all is well. Experiments need not be named: they are
    those that strike its hosts.
    """

    hosts: tuple[str, ...]
    promises: tuple[str, ...]
    under_faults: tuple[str, ...] = ()
    objectives: Mapping[str, str]
    journeys: tuple[str, ...]
