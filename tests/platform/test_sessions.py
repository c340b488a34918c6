"""Who may speak for whom, and for how long: logins, sessions, tokens, and the end of each."""

from collections.abc import Callable, Sequence

import attrs
import pytest
import trio
from trio_websocket import ConnectionClosed

from models.protocol import (
    Ack,
    ClientFrame,
    ErrorFrame,
    Hello,
    LoggedOut,
    Logout,
    Message,
    Refresh,
    Reply,
    ServerFrame,
    Token,
    Welcome,
    encode,
)
from models.tokens import InvalidTokenError, claimed_by, issue_login, issue_token, verify, without_signature
from models.trespass import TRESPASSES, Trespasser
from tests.platform.stage import GATEWAYS, SECRET, Services, exchange, hear, login, raw_connection, staged, until

PUSHED_WITHIN_S = 0.3
"""What is not sent by then, with nothing in its way, is not sent."""
UNAUTHORISED = ErrorFrame(code="unauthorised")
EXPIRED = ErrorFrame(code="expired")


@pytest.mark.parametrize(
    ("hello", "refusal"),
    [
        pytest.param(lambda: Hello(token="no token"), UNAUTHORISED, id="bad token"),
        pytest.param(lambda: Hello(token=issue_login("alice", SECRET[::-1])), UNAUTHORISED, id="forged login"),
        pytest.param(lambda: Hello(token=without_signature(login("alice").token)), UNAUTHORISED, id="unsigned login"),
        pytest.param(lambda: Hello(token=issue_login("alice", SECRET, lifetime_s=0)), EXPIRED, id="expired login"),
        pytest.param(
            lambda: Hello(token=issue_token("alice", "s", SECRET, lifetime_s=0)), EXPIRED, id="expired session token"
        ),
        pytest.param(
            lambda: Hello(token=issue_token("alice", "s", SECRET, lifetime_s=60)), UNAUTHORISED, id="unknown session"
        ),
        pytest.param(lambda: Hello(token=issue_login("alice", SECRET), user="bob"), UNAUTHORISED, id="claimed user"),
        pytest.param(
            lambda: Hello(token=issue_login("alice", SECRET), session="mine"), UNAUTHORISED, id="proposed session"
        ),
        pytest.param(Refresh, UNAUTHORISED, id="no hello"),
    ],
)
def test_a_hello_that_proves_too_little_is_refused_and_told_nothing(
    services: Services, hello: Callable[[], ClientFrame], refusal: ErrorFrame
) -> None:
    """No data without proof: one error frame, and no session begins."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            assert await stage.say(hello()) == [refusal]
            await stage.wait_for("refused", reason=refusal.code)
            assert not stage.happened("session_begun")
            assert await session_keys(services) == []

    trio.run(main)


def test_every_trespass_is_refused(services: Services) -> None:
    """Whatever a user may have got hold of."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            own, bobs = welcomed(await stage.say(login("alice"))), welcomed(await stage.say(login("bob")))
            ended = welcomed(await stage.say(login("alice"), Logout()))
            alice = Trespasser(
                user="alice",
                other="bob",
                secret=SECRET,
                token=own.token,
                ended=(ended.session, ended.token),
                expired=issue_token("alice", own.session, SECRET, lifetime_s=0),
                others_session=bobs.session,
            )
            for how in TRESPASSES:
                # Who has ended a session proposes that one, not another.
                has_ended = alice.ended if how == "ended session" else None
                attempt = attrs.evolve(alice, ended=has_ended).attempt(how)
                assert attempt.how == how
                assert await stage.say(attempt.frame) == [EXPIRED if how == "expired token" else UNAUTHORISED]

    trio.run(main)


def test_a_client_with_a_bad_login_gives_up(services: Services) -> None:
    """To come back with what was refused would only be noise."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            alice = stage.absent_user("alice", login="no token")
            with trio.fail_after(10):
                await alice.client.run()
            assert alice.states == ["refused"]
            assert alice.frames == [UNAUTHORISED]

    trio.run(main)


def test_a_login_may_go_on_with_a_session_of_its_user_only(services: Services) -> None:
    """A session id alone proves nothing: who knows another's gains nothing by it."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            session = welcomed(await stage.say(login("alice"))).session
            own = Hello(token=issue_login("alice", SECRET), session=session)
            stolen = Hello(token=issue_login("mallory", SECRET), session=session)
            assert welcomed(await stage.say(own, at="gateway-b")).session == session
            assert await stage.say(stolen, at="gateway-b") == [UNAUTHORISED]

    trio.run(main)


def test_a_refresh_gives_a_new_token_of_the_same_session(services: Services) -> None:
    """The new one is as good as the first, on any gateway."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            welcome, token = await stage.say(login("alice"), Refresh())
            assert isinstance(welcome, Welcome)
            assert isinstance(token, Token)
            claims = verify(token.token, SECRET)
            assert (claims.user, claims.session) == ("alice", welcome.session)
            assert welcomed(await stage.say(Hello(token=token.token), at="gateway-b")).session == welcome.session

    trio.run(main)


def test_a_connection_ends_with_its_token(services: Services) -> None:
    """Who does not refresh is no longer proven to be there."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS, token_s=1) as stage:
            async with raw_connection(stage.port("gateway-a")) as socket:
                assert isinstance(await exchange(socket, login("alice")), Welcome)
                assert await hear(socket) == EXPIRED
                with pytest.raises(ConnectionClosed):
                    await hear(socket)

    trio.run(main)


def test_a_connection_whose_token_has_expired_is_answered_and_sent_nothing_else(services: Services) -> None:
    """A message that is just being stored is stored to the end; a reply that comes meanwhile has to wait."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS, token_s=1) as stage:
            async with raw_connection(stage.port("gateway-a")) as socket:
                assert isinstance(await exchange(socket, login("alice")), Welcome)
                expires_at_s = trio.current_time() + 1
                assert await exchange(socket, question("alice-1")) == Ack(id="alice-1")
                with services.locked("messages"):
                    await socket.send_message(encode(question("alice-2")))
                    await services.wait_somebody_waits()
                    await until(lambda: trio.current_time() > expires_at_s)
                    reply = Reply(to="alice-1", seq=1, status="done", text="", nodes={})
                    async with services.redis_client() as client:
                        await client.xadd("replies:alice", {"body": encode(reply)}, identifier="1-0")
                    with trio.move_on_after(PUSHED_WITHIN_S):
                        pytest.fail(f"a connection without a valid token was sent {await hear(socket)}")
                assert await hear(socket) == Ack(id="alice-2")
                assert await hear(socket) == EXPIRED

    trio.run(main)


def test_a_client_that_refreshes_keeps_its_connection_beyond_the_first_token(services: Services) -> None:
    """Users must not notice that tokens are short."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS, token_s=3) as stage:
            alice = await stage.user("alice")
            first = verify(alice.client.token or "", SECRET)
            # Each comes a third of a token's life after the last: the fourth cannot come while the first is valid.
            await until(lambda: len([frame for frame in alice.frames if isinstance(frame, Token)]) == 4)
            last = verify(alice.client.token or "", SECRET)
            assert last.expires_at >= first.expires_at + 3
            assert last.session == first.session
            assert alice.states == ["connected"]

    trio.run(main)


def test_after_a_log_out_a_connection_is_told_nothing_but_its_end(services: Services) -> None:
    """The session is no more."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage, raw_connection(stage.port("gateway-a")) as socket:
            assert isinstance(await exchange(socket, login("alice")), Welcome)
            assert isinstance(await exchange(socket, Logout()), LoggedOut)
            assert [await hear(socket)] == [UNAUTHORISED]
            with pytest.raises(ConnectionClosed):
                await hear(socket)

    trio.run(main)


def test_a_log_out_on_one_gateway_ends_the_connections_on_the_other(services: Services) -> None:
    """And nothing that the session ever proved is believed any more, on either."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            alice, bob = await stage.user("alice", at="gateway-a"), await stage.user("bob", at="gateway-a")
            token, session = alice.client.token or "", alice.session
            answers = await stage.say(Hello(token=token), Logout(), at="gateway-b")
            assert answers[-1] == LoggedOut()
            await until(lambda: "ended" in alice.states and "disconnected" in alice.states)
            assert alice.errors == ["unauthorised"]
            assert bob.states == ["connected"]
            resumed = Hello(token=issue_login("alice", SECRET), session=session)
            for gateway in GATEWAYS:
                assert await stage.say(Hello(token=token), at=gateway) == [UNAUTHORISED]
                assert await stage.say(resumed, at=gateway) == [UNAUTHORISED]

    trio.run(main)


def test_a_refresh_does_not_revive_an_ended_session(services: Services) -> None:
    """Here the connection has not heard of the end, as when the news of it was lost."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS) as stage:
            async with raw_connection(stage.port("gateway-a")) as socket:
                welcome = await exchange(socket, login("alice"))
                assert isinstance(welcome, Welcome)
                async with services.redis_client() as client:
                    assert await client.delete([f"session:{welcome.session}"]) == 1
                assert await exchange(socket, Refresh()) == UNAUTHORISED
            assert await session_keys(services) == []

    trio.run(main)


def test_a_session_lives_in_redis_for_a_limited_time_which_a_refresh_prolongs(services: Services) -> None:
    """Or Redis would be full one day of those who never log out."""

    async def main() -> None:
        async with staged(services, processes=GATEWAYS, session_s=100) as stage:
            session = welcomed(await stage.say(login("alice"))).session
            key = f"session:{session}"
            async with services.redis_client() as client:
                assert 0 < await client.ttl(key) <= 100
                await client.expire(key, 50)
                await stage.say(Hello(token=issue_login("alice", SECRET), session=session), Refresh())
                assert 50 < await client.ttl(key) <= 100

    trio.run(main)


def test_what_a_token_claims_can_be_shown_and_proves_nothing() -> None:
    """Without its signature it is of no use to who reads it."""
    token = issue_token("alice", "s", SECRET, lifetime_s=60)
    shown = claimed_by(token)
    assert '"sub":"alice"' in shown
    assert '"sid":"s"' in shown
    assert token.rpartition(".")[2] not in shown
    for worthless in (shown, without_signature(token)):
        with pytest.raises(InvalidTokenError):
            verify(worthless, SECRET)
    assert claimed_by("nonsense") == "no token"


def question(id: str) -> Message:
    """Return a message of alice's."""
    return Message(id=id, text="why?", context="alice/1")


def welcomed(answers: Sequence[ServerFrame]) -> Welcome:
    """Return the welcome that came first."""
    assert isinstance(answers[0], Welcome)
    return answers[0]


async def session_keys(services: Services) -> list[str]:
    """Return the sessions that Redis holds."""
    async with services.redis_client() as client:
        return [str(key) async for key in client.scan_iter(match="session:*")]
