"""Files of experiments: wavetank's own in TOML, and the Chaos Toolkit's in JSON or YAML."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from simulator.chaos.chaostoolkit import Imported, from_chaos_toolkit
from simulator.chaos.experiment import KINDS, Experiment
from simulator.errors import InputError
from simulator.system import System
from simulator.toml_file import read_toml
from simulator.yaml_file import parse_yaml

__all__ = ["SUFFIXES", "experiments_in", "read_experiment"]

_READERS: Mapping[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
}
SUFFIXES = (".toml", *_READERS)


def experiments_in(directory: Path, system: System) -> dict[str, Experiment]:
    """Return the experiments in a directory, by the names of their files, each kind's together. Raises InputError."""
    found = {path.stem: read_experiment(path, system).experiment for path in sorted(directory.glob("*.toml"))}
    order = {kind: place for place, kind in enumerate(KINDS)}
    return dict(sorted(found.items(), key=lambda each: (order.get(each[1].kind, len(order)), each[0])))


def read_experiment(path: Path, system: System) -> Imported:
    """Read one that is to be done to a system. Raises InputError."""
    if path.suffix == ".toml":
        return Imported(read_toml(path, Experiment, "experiment", "wavetank chaos"), ())
    try:
        content = _READERS[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the experiment cannot be read: {error}.") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        kind, told = path.suffix[1:].upper(), " ".join(str(error).split())
        raise InputError(f"{path} is not {kind}: {told}. wavetank chaos --help shows one.") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is no experiment: it holds a {type(content).__name__}.")
    return from_chaos_toolkit(content, str(path), system)
