"""Generates the modules of `inferlease/sync/` from those of the async API.

`python -m inferlease._tools.gen_sync` writes them; with `--check` it only says which are stale, and exits 1 if any is.
A construct that it does not know is an error, so that nothing is left out silently.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

from inferlease._tools._reading import HOME, MODULES, Module, UnknownConstructError, read
from inferlease._tools._writing import WIDTH, ClassWriter, Output

COMMAND = "python -m inferlease._tools.gen_sync"
BY_HAND = {"_bridge.py", "_facade.py"}


def _header(name: str) -> str:
    return f"# Generated from inferlease/{name}.py by `{COMMAND}`: do not edit."


def _imports(module: Module, body: Output) -> list[str]:
    found: dict[tuple[int, str], list[str]] = {}
    used = {name: origin for name, origin in body.used.items() if name not in body.for_checkers}
    if body.for_checkers:
        used["TYPE_CHECKING"] = (0, "typing")
    for name, (level, home) in sorted(used.items(), key=lambda each: (not each[0].isupper(), each[0])):
        if name in HOME and HOME[name] != module.name:
            found.setdefault((1, home), []).append(name)
        elif name not in HOME:
            found.setdefault((0, _absolute(level, home)), []).append(name)
    lines = {
        (level, home): f"from {'.' * level}{home} import {', '.join(names)}" for (level, home), names in found.items()
    }
    bases = [base for base in ("_bridge", "_facade") if any(f"{base}." in line for line in body.lines)]
    package = {origin for origin in lines if origin[1].startswith("inferlease.")}
    standard = {origin for origin in lines if origin[1].partition(".")[0] in sys.stdlib_module_names}
    beside = {origin for origin in lines if origin[0]}
    groups = [
        ["from __future__ import annotations"],
        [lines[origin] for origin in sorted(standard - beside)],
        [lines[origin] for origin in sorted(set(lines) - standard - package - beside)],
        [f"from inferlease import {module.name} as _async", *(lines[origin] for origin in sorted(package))],
        [f"from . import {', '.join(bases)}", *(lines[origin] for origin in sorted(beside))],
        _imports_for_checkers(body),
    ]
    return "\n\n".join("\n".join(group) for group in groups if group).splitlines()


def _imports_for_checkers(body: Output) -> list[str]:
    found: dict[str, list[str]] = {}
    for name in sorted(body.for_checkers):
        found.setdefault(_absolute(*body.used[name]), []).append(name)
    lines = [f"    from {home} import {', '.join(names)}" for home, names in sorted(found.items())]
    return ["if TYPE_CHECKING:", *lines] if lines else []


def _absolute(level: int, home: str) -> str:
    return f"inferlease.{home}" if level else home


def _module_text(package: Path, name: str) -> str:
    module, body, head = read(package, name), Output(), Output()
    for class_name in MODULES[name]:
        ClassWriter(module, module.class_named(class_name), body).write(package)
    head.add(0, _header(name))
    head.docstring(0, ast.get_docstring(module.tree))
    exported = ", ".join(f'"{class_name}"' for class_name in MODULES[name])
    head.add(0, "", *_imports(module, body), "", f"__all__ = [{exported}]")
    return "\n".join([*head.lines, *body.lines, ""])


FRONT = '''
"""Inferlease for synchronous code: the names of `inferlease`, without `await`.

Data and errors are the same objects in both. The work runs on a thread of the library's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
%(home)s
}

if TYPE_CHECKING:
%(imports)s
else:

    def __getattr__(name: str) -> object:
        module = _HOME.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOME})


__all__ = [
%(names)s
]
'''


def _front_text(package: Path) -> str:
    """`sync/__init__.py`: the names of the package, those of the facade from here and the others as they are."""
    tree = read(package, "__init__").tree
    homes = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME"
    )
    here: list[str] = []
    elsewhere: list[str] = []
    home: dict[str, str] = {}
    for module, names in sorted(ast.literal_eval(homes).items()):
        is_here = module in MODULES
        home |= dict.fromkeys(names, f"inferlease.sync.{module}" if is_here else f"inferlease.{module}")
        line = f"    from {'' if is_here else 'inferlease'}.{module} import {', '.join(sorted(names))}"
        if len(line) > WIDTH:
            listed = "".join(f"        {name},\n" for name in sorted(names))
            line = f"{line.partition(' import ')[0]} import (\n{listed}    )"
        (here if is_here else elsewhere).append(line)
    return _header("__init__") + FRONT % {
        "home": "\n".join(f'    "{name}": "{home[name]}",' for name in sorted(home)),
        "imports": "\n".join([*elsewhere, "", *here]),
        "names": "\n".join(f'    "{name}",' for name in sorted(home)),
    }


def generate(package: Path) -> dict[str, str]:
    """The texts of the generated modules by file name."""
    texts = {"__init__.py": _front_text(package)} | {f"{name}.py": _module_text(package, name) for name in MODULES}
    for name, text in texts.items():
        compile(text, name, "exec")
    return texts


def stale(package: Path) -> list[str]:
    """Names of the files that are missing, differ from what would be generated, or should not be there."""
    folder, texts = package / "sync", generate(package)
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
        found, texts = stale(package), generate(package)
    except UnknownConstructError as error:
        print(f"gen_sync: {error}", file=sys.stderr)
        return 2
    for name in found:
        path = package / "sync" / name
        if check:
            print(f"inferlease/sync/{name} is stale: run `{COMMAND}`", file=sys.stderr)
        elif name in texts:
            path.write_text(texts[name], encoding="utf-8")
        else:
            path.unlink()
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
