"""The scenarios on real services: the same plans as in simulation, held to the same facts."""

from pathlib import Path

from tests.live.stage import played
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


def test_clickhouse_fails_the_breaker_opens_the_fallback_works_and_normal_operation_resumes(healthy: Path) -> None:
    """A real ClickHouse is killed and comes back."""
    check_outage(played(healthy, OUTAGE).history)


def test_ten_users_with_five_messages_each_are_all_answered_and_none_crossed(healthy: Path) -> None:
    """Through two real gateways; the time that delivery took is told."""
    print(check_crowd(played(healthy, CROWD).history))


def test_a_gateway_dies_and_its_users_storm_the_other_and_miss_nothing(healthy: Path) -> None:
    """A real gateway is killed."""
    print(check_storm(played(healthy, STORM).history))


def test_a_workflow_resolves_its_dependencies_and_its_results_are_exact(healthy: Path) -> None:
    """The real stores and the stand-in for the LLM lead to the very results of the simulation."""
    check_team(played(healthy, TEAM).history)


def test_agents_that_come_back_answer_what_is_open_while_clickhouse_is_left_broken(healthy: Path) -> None:
    """The other hosts are brought back, and a real ClickHouse stays down until they have finished."""
    check_recovery(played(healthy, RECOVERY).history)
