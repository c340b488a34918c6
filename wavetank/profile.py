"""Profiles: named sets of a command's options, built in and in `wavetank.toml`."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
import jsonschema

from simulator.errors import InputError, known_names
from simulator.regression import CORPUS
from wavetank.arguments import Seconds

__all__ = [
    "DEFAULT_PROFILE",
    "PURPOSES",
    "config_option",
    "in_full",
    "load_profiles",
    "profile_options",
    "schema_of",
]

F = TypeVar("F", bound=Callable[..., Any])
Profile: TypeAlias = Mapping[str, object]
"""Values by key, as TOML has them."""

CONFIG = Path("wavetank.toml")
DEFAULT_PROFILE = "default"
OWN = ("profile", "config")
"""The options that choose a profile, and cannot be in one."""

ONCE = ("resume",)
"""The options that mean one campaign, which no profile does."""

PURPOSES = {
    DEFAULT_PROFILE: "when no profile is named",
    "pr": f"the same cases every time, after those in {CORPUS}/ if there are any; minutes",
    "nightly": f"other cases every night, after those in {CORPUS}/; hours",
    "explore": "other cases until you interrupt it",
}


def _built_in() -> dict[str, Profile]:
    """Return the profiles that are there without a file."""
    corpus = {"regressions": str(CORPUS)} if CORPUS.is_dir() else {}
    return {
        DEFAULT_PROFILE: {},
        "pr": {"seed": 1, "runs": 500, **corpus},
        "nightly": {"max_time": "4h", **corpus},
        "explore": {"until_interrupted": True},
    }


def config_option(function: F, **more: Any) -> F:
    """Add `--config FILE`."""
    option = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Where profiles are  [{CONFIG}, if there is one]",
        **more,
    )
    return option(function)


def profile_options(function: F) -> F:
    """Add `--profile NAME` and `--config FILE`; what they say stands in for every option that is not given."""
    option = click.option(
        "--profile",
        default=DEFAULT_PROFILE,
        show_default=True,
        metavar="NAME",
        is_eager=True,
        callback=_use,
        help="Options by a name: pr, nightly, explore, or your own. What is given beside it wins.",
    )
    return option(config_option(function, is_eager=True, callback=_use, expose_value=False))


def _use(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Set the defaults of the other options once both are known: click calls in the order of the command line."""
    chosen = context.meta.setdefault(__name__, {})
    chosen[parameter.name] = value
    if chosen.keys() == set(OWN):
        profiles = load_profiles(context.command, chosen["config"])
        name = chosen["profile"]
        if name not in profiles:
            raise InputError(f"no profile named {name!r}. {known_names(profiles, 'wavetank profiles', name)}")
        keys = _keys(context.command)
        context.default_map = {str(keys[key].name): given for key, given in profiles[name].items()}
    return value


def load_profiles(command: click.Command, file: Path | None) -> dict[str, Profile]:
    """Return every profile by name: what the file says for all, then what is built in, then what the file says.

    Raises InputError that names the key that is wrong.
    """
    content: dict[str, Any] = {}
    if file is not None or CONFIG.exists():
        content = _read(file or CONFIG, schema_of(command))
    own, known = content.pop("profiles", {}), _built_in()
    return {name: {**content, **known.get(name, {}), **own.get(name, {})} for name in {**known, **own}}


def _read(file: Path, schema: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"the profiles cannot be read: {error}. wavetank profiles --help shows such a file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not TOML: {error}. wavetank profiles --help shows such a file.") from error
    wrong = next(jsonschema.Draft202012Validator(schema).iter_errors(content), None)
    if wrong is not None:
        raise InputError(f"{file} {_worded(wrong)}")
    return content


def _worded(wrong: Any) -> str:
    """Say what a validation error of jsonschema, whose types allow for schemas that this one is not, means here."""
    place = [str(each) for each in wrong.absolute_path]
    if wrong.validator != "additionalProperties":
        return f"has a wrong {'.'.join(place)!r}: {wrong.message}. {wrong.schema.get('description', '')}".rstrip()
    known = wrong.schema["properties"]
    key = next(key for key in wrong.instance if key not in known)
    return f"has an unknown key {'.'.join((*place, key))!r}. {known_names(known, 'wavetank check --help', key)}"


def in_full(command: click.Command, profile: Profile) -> Profile:
    """Return a profile with the defaults of the options that it does not set, where these are values."""
    keys = _keys(command)
    defaults = {key: each.default for key, each in keys.items() if isinstance(each.default, str | int)}
    every = {**defaults, **profile}
    return {key: every[key] for key in keys if key in every}


def schema_of(command: click.Command) -> dict[str, Any]:
    """Return the JSON Schema of a file of profiles: a key per option of the command."""
    keys = {key: _described(parameter) for key, parameter in _keys(command).items()}
    profile = {"type": "object", "additionalProperties": False, "properties": keys}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": str(CONFIG),
        "description": f"Options of wavetank {command.name}: those at the top for every profile, then each profile's.",
        **profile,
        "properties": {
            **keys,
            "profiles": {"type": "object", "additionalProperties": profile},
        },
    }


def _keys(command: click.Command) -> dict[str, click.Parameter]:
    """Return what can be in a profile: `--max-time` is `max_time`; what can be given several times is in the plural."""
    return {_key(parameter): parameter for parameter in command.params if parameter.name not in (*OWN, *ONCE)}


def _key(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option) and not parameter.multiple:
        return max(parameter.opts, key=len).lstrip("-").replace("-", "_")
    return str(parameter.name)


def _described(parameter: click.Parameter) -> dict[str, Any]:
    kind = _kind(parameter.type)
    if getattr(parameter, "multiple", False):
        kind = {"type": "array", "items": kind}
    text = getattr(parameter, "help", None)
    return {**kind, "description": text} if text else kind


def _kind(type_: click.ParamType[Any]) -> dict[str, Any]:
    match type_:
        case click.IntRange():
            limits = {"minimum": type_.min, "maximum": type_.max}
            return {"type": "integer", **{name: limit for name, limit in limits.items() if limit is not None}}
        case click.types.IntParamType():
            return {"type": "integer"}
        case click.types.FloatParamType():
            return {"type": "number"}
        case click.types.BoolParamType():
            return {"type": "boolean"}
        case click.Choice():
            return {"enum": list(type_.choices)}
        case Seconds():
            return {"type": ["string", "number"], "exclusiveMinimum": 0, "pattern": Seconds.pattern}
        case _:
            return {"type": "string"}
