"""The platform, of which only a few kinds of faults are tried: so that goals are few, too."""

from typing import ClassVar

from models.system import ChatSystem


class FewFaults(ChatSystem):
    """Only two kinds of faults."""

    fault_kinds: ClassVar[tuple[str, ...] | None] = ("reset", "clickhouse-too-many-parts")


system = FewFaults()
