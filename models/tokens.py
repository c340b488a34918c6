"""Who a user is: signed tokens (JWT, HS256), made and checked. Revocation is not modelled."""

import time

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

__all__ = ["InvalidTokenError", "issue", "verify"]

ALGORITHM = "HS256"


class InvalidTokenError(Exception):
    """The token is malformed, was signed by somebody else, has expired, or names nobody."""


def issue(user: str, secret: str, *, lifetime_s: int = 3600) -> str:
    """Return a token that proves to be `user` until it expires."""
    claims = {"sub": user, "exp": int(time.time()) + lifetime_s}
    return jwt.encode({"alg": ALGORITHM}, claims, OctKey.import_key(secret))


def verify(token: str, secret: str) -> str:
    """Return the user whom the token names; raise InvalidTokenError when it proves nothing."""
    try:
        claims = jwt.decode(token, OctKey.import_key(secret), algorithms=[ALGORITHM]).claims
        jwt.JWTClaimsRegistry(now=int(time.time()), sub={"essential": True}, exp={"essential": True}).validate(claims)
    except (JoseError, ValueError) as error:
        raise InvalidTokenError(type(error).__name__) from error
    user = claims["sub"]
    if not isinstance(user, str) or not user:
        raise InvalidTokenError("subject")
    return user
