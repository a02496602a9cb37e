"""How the generator writes a class of the facade: one method, property or constructor after the other."""

from __future__ import annotations

import ast
import builtins
import re
from dataclasses import dataclass, field
from pathlib import Path

from inferlease._tools._reading import HOME, Module, adapted, attributes, read

WIDTH = 120
ROOT = "Client"  # users make its objects themselves, and reach all others through them
# Data whose attributes become read-only properties of the class that stands for it.
STATE_OF = {"Instance": ("objects", "InstanceState")}

# What an answer of the async API becomes. No other type may name a class of the facade.
CONVERSIONS = {name: f"{name}._of" for name in HOME} | {
    "Instance | None": "_bridge.optional(Instance._of)",
    "Listing[Instance]": "_bridge.listing(Instance._of)",
}
CALLBACKS = {"OnProgress | None": "_bridge.in_caller"}
ITERATORS = {"AsyncIterator": "Iterator"}
# Classes of another package that come in pairs: the other one, and what makes it.
TWINS = {"AsyncOpenAI": ("OpenAI", "self._inner._client()._openai.synchronous(self._inner)")}
REPLACED = ITERATORS | {name: twin for name, (twin, _) in TWINS.items()}
RENAMED = {"__aenter__": "__enter__", "__aexit__": "__exit__"}
# How those of classes begin that mean nothing here: what is attrs', and what the facade's base has the opposite of.
DECORATORS = ("define(", "_worlds.")
# What the facade's base has by hand, or what the object that it stands for does.
NOT_MIRRORED = {"__del__", "__eq__", "__getstate__", "__init__", "__repr__"}


@dataclass
class Output:
    """The lines of one generated module, and the names that they use, each with where it is imported from."""

    lines: list[str] = field(default_factory=list)
    used: dict[str, tuple[int, str]] = field(default_factory=dict)
    for_checkers: set[str] = field(default_factory=set)

    def add(self, depth: int, *lines: str) -> None:
        self.lines += [("    " * depth + line).rstrip() for line in lines]

    def docstring(self, depth: int, text: str | None) -> None:
        first, *rest = adapted(text or "").splitlines() or [""]
        if rest:
            self.add(depth, f'"""{first}', *rest, '"""')
        elif first:
            self.add(depth, f'"""{first}"""')

    def note(self, module: Module, *nodes: ast.AST | None) -> None:
        """Note the names in annotations and defaults, which have to be imported."""
        for node in nodes:
            for part in ast.walk(node) if node is not None else ():
                if isinstance(part, ast.Name) and not hasattr(builtins, part.id):
                    if part.id not in module.origins:
                        raise module.unknown(part, f"where {part.id} comes from is not known")
                    origin = (1, HOME[part.id]) if part.id in HOME else module.origins[part.id]
                    name = REPLACED.get(part.id, part.id)
                    self.used[name] = origin
                    self.for_checkers |= {name} if part.id in module.for_checkers else set()

    def call(self, head: str, function: str, arguments: list[str]) -> None:
        """`head` and a call in the body of a method, broken into lines as the formatter does."""
        line = f"{head}{function}({', '.join(arguments)})"
        if len(line) + 8 <= WIDTH:
            self.add(2, line)
        else:
            self.add(2, f"{head}{function}(", *(f"    {argument}," for argument in arguments), ")")


Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class ClassWriter:
    """Writes one class of the facade."""

    module: Module
    node: ast.ClassDef
    out: Output

    def write(self, package: Path) -> None:
        name = self.node.name
        bases, decorators = (
            list(map(self.module.text, nodes)) for nodes in (self.node.bases, self.node.decorator_list)
        )
        home, state = STATE_OF.get(name, ("", ""))
        if bases != [state] * bool(state) or any(not each.startswith(DECORATORS) for each in decorators):
            raise self.module.unknown(self.node, f"bases {bases} and decorators {decorators} of {name}")
        base = "_facade.StateFacade" if state else f"_facade.Facade[_async.{name}]"
        self.out.add(0, "", "", f"class {name}({base}):")
        self.out.docstring(1, ast.get_docstring(self.node))
        if state:
            module = read(package, home)
            ClassWriter(module, module.class_named(state), self.out).write_members(made_of_fields=True)
        self.write_members()

    def write_members(self, *, made_of_fields: bool = False) -> None:
        """Write what users see of the class; with `made_of_fields` its fields too, and a constructor of them."""
        fields = [each for each in self.node.body if isinstance(each, ast.AnnAssign) and made_of_fields]
        fields = [each for each in fields if not self.module.text(each.annotation).startswith("ClassVar")]
        if made_of_fields:
            self._write_constructor(fields)
        told = dict(attributes(ast.get_docstring(self.node) or ""))
        for statement in self.node.body:
            if isinstance(statement, Function):
                self._write_function(statement)
            elif statement in fields and isinstance(statement, ast.AnnAssign):
                name = self.module.text(statement.target)
                self._write_property(name, statement.annotation, told[name])
            elif not self._is_unseen(statement):
                raise self.module.unknown(statement, f"a {type(statement).__name__} in class {self.node.name}")

    def _is_unseen(self, statement: ast.stmt) -> bool:
        """Whether it is a docstring, or a private attribute of the class."""
        if isinstance(statement, ast.AnnAssign):
            return self.module.text(statement.target).startswith("_")
        return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)

    def _write_constructor(self, fields: list[ast.AnnAssign]) -> None:
        self.out.add(1, "", "def __init__(", "    self,")
        passed: list[str] = []
        for each in fields:
            name, kind = self.module.text(each.target), self.module.text(each.annotation)
            self.out.note(self.module, each.annotation)
            if each.value is None:
                self.out.add(2, f"{name}: {kind},")
                passed.append(name)
            elif self.module.text(each.value) == f"field(factory={kind})" and kind.startswith("list["):
                self.out.used["Sequence"] = (0, "collections.abc")
                self.out.add(2, f"{name}: {kind.replace('list', 'Sequence', 1)} = (),")
                passed.append(f"list({name})")
            else:
                raise self.module.unknown(each, f"the default of {name}")
        self.out.add(1, ") -> None:")
        owner = next(name for name, (_, state) in STATE_OF.items() if state == self.node.name)
        self.out.call("self._inner = ", f"_async.{owner}", passed)

    def _write_function(self, function: Function) -> None:
        name = function.name
        is_root = name == "__init__" and self.node.name == ROOT
        if name.startswith("__") and name not in RENAMED and not is_root:
            if name not in NOT_MIRRORED:
                raise self.module.unknown(function, f"no rule for {name}")
            return
        if name.startswith("_") and not name.startswith("__"):
            return
        kinds = [self.module.text(decorator) for decorator in function.decorator_list]
        if kinds == ["property"] and isinstance(function, ast.FunctionDef):
            self._write_property(name, function.returns, ast.get_docstring(function))
            return
        if kinds:
            raise self.module.unknown(function, f"decorators {kinds} of {name}")
        self._write_signature(function)
        self.out.docstring(2, ast.get_docstring(function))
        if is_root:
            self._write_root(function)
        elif name == "__aexit__":
            self._write_exit(function)
        else:
            self._write_body(function)

    def _write_property(self, name: str, annotation: ast.expr | None, docstring: str | None) -> None:
        self.out.note(self.module, annotation)
        self.out.add(1, "", "@property", f"def {name}(self) -> {self.module.text(annotation)}:")
        self.out.docstring(2, docstring)
        self.out.add(2, f"return {self._converted(annotation, f'self._inner.{name}')}")

    def _write_signature(self, function: Function) -> None:
        arguments = function.args
        if arguments.kwarg or arguments.posonlyargs or function.returns is None:
            raise self.module.unknown(function, f"the signature of {function.name}")
        further = [arguments.vararg] if arguments.vararg else []
        annotations = [each.annotation for each in [*arguments.args[1:], *further, *arguments.kwonlyargs]]
        self.out.note(self.module, *annotations, *arguments.defaults, *arguments.kw_defaults, function.returns)
        # The text as it stands, from `def` to the colon: it does not depend on the Python that generates.
        body = function.body[0]
        lines = self.module.source.splitlines()[function.lineno - 1 : body.lineno]
        lines[-1] = lines[-1].encode()[: body.col_offset].decode()
        text = "\n".join(lines).strip()
        text = text[text.index("def ") :]
        text = text.replace(f"def {function.name}", f"def {RENAMED.get(function.name, function.name)}", 1)
        returns = self.module.text(function.returns)
        for name, replacement in REPLACED.items():
            text = text.replace(f"-> {returns}", f"-> {returns.replace(name, replacement)}")
        self.out.add(1, "", *(line.removeprefix("    ") for line in text.splitlines()))

    def _write_root(self, function: Function) -> None:
        self.out.call("self._inner = ", f"_async.{self.node.name}", self._passed(function))
        for part in ast.walk(function):
            if not isinstance(part, ast.Attribute) or not isinstance(part.ctx, ast.Store) or part.attr.startswith("_"):
                continue
            annotated = [each for each in ast.walk(function) if isinstance(each, ast.AnnAssign) and each.target is part]
            if not annotated:
                raise self.module.unknown(part, f"{part.attr} has no type")
            self.out.note(self.module, annotated[0].annotation)
            value = self._converted(annotated[0].annotation, f"self._inner.{part.attr}")
            self.out.add(2, f"self.{part.attr}: {self.module.text(annotated[0].annotation)} = {value}")

    def _write_exit(self, function: Function) -> None:
        self.out.add(2, "try:")
        self.out.add(3, f"_bridge.leave({', '.join(['self._inner', *self._passed(function)])})")
        self.out.add(2, "except BaseException:  # an interrupt may come before it has begun")
        self.out.add(3, "_bridge.throw_away(self._inner)", "raise")

    def _write_body(self, function: Function) -> None:
        inner, returns = f"self._inner.{function.name}", self.module.text(function.returns)
        passed, iterator = self._passed(function), re.fullmatch(r"(\w+)\[(.*)\]", returns)
        if iterator and iterator[1] in ITERATORS:
            self.module.check_shared(function, iterator[2])
            if passed:
                raise self.module.unknown(function, f"arguments of the iterator {function.name}")
            self.out.add(2, f"return _bridge.iterate({inner})")
        elif returns in TWINS and not passed:
            self.out.add(2, f"return {TWINS[returns][1]}")
        elif isinstance(function, ast.FunctionDef):
            convert = self._conversion(function.returns)
            self.out.call("inner = " if convert else "return ", inner, passed)
            if convert:
                self.out.add(2, f"return {convert}(inner)")
        elif returns == "Self":
            self.out.call("", "_bridge.run", [inner, *passed])
            self.out.add(2, "return self")
        elif convert := self._conversion(function.returns):
            self.out.call("return ", "_bridge.run_to", [convert, inner, *passed])
        else:
            self.out.call("return " if returns != "None" else "", "_bridge.run", [inner, *passed])

    def _conversion(self, annotation: ast.expr | None) -> str | None:
        """What makes the facade's answer of the async one, if anything has to."""
        text = self.module.text(annotation)
        if text not in CONVERSIONS:
            self.module.check_shared(annotation or self.node, text)
        return CONVERSIONS.get(text)

    def _converted(self, annotation: ast.expr | None, value: str) -> str:
        convert = self._conversion(annotation)
        return f"{convert}({value})" if convert else value

    def _passed(self, function: Function) -> list[str]:
        def value(argument: ast.arg) -> str:
            kind = self.module.text(argument.annotation)
            if kind in CALLBACKS:
                return f"{CALLBACKS[kind]}({argument.arg})"
            self.module.check_shared(argument, kind)
            return argument.arg

        positional = [value(argument) for argument in function.args.args[1:]]
        positional += [f"*{value(function.args.vararg)}"] if function.args.vararg else []
        return positional + [f"{argument.arg}={value(argument)}" for argument in function.args.kwonlyargs]
