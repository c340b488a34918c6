"""The scenarios in simulation, judged by every promise."""

from models.system import system
from simulator.history import History
from simulator.plan import Plan
from simulator.simulated_run import simulate
from tests.scenarios.plans import (
    CROWD,
    OUTAGE,
    RECOVERY,
    STORM,
    TEAM,
    check_crowd,
    check_outage,
    check_recovery,
    check_storm,
    check_team,
)


def played(plan: Plan) -> History:
    result = simulate(system, plan, system.all_properties())
    assert not result.violated
    return result.history


def test_clickhouse_fails_the_breaker_opens_the_fallback_works_and_normal_operation_resumes() -> None:
    """The outage that breakers and buffers are built for costs nobody an answer, and no analytics."""
    check_outage(played(OUTAGE))


def test_ten_users_with_five_messages_each_are_all_answered_and_none_crossed() -> None:
    """Isolation and routing under plain load; the time that delivery took is told."""
    print(check_crowd(played(CROWD)))


def test_a_gateway_dies_and_its_users_storm_the_other_and_miss_nothing() -> None:
    """What was asked is answered once, and the crowd that comes back takes nobody's place."""
    print(check_storm(played(STORM)))


def test_a_workflow_resolves_its_dependencies_and_its_results_are_exact() -> None:
    """Agents wait for those they need, carry the user's context, tell of their work, and compute what they should."""
    check_team(played(TEAM))


def test_agents_that_come_back_answer_what_is_open_while_clickhouse_is_left_broken() -> None:
    """Who waited for it would be helped when everything is healed, and nobody would know."""
    check_recovery(played(RECOVERY))
