"""The house's floors (docs/life-of-a-request.md): imports point down, and a foreign library has one door."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sluice"

FLOORS = (
    {"__init__", "__main__", "cli", "config", "wiring", "supervisor", "child", "processes"},
    {"edge", "keeper", "console", "runner", "simulator"},
    {"engine", "insight"},
    {"providers", "upstream", "spool", "storage"},
    {"wire", "formats", "metrics", "journal", "deadlines", "outbox", "dumps", "long_slices", "heap"},
    {"values"},
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}

DOORS = {
    "apsw": ("sluice/storage/embedded/",),
    "brotli": ("sluice/formats/encodings.py",),
    "click": ("sluice/cli/",),
    "cryptography": ("sluice/insight/", "sluice/providers/google_grant.py", "sluice/wiring/surroundings.py"),
    "genai_prices": ("sluice/console/prices.py",),
    "graphql": ("sluice/console/graphql/",),
    "httptools": ("sluice/wire/",),
    "obstore": ("sluice/storage/objects.py",),
    "pyarrow": ("sluice/insight/parquet.py",),
    "setproctitle": ("sluice/supervisor/", "sluice/child.py", "sluice/wiring/prices.py"),
    "starlette": ("sluice/console/",),
    "uvicorn": ("sluice/console/",),
    "uvloop": ("sluice/processes.py", "sluice/wiring/", "sluice/cli/"),
    "websockets": ("sluice/wire/",),
    "zstandard": ("sluice/formats/encodings.py", "sluice/storage/embedded/"),
}
EVERYWHERE = {"msgspec"}
WORKERS_DO_WITHOUT = {"apsw.ext", "click", "genai_prices", "graphql", "starlette", "uvicorn"}


class Import(NamedTuple):
    file: str
    line: int
    module: str
    inside_a_function: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"

    @property
    def part(self) -> str:
        """The folder or file directly under sluice/ that is imported; empty for other packages."""
        names = self.module.split(".")
        return names[1] if names[0] == "sluice" and len(names) > 1 else ""

    @property
    def own_part(self) -> str:
        return Path(self.file).parts[1].removesuffix(".py")


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, also those inside functions; relative ones are not used in this house."""
    file = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text(), file)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    nested = {id(node) for top in ast.walk(tree) if isinstance(top, functions) for node in ast.walk(top)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            names = list({_module_named(node.module or "", alias.name) for alias in node.names})
        else:
            continue
        yield from (Import(file, node.lineno, name, id(node) in nested) for name in names)


def _module_named(package: str, name: str) -> str:
    """`from sluice import metrics` names a module, `from sluice import __version__` none."""
    named = ROOT / package.replace(".", "/") / name
    is_module = package.startswith("sluice") and (named.is_dir() or named.with_suffix(".py").exists())
    return f"{package}.{name}" if is_module else package


IMPORTS = [found for path in sorted(PACKAGE.rglob("*.py")) for found in imports_of(path)]


def test_every_part_of_the_house_stands_on_a_floor():
    parts = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__pycache__"} <= FLOOR.keys()


def test_imports_point_down_and_never_to_a_neighbour():
    breaches = [
        str(found)
        for found in IMPORTS
        if found.part
        and found.part != found.own_part
        and FLOOR[found.own_part] >= FLOOR[found.part]
        and not FLOOR[found.own_part] == FLOOR[found.part] == 0  # those who build the house may call each other
    ]
    assert not breaches, "\n".join(breaches)


def test_nothing_imports_those_who_build_the_house():
    breaches = [str(found) for found in IMPORTS if FLOOR.get(found.part) == 0 and FLOOR[found.own_part] != 0]
    assert not breaches, "\n".join(breaches)


def test_each_library_comes_in_by_its_own_door():
    breaches = []
    for found in IMPORTS:
        library = found.module.split(".")[0]
        if library in EVERYWHERE or library == "sluice" or library in sys.stdlib_module_names:
            continue
        if not found.file.startswith(DOORS.get(library, ("no door: name one in tests/test_floors.py",))):
            breaches.append(str(found))
    assert not breaches, "\n".join(breaches)


def test_imports_stand_at_the_top_of_a_file_outside_the_builders():
    """Those who build the house import a process's parts when its role is known: a worker must stay small."""
    breaches = [str(found) for found in IMPORTS if found.inside_a_function and FLOOR[found.own_part] != 0]
    assert not breaches, "\n".join(breaches)


def modules_reached_from(module: str) -> set[str]:
    """All modules, ours and others', that importing a module of ours imports, by reading only."""
    files = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in PACKAGE.rglob("*.py")
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in files:
            waiting += [found.module for found in imports_of(files[name]) if not found.inside_a_function]
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return reached


@pytest.mark.parametrize("role", ["worker", "keeper"])
def test_traffic_and_logs_carry_none_of_the_console(role: str):
    assert (PACKAGE / "wiring" / f"{role}.py").exists()
    libraries = {name.split(".")[0] for name in modules_reached_from(f"sluice.wiring.{role}")}
    assert not libraries & WORKERS_DO_WITHOUT


def test_the_console_starts_without_the_price_list_and_graphql():
    assert "genai_prices" not in {name.split(".")[0] for name in modules_reached_from("sluice.wiring.console")}
    assert "graphql" not in {name.split(".")[0] for name in modules_reached_from("sluice.wiring.console")}
    assert "genai_prices" in {name.split(".")[0] for name in modules_reached_from("sluice.wiring.prices")}
