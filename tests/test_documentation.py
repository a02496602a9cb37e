"""The documentation is true: its Python runs as it stands, its links lead somewhere, and nothing public is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import inferlease.emulator
import inferlease.errors
import inferlease.sync
from inferlease.cli._commands import COMMANDS
from tests.processes import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from inferlease.emulator import Emulator

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python( continued)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
DEFAULT = "ignore::pytest.PytestDeprecationWarning"  # of pytest-asyncio, where its default scope is not configured
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def blocks() -> Iterator[Any]:
    """Each block of code; one that says `continued` stands with the block before it."""
    for path in PAGES:
        scripts: list[str] = []
        for continued, code in BLOCK.findall(path.read_text(encoding="utf-8")):
            scripts.append(scripts.pop() + code if continued else code)
        for number, script in enumerate(scripts, 1):
            yield pytest.param(script, id=f"{path.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("code", list(blocks()))
def test_a_block_of_python_runs(emulator: Emulator, code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", code]
    if "def test_" in code:
        suite = tmp_path / "test_of_a_user.py"
        suite.write_text(code, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-W", "error", "-W", DEFAULT, "--rootdir", str(tmp_path), str(suite)]
    if "inferlease" not in code and "import" in code.partition("\n")[0]:
        command = [sys.executable, "-m", "inferlease.cli", "run", MODEL, "--", *command]
    ended = subprocess.run(command, env=environment(emulator), capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_page_on_errors_has_every_error() -> None:
    documented = re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(inferlease.errors.__all__) - set(documented) == set()


def anchors(page: Path) -> set[str]:
    """The names by which GitHub, and the documentation's own pages, link to the headings of a page."""
    headings = HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    astray = []
    for name, anchor in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            astray.append(f"{name}#{anchor}")
    assert astray == []


def test_the_page_on_the_command_line_has_every_command() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert set(COMMANDS) - set(re.findall(r"^\| `inferlease (\w+)", text, re.MULTILINE)) == set()


def test_the_page_on_recovery_has_every_key_of_a_check() -> None:
    text = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8")
    told = re.search(r"`--json` is a list of objects with ([^.]*)", text)
    assert told is not None
    outside = re.sub(r"\([^)]*\)", "", told[1])
    assert re.findall(r"`(\w+)`", outside) == [key.name for key in attrs.fields(inferlease.Check)]


@pytest.mark.parametrize("package", [inferlease, inferlease.sync, inferlease.emulator], ids=lambda each: each.__name__)
def test_the_reference_has_every_public_name(package: ModuleType) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.rst")]
    documented = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", "\n".join(pages), re.MULTILINE))
    types = {name for name in package.__all__ if isinstance(getattr(package, name), type | FunctionType)}
    # What both worlds share is documented once.
    assert [name for name in types if not {f"{package.__name__}.{name}", f"inferlease.{name}"} & documented] == []
    if package is inferlease.sync:
        own = {name for name in types if getattr(package, name) is not getattr(inferlease, name)}
        assert {f"inferlease.sync.{name}" for name in own} <= documented
