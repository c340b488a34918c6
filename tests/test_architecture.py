"""The layers of ARCHITECTURE.md, held by walking the imports."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("simulator", "models", "properties", "wavetank")
HYPOTHESIS_IN = {
    "simulator/frame.py",
    "simulator/machine.py",
    "simulator/arguments.py",
    "simulator/testcase.py",
    "simulator/generation.py",
    "models/malformed.py",
    "models/system.py",
}
ASSEMBLY = ("models/system.py", "models/components.py", "models/requests.py", "models/unfinished.py")
PROMISES_MAY_IMPORT = {
    "simulator.errors",
    "simulator.history",
    "simulator.property",
    "simulator.load.sample",
    "simulator.conformity",
    "attrs",
    "jsonschema",
    "referencing",
    "properties",
} | sys.stdlib_module_names


@attrs.frozen
class Import:
    """One imported module, by its full name, and whether only type checkers see it."""

    file: str
    module: str
    for_types_only: bool


def imports_in(file: str, source: str) -> Iterator[Import]:
    """Every import anywhere in a file, functions included; `from a import b` counts as a and as a.b."""
    tree = ast.parse(source)
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for body in node.body
        for inner in ast.walk(body)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(Path(file).parent.parts) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (Import(file, name, id(node) in typed) for name in names)


def files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def imports_of(*folders: str) -> list[Import]:
    return [
        each
        for path in files(*folders)
        for each in imports_in(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]


def is_part_of(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def forbidden(found: list[Import], *packages: str) -> list[str]:
    return [
        f"{each.file} imports {each.module}"
        for each in found
        if any(is_part_of(each.module, package) for package in packages)
    ]


def test_the_simulator_needs_neither_platform_nor_promises_nor_command() -> None:
    """Whoever brings a system of their own needs neither."""
    assert not forbidden(imports_of("simulator"), "models", "properties", "wavetank", "tests", "scripts")


def test_the_platform_is_an_ordinary_program() -> None:
    """A few modules assemble it into a system; the rest could be anybody's."""
    platform = [each for each in imports_of("models") if each.file not in ASSEMBLY]
    assembly = [file.removesuffix(".py").replace("/", ".") for file in ASSEMBLY]
    assert not forbidden(platform, "simulator", "properties", "wavetank", "tests", *assembly)


def test_a_promise_knows_histories_and_nothing_of_the_platform() -> None:
    """An oracle that shared code with what it judges would share its bugs."""
    wrong = [
        f"{each.file} imports {each.module}"
        for each in imports_of("properties")
        if not any(is_part_of(each.module, allowed) for allowed in PROMISES_MAY_IMPORT)
    ]
    assert not wrong


def test_hypothesis_is_imported_only_where_plans_are_generated() -> None:
    """A replay needs none of it; type annotations do not count."""
    found = [each for each in imports_of(*LAYERS) if not each.for_types_only and each.file not in HYPOTHESIS_IN]
    assert not forbidden(found, "hypothesis")
    assert {each.file for each in imports_of(*LAYERS) if is_part_of(each.module, "hypothesis")} >= HYPOTHESIS_IN


def test_trios_private_names_are_in_one_file() -> None:
    """A new Trio breaks one file, and its test says which name."""
    private = [
        f"{each.file} imports {each.module}"
        for each in imports_of(*LAYERS)
        if each.file != "simulator/world/seams.py"
        and is_part_of(each.module, "trio")
        and any(part.startswith("_") for part in each.module.split("."))
    ]
    attributes = [
        f"{path.relative_to(ROOT)}:{node.lineno} uses {ast.unparse(node)}"
        for path in files(*LAYERS)
        if path.name != "seams.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and re.match(r"trio\.(\w+\.)*_", ast.unparse(node))
    ]
    assert not private + attributes


def test_the_command_is_imported_by_nobody() -> None:
    """It is the top."""
    assert not forbidden(imports_of("simulator", "models", "properties"), "wavetank")


def test_every_folder_is_in_the_architecture() -> None:
    """A listing is a table of contents; a folder that the page does not name is lost."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"]
    built = {"dist", "build"}
    assert [name for name in sorted(set(folders) - built) if not re.search(rf"\b{name}\b", page)] == []


def test_every_file_that_the_architecture_names_exists() -> None:
    """A page that names what is gone misleads."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = [expanded for quoted in re.findall(r"`([\w./{},]+/[\w./{},]*)`", page) for expanded in _expanded(quoted)]
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def _expanded(path: str) -> list[str]:
    before, brace, rest = path.partition("{")
    if not brace:
        return [path]
    inside, _, after = rest.partition("}")
    return [f"{before}{each}{after}" for each in inside.split(",")]


@pytest.mark.parametrize(
    ("source", "module", "for_types_only"),
    [
        ("import models.system", "models.system", False),
        ("from models import system", "models.system", False),
        ("def f():\n    from models.system import x", "models.system", False),
        ("if TYPE_CHECKING:\n    import hypothesis", "hypothesis", True),
        ("try:\n    import hypothesis.strategies as st\nexcept ImportError: ...", "hypothesis.strategies", False),
        ("from . import world", "simulator.world", False),
    ],
)
def test_no_way_to_import_is_overlooked(source: str, module: str, for_types_only: bool) -> None:
    """The walk itself, shown what it must see."""
    assert Import("simulator/x.py", module, for_types_only) in list(imports_in("simulator/x.py", source))
