"""Why nothing can be served at an address, and what helps."""

import errno
import socket

from simulator.errors import EnvironmentFailedError
from wavetank.ungrouped import leaves

__all__ = ["cannot_listen"]

NOT_OURS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def cannot_listen(host: str | None, port: int, errors: BaseException) -> EnvironmentFailedError:
    """Return what to raise for the errors, or the group of them, that listening ended with."""
    error = next(leaves(errors))
    if isinstance(error, socket.gaierror) or (isinstance(error, OSError) and error.errno in NOT_OURS):
        cure = "Name an address of this machine with --host."
    elif isinstance(error, PermissionError):
        cure = "Choose a --port from 1024 on."
    else:
        cure = "End what listens there, or choose another --host or --port."
    return EnvironmentFailedError(f"cannot listen on {host}:{port}: {error}. {cure}")
