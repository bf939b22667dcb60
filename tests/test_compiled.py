"""The modules that setup.py compiles ahead of time, and whether it is they that are tested."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sluice

ROOT = Path(__file__).parent.parent
SETUP = ast.parse((ROOT / "setup.py").read_text())
COMPILED = next(
    ast.literal_eval(node.value)
    for node in SETUP.body
    if isinstance(node, ast.AnnAssign)
    and isinstance(node.target, ast.Name)
    and node.target.id == "COMPILED"
    and node.value
)


@pytest.mark.parametrize("file", COMPILED)
def test_a_compiled_module_makes_no_struct(file: str):
    """Mypyc drops the keywords of a class: `frozen=True` would be lost without a word."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.ClassDef):
            assert "Struct" not in {ast.unparse(base).rpartition(".")[2] for base in node.bases}, node.name
            assert not node.keywords, node.name


@pytest.mark.parametrize("file", COMPILED)
def test_a_compiled_class_has_no_finalizer(file: str):
    """Mypyc makes a `__del__` that nothing calls."""
    functions = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)]
    assert not [node for node in functions if node.name == "__del__"]


@pytest.mark.parametrize("file", COMPILED)
def test_a_module_is_what_the_tested_build_says(file: str):
    """With `scripts/test --compiled` all of them are compiled; a pure build has no trace of one."""
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    assert (Path(module.__file__ or "").suffix == ".py") == ("SLUICE_COMPILED" not in os.environ)


def test_the_version_tells_which_build_it_is():
    program = [sys.executable, "-P", "-c", "from sluice.cli.main import main; main()", "--version"]
    environment = {**os.environ, "PYTHONPATH": str(Path(sluice.__file__).parents[1])}
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    build = "compiled" if "SLUICE_COMPILED" in os.environ else "pure"
    assert done.stdout.strip().endswith(f"{sluice.__version__} ({build})")


def test_no_compiled_module_lies_beside_the_sources():
    assert list((ROOT / "sluice").rglob("*.so")) == []
