"""What can be wrong with a PostgreSQL server that runs: switches that its sessions look at."""

import attrs

__all__ = ["Troubles"]


@attrs.define
class Troubles:
    """All off at first. They outlive a crash, as what causes them may."""

    slows_commits: bool = False
    loses_commits: bool = False
    loses_commit_answers: bool = False
    refuses_connections: bool = False
