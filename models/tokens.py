"""Who a user is: signed tokens (JWT, HS256), made and checked without asking anybody.

Two kinds: a login, with which a person proves who they are and a session begins; and the token of a session, valid
for a short time only. Whether a session has been ended meanwhile is not the token's business: see `sessions`.
"""

import base64
import json
import time

import attrs
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

__all__ = ["Claims", "InvalidTokenError", "claimed_by", "issue_login", "issue_token", "verify", "without_signature"]

ALGORITHM = "HS256"


class InvalidTokenError(Exception):
    """The token is malformed, was signed by somebody else, has expired, or names nobody."""

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        super().__init__(reason)
        self.expired = expired


@attrs.frozen
class Claims:
    """What a token proves: the user; its session, or None for a login; and until when, in seconds since the epoch."""

    user: str
    session: str | None
    expires_at: int


def issue_login(user: str, secret: str, *, lifetime_s: int = 86_400) -> str:
    """Return a login that proves to be `user` until it expires."""
    return _sign({"sub": user, "exp": int(time.time()) + lifetime_s}, secret)


def issue_token(user: str, session: str, secret: str, *, lifetime_s: int) -> str:
    """Return a token of a session."""
    return _sign({"sub": user, "sid": session, "exp": int(time.time()) + lifetime_s}, secret)


def without_signature(token: str) -> str:
    """Return a token that claims the same, and says of itself that nobody has signed it (RFC 7519, section 6)."""
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def claimed_by(token: str) -> str:
    """Return what a token claims, unproven, as JSON: what may be shown of it, since the secret is in its signature."""
    parts = token.split(".")
    if len(parts) != 3:
        return "no token"
    return base64.urlsafe_b64decode(parts[1] + "==").decode(errors="replace")


def verify(token: str, secret: str, *, unproven_too: bool = False, expired_too: bool = False) -> Claims:
    """Return what the token proves; raise InvalidTokenError when it proves nothing.

    With `unproven_too` whatever it claims counts as proven, and with `expired_too` also for how long it once was: two
    planted defects.
    """
    try:
        if unproven_too:
            claims = json.loads(claimed_by(token))
        else:
            claims = jwt.decode(token, OctKey.import_key(secret), algorithms=[ALGORITHM]).claims
    except (JoseError, ValueError) as error:
        raise InvalidTokenError(type(error).__name__) from error
    user, session, expires_at = claims.get("sub"), claims.get("sid"), claims.get("exp")
    if not isinstance(user, str) or not user or not isinstance(session, str | None) or not isinstance(expires_at, int):
        raise InvalidTokenError("claims")
    if expires_at <= time.time() and not expired_too:
        raise InvalidTokenError("expired", expired=True)
    return Claims(user, session, expires_at)


def _sign(claims: dict[str, str | int], secret: str) -> str:
    return jwt.encode({"alg": ALGORITHM}, claims, OctKey.import_key(secret))
