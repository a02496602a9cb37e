"""The house: every import of the package goes down, or to a file listed earlier in its layer."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import inferlease

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYERS: dict[str, tuple[str, ...]] = {
    "data": ("_job", "_keeper", "_sigterm", "_names", "_printing", "_mapping", "_worlds", "objects", "money"),
    "errors": ("errors",),
    "decisions": ("_plans", "_convert", "_requests", "_spec", "_protocol", "_retry", "_watch", "_wait"),
    "exchange": ("_auth", "_transport", "_probe", "_openai", "_exchange"),
    "safety": (
        "ledger",
        "_journal_lines",
        "_locked_files",
        "_claims",
        "_journals",
        "_memory_ledger",
        "_mounts",
        "_ledgers",
        "_async_ledger",
        "_costs",
        "_lookup",
        "pricing",
        "_cost",
        "_announce",
        "_release",
        "_limits",
        "_order",
        "_candidates",
        "_capacity",
        "_capacity_wait",
        "_reconcile",
        "_late",
        "_orphans",
        "_recovery",
        "_start",
        "_pending",
        "_ensure",
        "_core",
        "_port",
        "_checkup",
    ),
    "resources": ("instances", "models", "hardware_types", "account", "leases"),
    "quotes": ("quotes",),
    "lease": ("_guard_process", "_guarded", "guard", "lease"),
    "composition": ("client", "_overdue", "_guardian"),
    "facade": ("sync",),
    "users": ("emulator", "cli", "integrations", "pytest_plugin"),
    "build time": ("_tools",),
}
"""Lowest layer first; a name is a module or a subpackage of `inferlease`."""

SEPARATE = {"resources"}
"""Layers whose modules never import each other."""

FACADE = "__init__"
"""The package itself: lazy names of all layers below `users`, which alone may import from it."""

MAX_LINES = 420

PLACES = {name: (level, layer) for level, layer in enumerate(LAYERS) for name in LAYERS[layer]}


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """The top-level name that each file of `package` belongs to, and the file."""
    for file in sorted(package.rglob("*.py")):
        inside = file.relative_to(package)
        yield (inside.stem if len(inside.parts) == 1 else inside.parts[0]), file


def targets(package: Path, file: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level name of whatever `file` imports from `package`, wherever in the file it does."""
    home = (package.name, *file.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            paths = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*home[: len(home) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            paths = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for path in paths:
            if path[0] == package.name:
                yield node.lineno, top_level(package, path[1:])


def top_level(package: Path, path: list[str]) -> str:
    """`from inferlease import Client` takes a name of the facade, `from inferlease import client` a module."""
    is_module = bool(path) and ((package / path[0]).is_dir() or (package / f"{path[0]}.py").is_file())
    return path[0] if is_module else FACADE


def refusal(importer: str, imported: str) -> str | None:
    """Why `importer` may not import `imported`, if so."""
    level, layer = PLACES[importer]
    if imported == FACADE:
        return None if layer == "users" else "imports the package's own front"
    if imported not in PLACES:
        return f"imports {imported}, which is in no layer"
    other_level, other_layer = PLACES[imported]
    if importer == imported or other_level < level:
        return None
    if other_level > level:
        return f"({layer}) imports {imported} ({other_layer})"
    if layer in SEPARATE:
        return f"imports {imported}, and {layer} never import each other"
    names = LAYERS[layer]
    if names.index(imported) > names.index(importer):
        return f"imports {imported}, listed later in {layer}"
    return None


def violations(package: Path) -> list[str]:
    """Everything in `package` that breaks the rules, one line each."""
    found: list[str] = []
    for name, file in modules(package):
        where = file.relative_to(package)
        head, *_ = lines = file.read_text(encoding="utf-8").splitlines() or [""]
        if len(lines) > MAX_LINES and "do not edit" not in head.lower():
            found.append(f"{where}: {len(lines)} lines, more than {MAX_LINES}")
        if name == FACADE:
            continue
        if name not in PLACES:
            found.append(f"{where}: in no layer")
            continue
        for line, imported in targets(package, file):
            if reason := refusal(name, imported):
                found.append(f"{where}:{line}: {reason}")
    return found


PACKAGE = Path(inferlease.__file__).parent


def test_the_package_keeps_to_the_layers() -> None:
    assert violations(PACKAGE) == []


def test_the_layers_name_only_what_exists() -> None:
    assert set(PLACES) == {name for name, _ in modules(PACKAGE)} - {FACADE}


def test_no_module_is_in_two_layers() -> None:
    assert len(PLACES) == sum(len(names) for names in LAYERS.values())


def tree(folder: Path, files: dict[str, str]) -> Path:
    """A package with a file for every module of the table, `files` among them."""
    package = folder / "inferlease"
    package.mkdir()
    for name in PLACES:
        (package / f"{name}.py").touch()
    for name, text in files.items():
        file = package / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return package


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "client.py",
            "from .errors import InferleaseError\nfrom . import objects\nimport inferlease._protocol",
        ),
        ("_watch.py", "from ._retry import policy"),
        ("_watch.py", "import aiohttp\nfrom collections import abc"),
        ("cli/__init__.py", "from inferlease import Client, client\nfrom ..emulator import Emulator"),
        ("cli/run.py", "from . import bars\nfrom .bars import Bar\nfrom inferlease.cli import bars"),
        ("__init__.py", "from .client import Client"),
    ],
)
def test_an_import_that_goes_down_passes(tmp_path: Path, file: str, text: str) -> None:
    assert violations(tree(tmp_path, {file: text})) == []


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("errors.py", "from .client import Client", "errors.py:1: (errors) imports client (composition)"),
        ("errors.py", "from . import client", "(errors) imports client"),
        ("errors.py", "import inferlease.client", "(errors) imports client"),
        ("errors.py", "from inferlease.client import Client", "(errors) imports client"),
        ("errors.py", "from inferlease import client", "(errors) imports client"),
        ("errors.py", "def later():\n    from .client import Client", "errors.py:2"),
        ("errors.py", "if TYPE_CHECKING:\n    from .client import Client", "errors.py:2"),
        ("errors.py", "from inferlease import Client", "the package's own front"),
        ("errors.py", "import inferlease", "the package's own front"),
        ("_retry.py", "from ._watch import Deadline", "listed later in decisions"),
        ("models.py", "from .instances import Instance", "never import each other"),
        ("client.py", "from .emulator import Emulator", "(composition) imports emulator (users)"),
        ("client.py", "from .emulator._server import app", "(composition) imports emulator (users)"),
        ("emulator/_server.py", "from ..cli import main", "listed later in users"),
        ("helpers.py", "", "helpers.py: in no layer"),
        ("extra/__init__.py", "", "in no layer"),
        ("client.py", "#\n" * (MAX_LINES + 1), "421 lines"),
        ("cli/run.py", "#\n" * (MAX_LINES + 1), "421 lines"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, text: str, reason: str) -> None:
    (found,) = violations(tree(tmp_path, {file: text}))
    assert reason in found


def test_a_generated_module_may_be_long(tmp_path: Path) -> None:
    assert violations(tree(tmp_path, {"client.py": "# Generated: do not edit.\n" + "#\n" * 500})) == []


def wall_clock(file: Path) -> Iterator[str]:
    """The calls in `file` that read the time of day."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {
            "time.time", "time.time_ns", "time.localtime", "time.gmtime",
            "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
        }:  # fmt: skip
            yield f"{file.stem}: {ast.unparse(node)}"


@pytest.mark.fault(54)
def test_only_dates_of_the_server_and_of_the_ledger_are_compared_with_the_time_of_day() -> None:
    found = [call for name, file in modules(PACKAGE) if name != "emulator" for call in wall_clock(file)]
    assert found == ["_protocol: datetime.now", "ledger: datetime.now"]
