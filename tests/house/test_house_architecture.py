"""The house keeps its shape: imports point one way, nothing is circular, files stay small, the front door opens fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "tradewind"

# A room may import the rooms of smaller rank, and itself. Rooms of one rank do not know each other.
RANK = {
    "errors": 0,
    "types": 1,
    "params": 1,
    "plugins": 1,
    "stats": 2,
    "schema": 2,
    "engine": 3,
    "simulate": 4,
    "collect": 4,
    "learn": 5,
    "decide": 6,
    "compose": 7,
    "deliver": 8,
    "measure": 9,
    "asked": 9,
    "requested": 10,
    "doors": 11,
    "shop": 12,
    "serve": 13,
    "doctor": 13,
    "commands": 14,
    "demo": 13,
    "cli": 15,
    "__main__": 16,
}
BIG: dict[str, str] = {  # files past 400 lines, each with its reason
    "tradewind.learn.features": "one small function per feature; the list is the idea, and a reader looks for one name in it",
}
LONG: dict[str, str] = {  # functions past 60 lines, each with its reason
}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if "migrations" not in path.parts)


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@cache
def imports(path: Path) -> frozenset[tuple[str, bool]]:
    """Modules of Tradewind that a file imports, each with whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[tuple[str, bool]] = set()

    def visit(node: ast.AST, *, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            names: list[str] = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom) and child.module:
                names = [child.module] + [f"{child.module}.{alias.name}" for alias in child.names if _is_module(child.module, alias.name)]
            found.update((name, top) for name in names if name.startswith("tradewind"))
            checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            visit(child, top=top and not checking and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(tree, top=True)
    return frozenset(found)


def _is_module(package: str, name: str) -> bool:
    base = SOURCE.parent.joinpath(*package.split("."))
    return base.joinpath(f"{name}.py").exists() or base.joinpath(name, "__init__.py").exists()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(name_of(path))
    if not room:
        return  # the front door names everything, lazily
    assert room in RANK, f"{room} is a room that DESIGN does not know; give it a rank"
    for target, _ in imports(path):
        other = room_of(target)
        if other and other != room:
            assert RANK[other] < RANK[room], f"{name_of(path)} imports {target}: {other} does not lie below {room}"


def test_no_circle_at_import_time() -> None:
    graph = {name_of(path): {t for t, top in imports(path) if top} for path in modules()}
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module in done or module not in graph:
            return
        for target in graph[module]:
            if target != module and not module.startswith(f"{target}."):  # a package's own front is not a circle
                walk(target, (*trail, module))
        done.add(module)

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    name = name_of(path)
    if name not in BIG:
        assert len(text.splitlines()) <= 400, (
            f"{name} has {len(text.splitlines())} lines; cut it where the idea divides, or give a reason in BIG"
        )
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            doc = ast.get_docstring(node)
            length -= len(doc.splitlines()) + 1 if doc else 0
            if f"{name}.{node.name}" not in LONG:
                assert length <= 60, f"{name}.{node.name} has {length} lines without its docstring"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_code_is_ascii(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    odd = [(number, line) for number, line in enumerate(text.splitlines(), 1) if not line.isascii()]
    assert not odd, f"{name_of(path)}:{odd[0][0]}: Chinese and other scripts belong in data files: {odd[0][1].strip()[:80]}"


def test_every_package_and_module_says_what_it_is() -> None:
    silent = [name_of(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def test_importing_the_front_door_loads_nothing_heavy() -> None:
    """The 0.3 s of the promise are measured in bench/import_time.py; what makes them true is tested here."""
    heavy = [
        "numpy",
        "pandas",
        "pyarrow",
        "ibis",
        "duckdb",
        "torch",
        "sqlalchemy",
        "sklearn",
        "lightgbm",
        "matplotlib",
        "scipy",
        "typer",
        "pyspark",
    ]
    code = f"import sys, tradewind; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_no_room_reads_the_clock() -> None:
    """Times are passed in; only the command line and the demo may ask what time it is."""
    allowed = {"tradewind.doors", "tradewind.demo"}
    for path in modules():
        if name_of(path) in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node.func)
                assert call not in {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time"}, (
                    f"{name_of(path)}:{node.lineno} calls {call}()"
                )
