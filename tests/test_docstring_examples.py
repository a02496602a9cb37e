"""Every example in a docstring runs as it stands, in its world."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

import openai
import pytest

import inferlease
from inferlease import sync
from inferlease._tools._reading import HOME
from tests.faults import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferlease import Client
    from inferlease.emulator import Emulator

openai.DefaultHttpxClient().close()  # loads what it needs, which blocks a loop once

EXAMPLE = re.compile(r"^( *)Example:\n((?:\1    .*\n|\n)+)", re.MULTILINE)


def examples(package: Any) -> Iterator[Any]:
    for cls in (getattr(package, name) for name in sorted(HOME)):
        for name in ("", *vars(cls)):
            if not name.startswith("_"):
                docstring = inspect.getdoc(getattr(cls, name) if name else cls) or ""
                for found in EXAMPLE.finditer(docstring + "\n"):
                    yield pytest.param(textwrap.dedent(found[2]), id=f"{cls.__name__}.{name}")


ASYNC, SYNC = list(examples(inferlease)), list(examples(sync))


def test_both_worlds_have_the_same_examples() -> None:
    assert [each.id for each in SYNC] == [each.id for each in ASYNC]
    assert len(ASYNC) >= 10


@pytest.fixture
def variables(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.asyncio
@pytest.mark.async_only(reason="the examples of the synchronous world follow")
@pytest.mark.usefixtures("variables", "world")
@pytest.mark.parametrize("code", ASYNC)
async def test_an_example_runs(client: Client, code: str) -> None:
    names = {"client": client, "instance": await client.instances.start(MODEL), "Client": inferlease.Client}
    compiled = compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:
        await eval(compiled, names)  # noqa: S307 - the documentation's own code
    else:
        exec(compiled, names)  # noqa: S102 - as above


@pytest.mark.usefixtures("variables")
@pytest.mark.parametrize("code", SYNC)
def test_an_example_of_the_synchronous_world_runs(emulator: Emulator, code: str) -> None:
    with emulator.sync_client(poll_interval=0.02) as client:
        names = {"client": client, "instance": client.instances.start(MODEL), "Client": sync.Client}
        exec(compile(code, "example", "exec"), names)  # noqa: S102 - the documentation's own code
