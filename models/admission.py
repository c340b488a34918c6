"""Admission: what a hello proves, and in which session its connection will be."""

import attrs

from models.config import PlatformConfig
from models.protocol import Hello
from models.sessions import Sessions
from models.store import StoreUnavailableError
from models.tokens import InvalidTokenError, issue_token, verify

__all__ = ["Admission", "Grant", "RefusedError"]


class RefusedError(Exception):
    """The connection gets one error frame with this code and is closed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@attrs.define
class Grant:
    """What a connection may do: speak for a user, in a session. A login has one once it is admitted."""

    user: str
    session: str | None
    proposed: str | None = None
    is_login: bool = False

    def new_token(self, config: PlatformConfig) -> str:
        """Return a fresh token of the session."""
        assert self.session is not None
        return issue_token(self.user, self.session, config.secret, lifetime_s=config.token_s)


class Admission:
    """Verifies hellos."""

    def __init__(self, sessions: Sessions, config: PlatformConfig) -> None:
        self._sessions = sessions
        self._config = config

    def verify(self, hello: Hello) -> Grant:
        """Return what the hello's token proves, without asking anybody. Raises RefusedError."""
        try:
            claims = verify(
                hello.token,
                self._config.secret,
                unproven_too=self._config.has("signature-not-checked"),
                expired_too=self._config.has("expired-token-believed"),
            )
        except InvalidTokenError as error:
            raise RefusedError("expired" if error.expired else "unauthorised") from error
        user = claims.user
        if hello.user is not None and hello.user != user:
            if not self._config.has("claimed-user-believed"):
                raise RefusedError("unauthorised")
            user = hello.user
        if claims.session is None:
            return Grant(user, hello.session, proposed=hello.session, is_login=True)
        return Grant(user, claims.session)

    async def admit(self, grant: Grant) -> None:
        """Begin the session of a login, or make sure that the token's is not ended. Raises RefusedError."""
        try:
            if grant.is_login and (grant.session is None or self._config.has("session-fixation")):
                grant.session = await self._sessions.begin(grant.user, grant.proposed)
            elif self._config.has("revoked-token-believed"):
                return
            elif grant.session is None or not await self._sessions.is_live(grant.session, grant.user):
                raise RefusedError("unauthorised")
        except StoreUnavailableError as error:
            raise RefusedError("unavailable") from error
