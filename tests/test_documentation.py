"""The Python code in the README and the documentation runs as it stands, against the emulator."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import inferlease.errors
from tests.processes import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferlease.emulator import Emulator

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python( continued)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DEFAULT = "ignore::pytest.PytestDeprecationWarning"  # of pytest-asyncio, where its default scope is not configured
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def blocks() -> Iterator[Any]:
    """Each block of code; one that says `continued` stands with the block before it."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
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
    classes = {name for name in inferlease.errors.__all__ if name != "InferleaseError"}
    assert classes - set(documented) == set()
