"""Load profiles: the built-in ones, and files."""

from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.load.profile import PROFILES, profile_named

GOOD = """
users = 100
per_minute = 2
duration = "10m"
arrive_within = "30s"
[[mix]]
operation = "ask"
weight = 4
arguments = {question = "why is it slow?", thread = 1}
[objectives]
ws_latency = "p(99) < 100ms"
error_rate = "< 0.1%"
"""


def test_the_built_in_ones_are_sound() -> None:
    for name, each in PROFILES.items():
        each.check(name)
    numbers = {name: (each.users, each.per_minute, each.duration_s) for name, each in PROFILES.items()}
    assert numbers["steady"][:2] == (50, 1)
    assert numbers["peak"][:2] == (200, 5)
    assert (numbers["burst"][0], PROFILES["burst"].arrive_within_s) == (500, 10)
    assert (numbers["sustained"][0], numbers["sustained"][2]) == (100, 3600)


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD)
    load = profile_named(str(file))
    assert (load.users, load.duration_s, load.arrive_within_s) == (100, 600, 30)
    assert load.mix[0].arguments == {"question": "why is it slow?", "thread": 1}
    assert [str(each) for each in load.parsed({})] == ["p(99) < 100ms", "< 0.1%"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("users = 100", "users = 0"), r"users=0 is not between 1 and 10000"),
        (("users = 100", "users = 'many'"), r"Expected `int`"),
        (("per_minute = 2", "per_minute = -1"), r"per_minute=-1 is not between"),
        (("per_minute = 2", "per_minute = nan"), r"per_minute=nan is not between"),
        (("'10m'", "'500h'"), r"that is 6,000,000 operations, and 1,000,000 are the most"),
        (("'10m'", "'soon'"), r"is not a duration"),
        (("weight = 4", "weight = -4"), r"weight=-4 of 'ask' is no weight"),
        (("weight = 4", "weight = 0"), r"nothing in mix has a weight"),
        (("p(99) < 100ms", "fast"), r"the objective 'ws_latency': 'fast' is none"),
        (("users = 100", "user = 100"), r"unknown field `user`"),
        (("users = 100", "users = = 1"), r"is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace('"', "'").replace(*change))
    with pytest.raises(InputError, match=told):
        profile_named(str(file))


def test_what_is_neither_a_profile_nor_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Did you mean|Known"):
        profile_named("stedy")
    with pytest.raises(InputError, match="the load profile cannot be read"):
        profile_named(str(tmp_path / "none.toml"))
