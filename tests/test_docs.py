"""What a user can see is named in docs/: settings, headers, paths, error codes, commands."""

import ast
import pathlib
import re

import click
import msgspec
import pytest

from sluice.cli.main import main
from sluice.console.app import PATHS
from sluice.console.call import Path
from sluice.values import errors
from sluice.values.settings import ProviderSettings, Settings

ROOT = pathlib.Path(__file__).parent.parent
DOCS = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
EVERYTHING = "\n".join(DOCS.values())
SOURCES = [path for folder in ("sluice", "bench", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
EXTERNAL = (*(ROOT / name for name in ("README.md", "CHANGELOG.md")), *(ROOT / "docs" / name for name in DOCS))


def settings_of(kind: type, prefix: str = "") -> list[tuple[str, object]]:
    """Every setting with its default, as `limits.body_bytes`."""
    found: list[tuple[str, object]] = []
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found += settings_of(field.type, f"{prefix}{field.name}.")
        elif field.name == "providers":
            found += settings_of(ProviderSettings, "providers.<name>.")
        else:
            found.append((f"{prefix}{field.name}", field.default))
    return found


def literals_of(folder: str) -> set[str]:
    """Every text constant in the sources of a folder, bytes decoded, docstrings left out."""
    found = set()
    for path in (ROOT / "sluice" / folder).rglob("*.py"):
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in prose:
                if isinstance(node.value, bytes):
                    found.add(node.value.decode("latin-1"))
                elif isinstance(node.value, str):
                    found.add(node.value)
    return found


def commands_of(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        return [(name, command)]
    context = click.Context(command)
    found = [(word, command.get_command(context, word)) for word in command.list_commands(context)]
    return [deeper for word, sub in found if sub for deeper in commands_of(sub, f"{name} {word}")]


@pytest.mark.parametrize("setting", [name for name, _ in settings_of(Settings)])
def test_every_setting_is_in_the_configuration_page(setting: str):
    assert f"`{setting}`" in DOCS["configuration.md"]


def test_every_header_of_ours_is_in_the_headers_page():
    text = "\n".join(literals_of(""))
    named = set(re.findall(r"cf-aig-[a-z-]*[a-z]", text.lower()))
    assert named
    assert {name for name in named if f"`{name}`" not in DOCS["headers.md"]} == set()


def test_every_error_of_ours_is_in_the_errors_page():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GatewayError)]
    rows = [line for line in DOCS["errors.md"].splitlines() if line.startswith("|")]
    missing = [
        kind.__name__
        for kind in kinds
        if not any(f"| {kind.code} | {kind.status} |" in row and kind.message in row for row in rows)
    ]
    assert missing == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.method} {path.pattern}")
def test_every_path_of_the_console_is_named(path: Path):
    for_people = path.pattern != "/" and path.need != "nothing"
    assert not for_people or re.search(rf"\b{path.method}\b[^|\n]*`{re.escape(path.pattern)}`", DOCS["rest.md"])


def test_every_path_of_the_edge_is_named():
    paths = {text for text in literals_of("edge") if re.fullmatch(r"/[a-z0-9/]+", text)}
    assert {"/healthz", "/readyz", "/metrics"} <= paths
    assert {path for path in paths if path not in EVERYTHING} == set()


@pytest.mark.parametrize(("name", "command"), commands_of(main, "sluice"))
def test_every_command_is_in_the_cli_page(name: str, command: click.Command):
    options = {text for option in command.params for text in (*option.opts, *option.secondary_opts) if text[:2] == "--"}
    assert f"`{name}" in DOCS["cli.md"]
    assert {option for option in options if f"`{option}" not in DOCS["cli.md"]} == set()


def test_every_metric_is_in_the_configuration_page():
    metrics = {text for text in literals_of("") if re.fullmatch(r"sluice_[a-z0-9_]*[a-z0-9]", text)}
    assert {name for name in metrics if f"`{name}`" not in EVERYTHING} == set()


def test_every_script_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    scripts = {path.name for path in (ROOT / "scripts").iterdir() if path.suffix == ""}
    assert {name for name in scripts if f"`scripts/{name}`" not in readme} == set()


def test_the_changelog_tells_of_the_version():
    version = re.search(r'__version__ = "(.+)"', (ROOT / "sluice" / "__init__.py").read_text())
    assert version
    _, _, entry = (ROOT / "CHANGELOG.md").read_text().partition(f"## {version[1]}")
    assert entry.partition("\n## ")[0].count("\n- ") > 0


@pytest.mark.parametrize("page", EXTERNAL, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: pathlib.Path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", EXTERNAL, ids=lambda page: page.name)
def test_files_that_pages_name_are_there(page: pathlib.Path):
    named = set(re.findall(r"`((?:sluice/|tests/|scripts/)?[a-z_/]+/(?:[a-z0-9_]+\.(?:py|sql))?)`", page.read_text()))
    ours = {name for name in named if not name.startswith(("/", "big/", "bad/", "damaged/", "metrics/"))}
    assert [name for name in ours if not ((ROOT / name).exists() or (ROOT / "sluice" / name).exists())] == []


@pytest.mark.parametrize("page", EXTERNAL, ids=lambda page: page.name)
def test_no_merge_left_its_marks_in_a_page(page: pathlib.Path):
    assert re.findall(r"^(?:<{7}|={7}|>{7})(?: .*)?$", page.read_text(), re.MULTILINE) == []


def test_no_file_is_longer_than_500_lines():
    assert [str(path) for path in SOURCES if path.read_text().count("\n") > 500] == []


def test_locks_name_no_registry_and_no_local_path():
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-fuzz.lock"):
        lines = (ROOT / name).read_text().splitlines()
        assert [line for line in lines if "://" in line or re.match(r"(--|-e|/|\.)", line)] == []


def test_every_dependency_is_explained():
    named = re.findall(r'^    "([a-z-]+)>=', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert len(named) > 10
    assert [name for name in named if f"`{name}`" not in DOCS["dependencies.md"]] == []
