"""A share of a load: each deed is in one share, at its time."""

from itertools import accumulate

import pytest

from simulator.load.arrivals import plan_of
from simulator.load.profile import Load, Mixed
from simulator.load.share import Share
from simulator.plan import Do, Plan

LOAD = Load(users=7, per_minute=20, duration=60, arrive_within=5.0)


def deeds(plan: Plan, share: Share) -> list[tuple[float, int, Do]]:
    """Return what the users of a plan do: when, who by their number in the whole load, and what."""
    users = list(share.users(plan.setting))
    times = [0.0, *accumulate(step.after_s for step in plan.steps)]
    return [
        (round(at_s, 6), users[step.action.user], step.action)
        for at_s, step in zip(times, plan.steps, strict=False)
        if isinstance(step.action, Do)
    ]


@pytest.mark.parametrize("of", [1, 2, 3, 9])
def test_every_deed_is_in_one_share_at_its_time(of: int) -> None:
    """Also when there are more shares than users."""
    plan = plan_of(LOAD, (Mixed("ask"),), "connect", 4, latency_s=0.0)
    shares = [Share(number, of) for number in range(of)]
    found = sorted((at_s, user, do.operation) for share in shares for at_s, user, do in deeds(share.plan(plan), share))
    assert found == sorted((at_s, user, do.operation) for at_s, user, do in deeds(plan, Share(0, 1)))
    assert {user for share in shares for user in share.users(plan.setting)} == set(range(7))
    for share in shares:
        own = share.plan(plan)
        assert sum(step.after_s for step in own.steps) == pytest.approx(60)
        assert len(own.steps) == 1 + len(share.places(plan))
