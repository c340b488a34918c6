"""What is not finished yet, and what it needs in order to be."""

import attrs

__all__ = ["Pending"]


@attrs.frozen
class Pending:
    """Something that is not finished: `what`, in words, and the hosts without which it cannot be.

    `needs` holds hosts, names that hosts share, and users ("user:alice", for their way to the hosts that are open to
    users). Of the hosts that share a name one is enough, if the others cannot be reached. What these hosts need in turn
    is needed too; what is `optional` to them only if it is named here. None: any host may be needed.
    """

    what: str
    needs: tuple[str, ...] | None = None
