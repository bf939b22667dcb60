"""Runs that share the test files run each test once between them, and none of what fails is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sharing import LONGEST, TOGETHER, in_order

ROOT = Path(__file__).parent.parent
SETTINGS = """
[pytest]
addopts = --import-mode=importlib -q
testpaths = checks
"""
CONFTEST = """
import os
import pathlib
import pytest

def note(word):
    with open(pathlib.Path(__file__).parent / "noted", "a") as noted:
        noted.write(f"{os.getpid()} {word}\\n")

@pytest.fixture(scope="session")
def of_all():
    note("begun")
    yield note
    note("ended")

@pytest.fixture(scope="module")
def of_file(request, of_all):
    yield of_all
    note(f"left {request.node.name}")
"""
TEST_FILE = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_one(number, of_file, request):
    of_file(f"ran {request.node.parent.name} {number}")
    assert (number, request.node.parent.name) != (1, "test_3.py")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Six files of tests, one of them in a folder of its own, and one that cannot be imported."""
    tmp_path = tmp_path / "project"
    (tmp_path / "checks" / "deep").mkdir(parents=True)
    Path(f"{tmp_path}-shared").mkdir()
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "checks" / "conftest.py").write_text(CONFTEST)
    for name in ("test_0.py", "test_1.py", "test_2.py", "test_3.py", "deep/test_4.py"):
        (tmp_path / "checks" / name).write_text(TEST_FILE)
    (tmp_path / "checks" / "test_5.py").write_text("import nothing_of_that_name\n")
    return tmp_path


def start(project: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.sharing",
            f"--share={project}-shared",
            "-p",
            "no:cacheprovider",
            *options,
        ],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_each_test_runs_once_and_what_fails_is_told_by_the_run_that_had_it(project: Path):
    runs = [start(project) for _ in range(2)]
    said = [run.communicate(timeout=60)[0] for run in runs]
    noted = [line.split(" ", 1) for line in (project / "checks" / "noted").read_text().splitlines()]
    ran = sorted(word for _, word in noted if word.startswith("ran "))
    assert ran == [f"ran test_{file}.py {number}" for file in range(5) for number in range(3)], said
    text = "".join(said)
    assert text.count("FAILED checks/test_3.py::test_one[1]") == 1
    assert text.count("ERROR checks/test_5.py") == 1
    assert {run.returncode for run in runs} <= {0, 1}
    assert 1 in {run.returncode for run in runs}
    late = start(project)
    assert "no tests ran" in late.communicate(timeout=60)[0]
    assert late.returncode == 0


def test_what_a_session_shares_outlives_its_files_and_what_a_file_shares_does_not(project: Path):
    (project / "checks" / "test_5.py").unlink()
    run = start(project)
    run.communicate(timeout=60)
    words = [line.split(" ", 1)[1] for line in (project / "checks" / "noted").read_text().splitlines()]
    assert (words[0], words[-1], len(words)) == ("begun", "ended", 2 + 5 * 4)
    for at in range(1, len(words) - 1, 4):
        (name,) = {word.split()[1] for word in words[at : at + 4]}
        assert words[at : at + 4] == [*(f"ran {name} {number}" for number in range(3)), f"left {name}"]


def test_files_with_a_costly_fixture_in_common_are_taken_by_one_run(project: Path):
    for path in project.glob("checks/test_*.py"):
        path.unlink()
    for name in TOGETHER:
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text("import os\n\ndef test_one():\n    print(f'by {os.getpid()}.')\n")
    (project / "pytest.ini").write_text(SETTINGS.replace("checks", "tests"))
    runs = [start(project, "-rP") for _ in range(2)]
    said = "".join(run.communicate(timeout=60)[0] for run in runs)
    assert said.count("by ") == len(TOGETHER)
    assert len(set(re.findall(r"by \d+\.", said))) == 1


def test_a_folder_that_pytest_would_take_for_one_of_tests_is_refused(project: Path):
    run = start(project, "--share", str(project))
    assert "write --share=FOLDER" in run.communicate(timeout=60)[0]
    assert run.returncode == pytest.ExitCode.USAGE_ERROR


def test_the_files_that_take_longest_come_first_and_all_of_them_are_there():
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []
    assert in_order(["tests/test_a.py", "tests/wire/test_b.py", *LONGEST])[len(LONGEST) - 1 :] == [
        LONGEST[-1],
        "tests/test_a.py",
        "tests/wire/test_b.py",
    ]
