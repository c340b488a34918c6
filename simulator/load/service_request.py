"""A request to a service, as bytes: what is asked again and again to learn how long the service takes."""

import attrs

__all__ = ["Said", "ServiceRequest"]


@attrs.frozen
class Said:
    """What is sent, and how the answer to it begins if all is well."""

    sent: bytes
    answer: bytes


@attrs.frozen
class ServiceRequest:
    """A request that changes nothing. `protocol` says where messages end (`simulator.live.framing`); `opening` is said
    first on every connection."""

    protocol: str
    request: Said
    opening: Said | None = None
