"""Profiles: which options hold, where each comes from, and a file that is wrong."""

import json
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from tests.command.stage import ROOT, SMALL, called, listing, on_a_terminal, refused
from wavetank.arguments import SECONDS
from wavetank.check import check
from wavetank.profile import load_profiles, schema_of

SCHEMA = ROOT / "docs" / "wavetank.schema.json"


def profiled(directory: Path, text: str, *arguments: str) -> dict[str, Any]:
    """Run a check of a quiet system with this file, and return the result."""
    (directory / "wavetank.toml").write_text(text)
    code, out, err = called(directory, "check", "--json", "out.json", *arguments)
    assert code == 0, (out, err)
    body: dict[str, Any] = json.loads((directory / "out.json").read_bytes())
    return body | {"header": out.splitlines()[:3]}


TEXT = f"""
system = "{SMALL}:quiet"
runs = 9
seed = 5

[profiles.pr]
runs = 3
properties = ["uncaught"]

[profiles.mine]
steps = 5
max_time = "5m"
"""


def test_a_profile_holds_and_the_command_line_wins(tmp_path: Path) -> None:
    """Command line, then the file's profile, then the built-in one, then what is for all, then the defaults."""
    body = profiled(tmp_path, TEXT, "--profile", "pr")
    assert body["header"] == [f"system  {SMALL}:quiet", "profile pr: 3 runs, up to 30 steps each", "seed    1"]
    assert (body["profile"], body["runs"], body["seed"]) == ("pr", 3, 1)
    assert [each["name"] for each in body["properties"]] == ["uncaught"]
    body = profiled(tmp_path, TEXT, "--profile", "pr", "--runs", "2", "--property", "finishes", "--seed", "7")
    assert (body["runs"], body["seed"], body["properties"][0]["name"]) == (2, 7, "finishes")
    body = profiled(tmp_path, TEXT, "--profile", "mine")
    assert body["header"][1:] == ["profile mine: 9 runs or 300 s, up to 5 steps each", "seed    5"]
    assert profiled(tmp_path, TEXT)["header"][1] == "profile default: 9 runs, up to 30 steps each"
    assert profiled(tmp_path, TEXT, f"{SMALL}:wordy", "--runs", "1")["system"] == f"{SMALL}:wordy"


def test_the_built_in_profiles_need_no_file(tmp_path: Path) -> None:
    """Nothing is written for them either."""
    told = "profile pr: 2 runs, up to 30 steps each\nseed    1\n"
    code, out, _ = called(tmp_path, "check", f"{SMALL}:quiet", "--profile", "pr", "--runs", "2")
    assert code == 0
    assert told in out
    assert listing(tmp_path) == []


@pytest.mark.parametrize("arguments", ["--profile x --config my.toml", "--config my.toml --profile x"])
def test_a_file_may_be_anywhere_and_named_in_any_order(tmp_path: Path, arguments: str) -> None:
    """Then the one in the working directory is not read."""
    (tmp_path / "my.toml").write_text(f'[profiles.x]\nsystem = "{SMALL}:quiet"\nruns = 2\nmax_time = 90\n')
    header = profiled(tmp_path, "wrong [", *arguments.split())["header"]
    assert header[1] == "profile x: 2 runs or 90 s, up to 30 steps each"


def test_pr_and_nightly_begin_with_the_corpus_where_there_is_one(tmp_path: Path) -> None:
    """Its place is a convention; another is named in the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert not [name for name, each in load_profiles(check, None).items() if "regressions" in each]
        (tmp_path / "regressions").mkdir()
        having = {name: each.get("regressions") for name, each in load_profiles(check, None).items()}
        assert having == {"default": None, "pr": "regressions", "nightly": "regressions", "explore": None}
    assert "regressions holds no trace" in refused(tmp_path, "check", f"{SMALL}:quiet", "--profile", "pr")


def test_explore_goes_on_until_it_is_interrupted(tmp_path: Path) -> None:
    """Further than the 200 runs at which a check without a limit ends."""
    running, terminal = on_a_terminal(tmp_path, "check", f"{SMALL}:quiet", "--profile", "explore", "--steps", "1")
    runs, said = 0, b""
    while runs <= 200:
        said += os.read(terminal, 1024)
        runs = int((said.rpartition(b" runs, ")[0].rpartition(b"K")[2]) or 0)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate()
    os.close(terminal)
    assert running.returncode == 130
    assert "profile explore: until interrupted, up to 1 steps each" in out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[profiles.pr]\nrunz = 3", "wavetank.toml has an unknown key 'profiles.pr.runz'. Did you mean 'runs'?"),
        ("[profiles.other]\nmax-time = 3", "unknown key 'profiles.other.max-time'. Did you mean 'max_time'?"),
        ("[profiles.pr]\nconfig = 'x'", "unknown key 'profiles.pr.config'. wavetank check --help lists them all."),
        ("[profile.pr]\nruns = 3", "has an unknown key 'profile'. Did you mean 'profiles'?"),
        ("[profiles.pr]\nruns = '3'", "a wrong 'profiles.pr.runs': '3' is not of type 'integer'. How many runs"),
        ("[profiles.pr]\nruns = true", "a wrong 'profiles.pr.runs': True is not of type 'integer'"),
        ("[profiles.pr]\nruns = 0", "a wrong 'profiles.pr.runs': 0 is less than the minimum of 1"),
        ("[profiles.pr]\nseed = 4294967296", "4294967296 is greater than the maximum of 4294967295"),
        ("[profiles.pr]\ndefects = 'x'", "a wrong 'profiles.pr.defects': 'x' is not of type 'array'"),
        ("[profiles.pr]\ndefects = [1]", "a wrong 'profiles.pr.defects.0': 1 is not of type 'string'"),
        ("[profiles.pr]\nmax_time = 'soon'", "a wrong 'profiles.pr.max_time': 'soon' does not match"),
        ("[profiles.pr]\nmax_time = '0s'", "'0s' is not a duration. Write 90"),
        ("[profiles.pr]\nmax_time = inf", "inf is not a duration. Write 90"),
        ("[profiles.pr]\nmax_time = -5", "a wrong 'profiles.pr.max_time': -5 is less than"),
        ("[profiles.pr]\nresume = 'latest'", "has an unknown key 'profiles.pr.resume'"),
        ("[profiles.pr]\nuntil_interrupted = 1", "1 is not of type 'boolean'"),
        ("[profiles.pr]\nsystem = 2020-01-01", "is not of type 'string'"),
        ("[profiles.pr]\nsystem = 'nowhere:system'", "no module named 'nowhere'"),
        ("[profiles.pr]\nregressions = 'nowhere'", "nowhere does not exist"),
        ("[profiles]\npr = 3", "a wrong 'profiles.pr': 3 is not of type 'object'"),
        ("runs = 0", "wavetank.toml has a wrong 'runs': 0 is less than the minimum of 1"),
        ("not toml [", "wavetank.toml is not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """It names the file, the key and what it should be; nothing is begun."""
    (tmp_path / "wavetank.toml").write_text(text)
    assert says in refused(tmp_path, "check", "--profile", "pr")
    assert listing(tmp_path) == ["wavetank.toml"]


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Bytes that are no text; a directory."""
    path = tmp_path / "wavetank.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    assert "wavetank.toml" in refused(tmp_path, "check")
    assert "wavetank.toml" in refused(tmp_path, "profiles")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("check", "--profile", "nigthly"), "no profile named 'nigthly'. Known: default, pr, nightly, explore."),
        (("check", "--config", "x.toml"), "the profiles cannot be read: "),
        (("profiles", "--config", "x.toml"), "the profiles cannot be read: "),
    ],
)
def test_a_name_of_nothing_is_refused(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """And what there is, is listed."""
    assert says in refused(tmp_path, *arguments)


def test_help_is_given_beside_a_file_that_is_wrong(tmp_path: Path) -> None:
    """Where else would one find out what is wrong with it?"""
    (tmp_path / "wavetank.toml").write_text("wrong [")
    assert called(tmp_path, "check", "--help")[0] == called(tmp_path, "profiles", "--help")[0] == 0


def test_what_profiles_lists_is_such_a_file_and_says_everything(tmp_path: Path) -> None:
    """Listed, kept and listed again, it is the same; a default that no profile changes is in it."""
    (tmp_path / "wavetank.toml").write_text(TEXT)
    code, out, _ = called(tmp_path, "profiles")
    assert code == 0
    listed = tomllib.loads(out)["profiles"]
    assert list(listed) == ["default", "pr", "nightly", "explore", "mine"]
    assert listed["mine"] | {"steps": 5, "max_time": "5m", "runs": 9, "system": f"{SMALL}:quiet"} == listed["mine"]
    assert listed["pr"] | {"steps": 30, "seed": 1, "runs": 3, "properties": ["uncaught"]} == listed["pr"]
    assert "[profiles.explore]  # other cases until you interrupt it" in out
    (tmp_path / "wavetank.toml").write_text(out)
    assert called(tmp_path, "profiles") == (0, out, "")


def test_a_key_is_valid_exactly_if_the_command_has_the_option() -> None:
    """No second list: an option that is added tomorrow is a key tomorrow."""

    @click.command()
    @click.option("--hot/--cold")
    @click.option("-n", "--how-many", "count", type=int)
    @click.option("--share", type=float)
    @click.option("--colour", "colours", multiple=True, type=click.Choice(["red", "blue"]))
    @click.option("--within", type=SECONDS)
    @click.option("--profile")
    def tomorrow(**_options: object) -> None: ...

    schema = schema_of(tomorrow)
    assert list(schema["properties"]) == ["hot", "how_many", "share", "colours", "within", "profiles"]
    good = {"hot": True, "how_many": 3, "share": 0.5, "colours": ["red"], "within": "5m"}
    jsonschema.validate(good | {"profiles": {"x": good}}, schema)
    for key, wrong in {"hot": 1, "how_many": 0.5, "share": "x", "colours": ["green"], "within": "5 days"}.items():
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"profiles": {"x": {key: wrong}}}, schema)


def test_the_published_schema_is_that_of_the_command(tmp_path: Path) -> None:
    """And a valid one, that the built-in profiles are valid by."""
    code, out, _ = called(tmp_path, "profiles", "--schema")
    assert code == 0
    assert SCHEMA.read_text() == out, f"it is old: wavetank profiles --schema > {SCHEMA}"
    schema = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(schema)
    _, listed, _ = called(tmp_path, "profiles")
    jsonschema.validate(tomllib.loads(listed), schema)


def test_what_finds_an_unsaved_failure_again_names_the_profile(tmp_path: Path) -> None:
    """What a profile leaves as it is and what it sets: either way the same search is made."""
    (tmp_path / ".wavetank").write_text("in the way")
    (tmp_path / "wavetank.toml").write_text(f'system = "{SMALL}:counting"\n[profiles.mine]\nsteps = 50\n')
    code, out, _ = called(tmp_path, "check", "--profile", "mine", "--steps", "30", "--seed", "1")
    assert code == 1
    assert f"  wavetank check {SMALL}:counting --profile mine --runs 200 --steps 30 --seed 1\n" in out
    code, out, _ = called(tmp_path, "check", "--until-interrupted", "--seed", "1")
    assert code == 1
    assert f"  wavetank check {SMALL}:counting --until-interrupted --seed 1\n" in out
