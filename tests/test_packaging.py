"""What the repository and the package promise before anything is called."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import inferlease

ROOT = Path(__file__).parent.parent
NOT_OURS = {".git", ".venv", ".nox", "__pycache__", "build", "dist"}
NOT_OURS_ENDINGS = ("_cache", ".egg-info", ".hypothesis")
FORBIDDEN = {
    "the path of one machine": re.compile(r"(?<![\w.>})])/(?:home|root|Users|work)/"),
    "the host of a package registry": re.compile(
        r"(?:pypi|pythonhosted|npmjs|nodejs|crates|anaconda)\.(?:org|com|io)\b", re.IGNORECASE
    ),
}


def our_files(folder: Path = ROOT) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name in NOT_OURS or path.name.endswith(NOT_OURS_ENDINGS):
            continue
        found += our_files(path) if path.is_dir() else [path]
    return found


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"<!-- command: \w+ -->\n```sh\n(.*?)\n```", text, re.DOTALL)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    files = our_files()
    assert Path(__file__) in files
    named = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in files
        if (match := FORBIDDEN[what].search(file.read_text(encoding="utf-8", errors="replace")))
    ]
    assert named == []


@pytest.mark.parametrize(
    "text",
    [
        "cd /" + "home/me",
        "'/" + "root/.cache'",
        "https://pypi" + ".org/simple",
        "files.PythonHosted" + ".org",
    ],
)
def test_what_is_forbidden_is_found(text: str) -> None:
    assert any(pattern.search(text) for pattern in FORBIDDEN.values())


def test_the_two_commands_of_the_readme_are_single_lines() -> None:
    commands = readme_commands()
    assert len(commands) == 2
    for command in commands:
        assert command.startswith("python3 -m venv .venv && ")
        assert "\n" not in command


@pytest.mark.parametrize("name", inferlease.__all__)
def test_every_public_name_imports(name: str) -> None:
    assert getattr(inferlease, name).__name__


def test_dir_shows_the_public_names() -> None:
    assert set(inferlease.__all__) <= set(dir(inferlease))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Cleint"):
        inferlease.Cleint  # type: ignore[attr-defined]  # noqa: B018 - what is tested


def test_importing_the_package_loads_no_dependency() -> None:
    program = "import sys, inferlease; print(*sorted({'aiohttp', 'attrs', 'cattrs', 'anyio'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == ""


def test_classifiers_name_the_versions_that_the_tests_run_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    classified = {c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c}
    pythons = re.search(r"^PYTHONS = (.*)$", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert pythons is not None
    assert classified == set(re.findall(r"3\.\d+", pythons[1]))
