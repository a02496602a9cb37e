"""Generates the modules of `inferlease/sync/` from those of the async API.

`python -m inferlease._tools.gen_sync` writes them; with `--check` it only says which are stale, and exits 1 if any is.
A construct that it does not know is an error, so that nothing is left out silently.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = "python -m inferlease._tools.gen_sync"
WIDTH = 120

# The classes of the facade, by module; those of `objects` and `errors` are the same in both worlds.
MODULES: Mapping[str, tuple[str, ...]] = {
    "account": ("Account",),
    "client": ("Client",),
    "hardware_types": ("HardwareTypes",),
    "instances": ("Instance", "Instances"),
    "lease": ("Lease",),
    "models": ("Models",),
}
HOME = {name: module for module, names in MODULES.items() for name in names}
# Data whose attributes become read-only properties of the class that stands for it.
STATE_OF = {"Instance": ("objects", "InstanceState")}
BY_HAND = {"_bridge.py", "_facade.py"}

# What an answer of the async API becomes; any other type must not name a class of the facade.
CONVERSIONS = {
    "Instance": "Instance._of",
    "Instance | None": "_bridge.optional(Instance._of)",
    "Listing[Instance]": "_bridge.listing(Instance._of)",
    "Lease": "Lease._of",
}
ITERATORS = {"AsyncIterator": "Iterator"}
CALLBACKS = {"OnProgress | None": "_bridge.in_caller"}
DUNDERS = {"__init__": "__init__", "__aenter__": "__enter__", "__aexit__": "__exit__"}
NOT_MIRRORED = {"__del__", "__eq__", "__repr__", "__getstate__"}  # the facade's base has them, or needs none

WORDING = (
    (re.compile(r"\basync (with|for)\b"), r"\1"),
    (re.compile(r"\bawait "), ""),
    (re.compile(r"; may be async\b"), ""),
)
UNADAPTED = re.compile(r"\b(async|await|coroutine|event loop)\b", re.IGNORECASE)


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

    def __post_init__(self) -> None:
        self.tree = ast.parse(self.source)
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.asname is None:
                        self.origins[alias.name] = (node.level, node.module or "")
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.origins[node.target.id] = (1, self.name)
            elif isinstance(node, ast.ClassDef):
                self.origins[node.name] = (1, self.name)

    def text(self, node: ast.AST) -> str:
        found = ast.get_source_segment(self.source, node)
        if found is None:
            raise UnknownConstructError(f"{self.name}: no source")
        return found

    def unknown(self, node: ast.stmt | ast.expr | ast.arg, what: str) -> UnknownConstructError:
        return UnknownConstructError(f"{self.name}.py:{node.lineno}: {what}")

    def class_named(self, name: str) -> ast.ClassDef:
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
        raise UnknownConstructError(f"{self.name}.py: no class {name}")


@dataclass
class Output:
    """The lines of one generated module, and the names that they use."""

    lines: list[str] = field(default_factory=list)
    used: dict[str, Module] = field(default_factory=dict)

    def add(self, depth: int, *lines: str) -> None:
        self.lines += [("    " * depth + line).rstrip() for line in lines]

    def docstring(self, depth: int, text: str | None) -> None:
        if text is None:
            return
        first, *rest = adapted(text).splitlines()
        if not rest:
            self.add(depth, f'"""{first}"""')
            return
        self.add(depth, f'"""{first}', *(line.strip() and line for line in rest), '"""')

    def note(self, module: Module, *nodes: ast.AST | None) -> None:
        """Note the names in annotations and defaults, which have to be imported."""
        for node in nodes:
            for part in ast.walk(node) if node is not None else ():
                if isinstance(part, ast.Name) and not hasattr(builtins, part.id):
                    self.used[ITERATORS.get(part.id, part.id)] = module

    def call(self, depth: int, head: str, function: str, arguments: list[str]) -> None:
        """`head` and a call, broken into lines as the formatter does."""
        joined = ", ".join(arguments)
        if len(line := f"{head}{function}({joined})") + 4 * depth <= WIDTH:
            self.add(depth, line)
        elif len(joined) + 4 * (depth + 1) <= WIDTH:
            self.add(depth, f"{head}{function}(", f"    {joined}", ")")
        else:
            self.add(depth, f"{head}{function}(", *(f"    {argument}," for argument in arguments), ")")


Function = ast.FunctionDef | ast.AsyncFunctionDef


class ClassWriter:
    """Writes one class of the facade."""

    def __init__(self, module: Module, node: ast.ClassDef, output: Output) -> None:
        self._module = module
        self._class = node
        self._out = output

    def write(self, state: tuple[Module, ast.ClassDef] | None) -> None:
        name, out = self._class.name, self._out
        base = "_facade.StateFacade" if state else f"_facade.Facade[_async.{name}]"
        out.add(0, "", "", f"class {name}({base}):")
        out.docstring(1, ast.get_docstring(self._class))
        if state is not None:
            ClassWriter(state[0], state[1], out)._write_state()
        for statement in self._class.body:
            self._write_statement(statement)

    def _write_state(self) -> None:
        told = dict(_attributes(ast.get_docstring(self._class) or ""))
        for statement in self._class.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                name = statement.target.id
                self._write_property(name, statement.annotation, told[name])
            else:
                self._write_statement(statement)

    def _write_statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, Function):
            if statement.name in NOT_MIRRORED or (statement.name.startswith("_") and statement.name not in DUNDERS):
                return
            if statement.name == "__init__" and not self._is_root:
                return
            self._write_function(statement)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            raise self._module.unknown(statement, f"a {type(statement).__name__} in class {self._class.name}")

    @property
    def _is_root(self) -> bool:
        """Whether users make objects of this class themselves."""
        return self._class.name == "Client"

    def _write_function(self, function: Function) -> None:
        kinds = [self._module.text(decorator) for decorator in function.decorator_list]
        if kinds == ["property"] and isinstance(function, ast.FunctionDef):
            self._write_property(function.name, function.returns, ast.get_docstring(function))
            return
        if kinds:
            raise self._module.unknown(function, f"decorators {kinds} of {function.name}")
        self._write_signature(function)
        self._out.docstring(2, ast.get_docstring(function))
        if function.name == "__init__":
            self._write_init(function)
        elif function.name == "__aenter__":
            self._write_enter(function)
        else:
            self._write_body(function)

    def _write_property(self, name: str, annotation: ast.expr | None, docstring: str | None) -> None:
        if annotation is None:
            raise UnknownConstructError(f"{self._module.name}.py: {name} has no type")
        self._out.note(self._module, annotation)
        self._out.add(1, "", "@property", f"def {name}(self) -> {self._module.text(annotation)}:")
        self._out.docstring(2, docstring)
        convert = self._conversion(annotation)
        value = f"self._inner.{name}"
        self._out.add(2, f"return {convert}({value})" if convert else f"return {value}")

    def _write_signature(self, function: Function) -> None:
        arguments = function.args
        if arguments.vararg or arguments.kwarg or arguments.posonlyargs or function.returns is None:
            raise self._module.unknown(function, f"the signature of {function.name}")
        for argument in [*arguments.args[1:], *arguments.kwonlyargs]:
            self._out.note(self._module, argument.annotation)
        self._out.note(self._module, *arguments.defaults, *arguments.kw_defaults, function.returns)
        # The text as it stands, from `def` to the colon: it does not depend on the Python that generates.
        body = function.body[0]
        lines = self._module.source.splitlines()[function.lineno - 1 : body.lineno]
        lines[-1] = lines[-1][: body.col_offset]
        text = "\n".join(lines).strip()
        text = text[text.index("def ") :].replace(f"def {function.name}", f"def {self._new_name(function)}", 1)
        returns = self._module.text(function.returns)
        for name, replacement in ITERATORS.items():
            text = text.replace(f"-> {returns}", f"-> {returns.replace(name, replacement)}")
        self._out.add(1, "", *(line.removeprefix("    ") for line in text.splitlines()))

    def _new_name(self, function: Function) -> str:
        return DUNDERS.get(function.name, function.name)

    def _write_init(self, function: Function) -> None:
        self._out.call(2, "self._inner = ", f"_async.{self._class.name}", self._passed(function))
        for statement in ast.walk(function):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Attribute):
                continue
            name, kind = statement.target.attr, self._module.text(statement.annotation)
            if name.startswith("_"):
                continue
            self._out.note(self._module, statement.annotation)
            value = f"{kind}._of(self._inner.{name})" if kind in HOME else f"self._inner.{name}"
            self._out.add(2, f"self.{name}: {kind} = {value}")

    def _write_enter(self, function: Function) -> None:
        if function.returns is not None and self._module.text(function.returns) == "Self":
            self._write_body(function)
            return
        self._out.add(2, "try:")
        self._write_body(function, depth=3)
        self._out.add(2, "except BaseException:  # an interrupt may come when the result is there already")
        self._out.add(3, "_bridge.throw_away(self._inner)", "raise")

    def _write_body(self, function: Function, *, depth: int = 2) -> None:
        inner, returns = f"self._inner.{function.name}", self._module.text(function.returns or function)
        passed = self._passed(function)
        if any(returns.startswith(f"{name}[") for name in ITERATORS):
            if passed:
                raise self._module.unknown(function, f"arguments of the iterator {function.name}")
            self._out.add(depth, f"return _bridge.iterate({inner})")
            return
        convert = self._conversion(function.returns)
        if isinstance(function, ast.FunctionDef):
            self._out.call(depth, "inner = " if convert else "return ", inner, passed)
            if convert:
                self._out.add(depth, f"return {convert}(inner)")
        elif returns == "Self":
            self._out.call(depth, "", "_bridge.run", [inner, *passed])
            self._out.add(depth, "return self")
        elif convert:
            self._out.call(depth, "return ", "_bridge.run_to", [convert, inner, *passed])
        else:
            self._out.call(depth, "return " if returns != "None" else "", "_bridge.run", [inner, *passed])

    def _conversion(self, annotation: ast.expr | None) -> str | None:
        """What makes the facade's answer of the async one, if anything has to."""
        text = self._module.text(annotation) if annotation is not None else "None"
        if text in CONVERSIONS:
            return CONVERSIONS[text]
        names = {part.id for part in ast.walk(ast.parse(text)) if isinstance(part, ast.Name)}
        if names & HOME.keys() or any(re.match(r"Async|Awaitable|Coroutine|Future|Task", name) for name in names):
            raise UnknownConstructError(f"{self._module.name}.py: no rule for an answer of type {text}")
        return None

    def _passed(self, function: Function) -> list[str]:
        def value(argument: ast.arg) -> str:
            kind = self._module.text(argument.annotation or argument)
            if kind not in CALLBACKS and re.search(r"Callable|Awaitable|Async|OnProgress", kind):
                raise self._module.unknown(argument, f"no rule for an argument of type {kind}")
            return f"{CALLBACKS[kind]}({argument.arg})" if kind in CALLBACKS else argument.arg

        positional = [value(argument) for argument in function.args.args[1:]]
        return positional + [f"{argument.arg}={value(argument)}" for argument in function.args.kwonlyargs]


def _attributes(docstring: str) -> Iterator[tuple[str, str]]:
    """The entries of a docstring's section `Attributes`, each in one line."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n(?=    \w)", section):
        name, _, text = " ".join(entry.split()).partition(": ")
        yield name, text


def _imports(module: Module, used: Mapping[str, Module], bases: Iterable[str]) -> list[str]:
    found: dict[tuple[int, str], set[str]] = {}
    for name, where in used.items():
        if name in MODULES[module.name]:
            continue
        if name in HOME:
            origin = (1, HOME[name])
        elif name in ITERATORS.values():
            origin = (0, "collections.abc")
        elif name in where.origins:
            level, home = where.origins[name]
            origin = (0, f"inferlease.{home}" if level else home)
        else:
            raise UnknownConstructError(f"{module.name}.py: where {name} comes from is not known")
        found.setdefault(origin, set()).add(name)

    def line(origin: tuple[int, str]) -> str:
        level, home = origin
        ordered = sorted(found[origin], key=lambda name: (not name.isupper(), not name[0].isupper(), name))
        return f"from {'.' * level}{home} import {', '.join(ordered)}"

    absolute = sorted(origin for origin in found if origin[0] == 0)
    first_party = {origin for origin in absolute if origin[1].startswith("inferlease.")}
    standard = {origin for origin in absolute if origin[1].partition(".")[0] in sys.stdlib_module_names}
    groups = [
        ["from __future__ import annotations"],
        [line(origin) for origin in absolute if origin in standard],
        [line(origin) for origin in absolute if origin not in standard | first_party],
        [f"from inferlease import {module.name} as _async", *map(line, sorted(first_party))],
        [f"from . import {', '.join(bases)}", *map(line, sorted(set(found) - set(absolute)))],
    ]
    return "\n\n".join("\n".join(group) for group in groups if group).splitlines()


def _module_text(package: Path, name: str) -> str:
    module = Module(name, (package / f"{name}.py").read_text(encoding="utf-8"))
    body = Output()
    for class_name in MODULES[name]:
        state = None
        if class_name in STATE_OF:
            home, base = STATE_OF[class_name]
            states = Module(home, (package / f"{home}.py").read_text(encoding="utf-8"))
            state = states, states.class_named(base)
        ClassWriter(module, module.class_named(class_name), body).write(state)
    head = Output()
    head.add(0, f"# Generated from inferlease/{name}.py by `{COMMAND}`: do not edit.")
    head.docstring(0, ast.get_docstring(module.tree))
    bases = [base for base in ("_bridge", "_facade") if any(f"{base}." in line for line in body.lines)]
    imports = _imports(module, body.used, bases)
    exported = ", ".join(f'"{class_name}"' for class_name in MODULES[name])
    head.add(0, "", *imports, "", f"__all__ = [{exported}]")
    return "\n".join([*head.lines, *body.lines, ""])


def _front_text(package: Path) -> str:
    """`sync/__init__.py`: the names of the package, those of the facade from here and the others as they are."""
    source = (package / "__init__.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source), clean=False) or ""
    source = source.replace(docstring, _FRONT_DOCSTRING, 1)
    source = re.sub(r"__version__ = .*\n\n", "", source)
    source = re.sub(r'(?m)^    "(\w+)": \(', lambda key: key[0] if key[1] in MODULES else f'    ".{key[1]}": (', source)
    pattern = re.compile(r"(?m)^    from \.(\w+) import (?:\([^)]*\)|.*)\n")
    imports = list(pattern.finditer(source))
    own = [found[0] for found in imports if found[1] in MODULES]
    others = [found[0].replace("from .", "from inferlease.") for found in imports if found[1] not in MODULES]
    source = source[: imports[0].start()] + "".join([*others, "\n", *own]) + source[imports[-1].end() :]
    return f"# Generated from inferlease/__init__.py by `{COMMAND}`: do not edit.\n{source}"


_FRONT_DOCSTRING = """Inferlease for synchronous code: the names of `inferlease`, without `await`.

Data and errors are the same objects in both. The work runs on a thread of the library's own.
"""


def generate(package: Path) -> dict[str, str]:
    """The texts of the generated modules by file name."""
    texts = {f"{name}.py": _module_text(package, name) for name in MODULES}
    return {"__init__.py": _front_text(package), **texts}


def stale(package: Path) -> list[str]:
    """Names of the files that are missing, differ from what would be generated, or should not be there."""
    folder = package / "sync"
    texts = generate(package)
    there = {path.name for path in folder.glob("*.py")} - BY_HAND
    changed = {name for name in texts if name in there and (folder / name).read_bytes() != texts[name].encode()}
    return sorted(changed | (there ^ texts.keys()))


def main(arguments: list[str] | None = None) -> int:
    """Write the modules, or with `--check` only compare them. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Generate the synchronous facade.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a module is stale")
    check = parser.parse_args(arguments).check
    package = Path(__file__).resolve().parents[1]
    try:
        found = stale(package)
        if check:
            for name in found:
                print(f"inferlease/sync/{name} is stale: run `{COMMAND}`", file=sys.stderr)
            return 1 if found else 0
        texts = generate(package)
    except UnknownConstructError as error:
        print(f"gen_sync: {error}", file=sys.stderr)
        return 2
    for name in found:
        path = package / "sync" / name
        if name in texts:
            path.write_text(texts[name], encoding="utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
