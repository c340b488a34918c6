"""Determinism is a property of every line: a look for what would break it, in the code that runs inside worlds.

It reads names, so what is hidden behind variables it cannot see; the hash of the history sees that at run time.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("simulator/world", "simulator/services", "models", "properties")

ALLOWED = {
    ("simulator/world/chance.py", "os.urandom"): "owns it: replaces it by a generator derived from the seed",
    ("simulator/world/chance.py", "random.seed"): "owns it: seeds the process's generator for the time of a world",
    ("simulator/world/chance.py", "random.getstate"): "owns it: gives the process's generator back",
    ("simulator/world/chance.py", "random.setstate"): "owns it: gives the process's generator back",
    ("simulator/world/world.py", "threading"): "asks only whether this is the main thread, which may handle signals",
}

CLOCKS = {"time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns", "time.process_time"}
SLEEPS = {"time.sleep", "asyncio.sleep"}
THREADS = {"threading", "_thread", "multiprocessing", "concurrent.futures", "queue", "subprocess"}
THREAD_CALLS = {"os.fork", "trio.from_thread", "asyncio.to_thread"}
RANDOM_SOURCES = {"os.urandom", "os.getpid", "uuid.uuid1", "uuid.getnode"}
# `random.Random(seed)` is a generator of one's own. uuid4 and secrets read os.urandom, which a world owns.
RANDOM_OWN = {"random.Random"}
ADDRESSES = {"id", "hash"}


def findings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of everything that is not deterministic."""
    tree = ast.parse(source)
    modules = dict(_aliases(tree))
    sets = _names_of_sets(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((node.lineno, name) for name in _imported(node) if _is_thread(name))
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            name = _full_name(node, modules)
            if name in CLOCKS | SLEEPS | THREAD_CALLS | RANDOM_SOURCES or _is_global_random(name):
                yield node.lineno, name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ADDRESSES:
            yield node.lineno, f"{node.func.id}()"
        yield from ((getattr(each, "lineno", 0), "order of a set") for each in _iterated(node) if _is_set(each, sets))


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""]


def _is_thread(module: str) -> bool:
    return any(f"{module}.".startswith(f"{each}.") for each in THREADS)


def _full_name(node: ast.AST, modules: dict[str, str]) -> str:
    first, dot, rest = ast.unparse(node).partition(".")
    return modules.get(first, first) + dot + rest


def _is_global_random(name: str) -> bool:
    module, _, function = name.rpartition(".")
    return module in ("random", "numpy.random") and bool(function) and name not in RANDOM_OWN


def _names_of_sets(tree: ast.AST) -> set[str]:
    """The variables and attributes that are somewhere made, or annotated, as a set."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and _says_set(node.annotation):
            found.add(ast.unparse(node.target).removeprefix("self."))
        elif (
            isinstance(node, ast.arg)
            and node.annotation
            and ast.unparse(node.annotation).startswith(("set", "frozenset"))
        ):
            found.add(node.arg)
        elif isinstance(node, ast.Assign) and _is_set(node.value, set()):
            found.update(ast.unparse(target).removeprefix("self.") for target in node.targets)
    return found


def _says_set(annotation: ast.AST) -> bool:
    return ast.unparse(annotation).startswith(("set", "frozenset"))


def _is_set(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("list", "tuple", "iter", "enumerate", "reversed") and node.args:
            return _is_set(node.args[0], names)
        return node.func.id in ("set", "frozenset")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return _is_set(node.left, names) or _is_set(node.right, names)
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node).rpartition(".")[2] in names


def _iterated(node: ast.AST) -> list[ast.AST]:
    """What a node goes through one by one, in the order in which it comes."""
    if isinstance(node, ast.For | ast.AsyncFor):
        return [node.iter]
    if isinstance(node, ast.ListComp | ast.DictComp):
        return [each.iter for each in node.generators]
    if isinstance(node, ast.Starred):
        return [node.value]
    if isinstance(node, ast.Call):
        taken = node.args if _consumes_in_order(node) else []
        loops = [each for each in node.args if isinstance(each, ast.GeneratorExp)] if taken else []
        return [*taken, *(inner.iter for each in loops for inner in each.generators)]
    return []


IN_ORDER = {"list", "tuple", "iter", "next", "enumerate", "map", "zip"}


def _consumes_in_order(node: ast.Call) -> bool:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in ("join", "extend", "pop", "popleft") and bool(node.args)
    return isinstance(node.func, ast.Name) and node.func.id in (
        "list",
        "tuple",
        "iter",
        "next",
        "enumerate",
        "map",
        "zip",
    )


def in_project() -> list[tuple[str, int, str]]:
    return [
        (path.relative_to(ROOT).as_posix(), line, name)
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, name in findings(path.read_text(encoding="utf-8"))
    ]


def test_code_inside_worlds_uses_nothing_that_differs_between_runs() -> None:
    """Each exception is in the list with its reason."""
    wrong = [f"{file}:{line} {name}" for file, line, name in in_project() if (file, name) not in ALLOWED]
    assert not wrong


def test_every_exception_is_still_needed() -> None:
    """A reason for what is not there any more would cover the next mistake."""
    used = {(file, name) for file, _line, name in in_project()}
    assert sorted(set(ALLOWED) - used) == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import time\nx = time.monotonic()", "time.monotonic"),
        ("from time import perf_counter\nx = perf_counter()", "time.perf_counter"),
        ("import time as clock\nclock.sleep(1)", "time.sleep"),
        ("import threading", "threading"),
        ("from concurrent.futures import ThreadPoolExecutor", "concurrent.futures"),
        ("import subprocess", "subprocess"),
        ("x = id(object())", "id()"),
        ("x = hash('a')", "hash()"),
        ("import random\nx = random.random()", "random.random"),
        ("from random import choice\nx = choice([1])", "random.choice"),
        ("import os\nx = os.urandom(4)", "os.urandom"),
        ("import uuid\nx = uuid.uuid1()", "uuid.uuid1"),
        ("for x in {1, 2}: ...", "order of a set"),
        ("for x in set(y): ...", "order of a set"),
        ("for x in list(set(y)): ...", "order of a set"),
        ("x = [a for a in {b for b in c}]", "order of a set"),
        ("x = {1: 2 for a in frozenset(c)}", "order of a set"),
        ("waiting: set[int] = make()\nfor x in waiting: ...", "order of a set"),
        ("self.waiting = set()\nfor x in self.waiting: ...", "order of a set"),
        ("def f(names: frozenset[str]):\n    for name in names: ...", "order of a set"),
        ("x = set(a)\ny = list(x)", "order of a set"),
        ("x = ', '.join({'a', 'b'})", "order of a set"),
        ("x = ', '.join(str(a) for a in set(b))", "order of a set"),
        ("x = [*{1, 2}]", "order of a set"),
        ("for x in set(a) - set(b): ...", "order of a set"),
        ("x = next(iter({1, 2}))", "order of a set"),
    ],
)
def test_what_is_not_deterministic_is_seen(source: str, name: str) -> None:
    """A look that cannot fail finds nothing."""
    assert name in [found for _line, found in findings(source)]


@pytest.mark.parametrize(
    "source",
    [
        "import time\nx = time.time()",
        "import datetime\nx = datetime.datetime.now()",
        "import random\nx = random.Random(7).random()",
        "x = sorted({1, 2})",
        "for x in sorted(set(y)): ...",
        "x = len({a for a in b})",
        "x = 3 in {1, 2, 3}",
        "x = any(a in {1, 2} for a in b)",
        "class A:\n    def __hash__(self): return 1",
        "x = {1: 2}\nfor y in x: ...",
        "import uuid\nx = uuid.uuid4()",
    ],
)
def test_what_is_deterministic_is_let_be(source: str) -> None:
    """A look that always fails is switched off."""
    assert not list(findings(source))
