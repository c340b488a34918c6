"""Trespasses: beginnings of a connection that prove too little, each of which a gateway must refuse."""

import attrs

from models.protocol import ClientFrame, Hello, Refresh
from models.tokens import issue_login, without_signature

__all__ = ["TRESPASSES", "Attempt", "Trespasser"]

TRESPASSES = (
    "ended session",
    "claimed user",
    "proposed session",
    "expired token",
    "forged token",
    "unsigned token",
    "stolen session",
    "another's stream",
    "no hello",
)
FAR_AHEAD = 1_000_000
A_GUESS = "a secret that somebody guessed"


@attrs.frozen
class Attempt:
    """One trespass: how, the first frame of the connection, and the session or the token that it is about."""

    how: str
    frame: ClientFrame
    session: str = ""
    token: str = ""


@attrs.frozen(kw_only=True)
class Trespasser:
    """A user who tries to trespass, and what they have: None where they have nothing of the kind."""

    user: str
    other: str
    """Another user, who need not be there."""
    secret: str = attrs.field(repr=False)
    """Signs the logins that are really the user's."""
    token: str | None
    """Of the present session."""
    ended: tuple[str, str] | None
    """A session that the user has ended, and its token."""
    expired: str | None
    """A token that has expired."""
    others_session: str | None
    """A live session of somebody else."""

    def attempt(self, how: str) -> Attempt:
        """Return what to try. Who lacks what it takes proposes a session; and who ended one rather proposes that."""
        login, others_login = issue_login(self.user, self.secret), issue_login(self.other, self.secret)
        match how:
            case "ended session" | "proposed session" if self.ended is not None:
                session, token = self.ended
                return Attempt("ended session", Hello(token=token), session)
            case "claimed user":
                return Attempt(how, Hello(token=login, user=self.other))
            case "expired token" if self.expired is not None:
                return Attempt(how, Hello(token=self.expired), token=self.expired)
            case "forged token":
                return Attempt(how, Hello(token=issue_login(self.other, A_GUESS)))
            case "unsigned token":
                return Attempt(how, Hello(token=without_signature(others_login)))
            case "stolen session" if self.others_session is not None:
                return Attempt(how, Hello(token=login, session=self.others_session), self.others_session)
            case "another's stream" if self.token is not None:
                return Attempt(how, Hello(token=self.token, user=self.other, last_seen=FAR_AHEAD))
            case "no hello":
                return Attempt(how, Refresh())
            case _:
                session = f"proposed-by-{self.user}"
                return Attempt("proposed session", Hello(token=login, session=session), session)
