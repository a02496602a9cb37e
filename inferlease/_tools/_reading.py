"""How the generator reads an async module: what it imports, which types are shared, how its docstrings are put."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The classes of the facade, by module; those of `SHARED_MODULES` are the same in both worlds.
MODULES: Mapping[str, tuple[str, ...]] = {
    "account": ("Account",),
    "client": ("Client",),
    "hardware_types": ("HardwareTypes",),
    "instances": ("Instance", "Instances"),
    "lease": ("Lease",),
    "leases": ("Leases",),
    "models": ("Models",),
}
HOME = {name: module for module, names in MODULES.items() for name in names}
# Types that are the same in both worlds, beside the built-in ones.
SHARED_MODULES = {"objects", "errors", "money", "quotes", "_costs", "_convert"}
SHARED = {
    "Checks", "Converter", "GroupBy", "Ids", "LedgerPlace", "Orphans", "Records", "SSLContext", "Sequence",
    "TracebackType", "datetime",
}  # fmt: skip

# The words of the async world, and those of the other one.
WORDING = (
    (re.compile(r"\basync (with|for)\b"), r"\1"),
    (re.compile(r"\bawait "), ""),
    (re.compile(r"; may be async\b"), ""),
    (re.compile(r"\bcancelled or interrupted\b"), "interrupted"),
)
UNADAPTED = re.compile(r"\b(async|await|coroutine|event loop|cancelled)\b", re.IGNORECASE)


class UnknownConstructError(Exception):
    """Something in an async module that the generator has no rule for."""


def adapted(docstring: str) -> str:
    """A docstring in the words of the synchronous world."""
    for pattern, replacement in WORDING:
        docstring = pattern.sub(replacement, docstring)
    if left := UNADAPTED.search(docstring):
        raise UnknownConstructError(f"a docstring says {left[0]!r}: {docstring.strip().splitlines()[0]}")
    return docstring


@dataclass
class Module:
    """One async module: its source, and what it imports or defines by which name."""

    name: str
    source: str
    tree: ast.Module = field(init=False)
    origins: dict[str, tuple[int, str]] = field(default_factory=dict)
    for_checkers: set[str] = field(default_factory=set)  # what only `TYPE_CHECKING` imports, such as an extra's types

    def __post_init__(self) -> None:
        self.tree = ast.parse(self.source)
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom):
                self.origins |= _imported(node)
            elif isinstance(node, ast.If) and self.text(node.test) == "TYPE_CHECKING":
                for each in node.body:
                    names = _imported(each) if isinstance(each, ast.ImportFrom) else {}
                    self.origins |= names
                    self.for_checkers |= names.keys()
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.origins[node.target.id] = (1, self.name)
            elif isinstance(node, ast.ClassDef):
                self.origins[node.name] = (1, self.name)

    def text(self, node: ast.AST | None) -> str:
        return "None" if node is None else ast.get_source_segment(self.source, node) or ""

    def unknown(self, node: ast.AST, what: str) -> UnknownConstructError:
        return UnknownConstructError(f"{self.name}.py:{getattr(node, 'lineno', '?')}: {what}")

    def class_named(self, name: str) -> ast.ClassDef:
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
        raise UnknownConstructError(f"{self.name}.py: no class {name}")

    def check_shared(self, node: ast.AST, text: str) -> None:
        """Raise unless a type is the same in both worlds."""
        for name in (part.id for part in ast.walk(ast.parse(text)) if isinstance(part, ast.Name)):
            level, home = self.origins.get(name, (0, ""))
            if not (hasattr(builtins, name) or name in SHARED or (level == 1 and home in SHARED_MODULES)):
                raise self.unknown(node, f"no rule for the type {text}")


def _imported(node: ast.ImportFrom) -> dict[str, tuple[int, str]]:
    return {alias.name: (node.level, node.module or "") for alias in node.names}


def attributes(docstring: str) -> Iterator[tuple[str, str]]:
    """The entries of a docstring's section `Attributes`, each in one line."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n(?=    \w)", section):
        name, _, text = " ".join(entry.split()).partition(": ")
        yield name, text


def read(package: Path, name: str) -> Module:
    return Module(name, (package / f"{name}.py").read_text(encoding="utf-8"))
