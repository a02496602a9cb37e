"""Models that were perhaps meant by a name that none has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inferlease.cli._near import near
from tests.cli.support import MODEL, Tool

if TYPE_CHECKING:
    from tests.faults import FaultyEmulator

LLAMA, LARGE, FP8 = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct", "other/Llama-3.1-8B-FP8"


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("meta-llama/Llama-3.1-8B-Instuct", [LLAMA]),
        ("meta-llama--llama-3.1-8b-instruct", [LLAMA]),
        ("llama-3.1-8b", [LLAMA, FP8]),
        ("Llama", [LLAMA, LARGE, FP8]),
        ("meta-llama/Llama-3.2-8B", [LLAMA, LARGE]),
        ("none/of-these", []),
        ("/", []),
    ],
)
def test_those_that_are_called_alike_are_found(typed: str, found: list[str]) -> None:
    assert near(typed, [MODEL, FP8, LARGE, LLAMA]) == found


@pytest.mark.parametrize("arguments", [("quote",), ("start",), ("run", "--", "true"), ("demo", "--model")])
def test_whoever_mistypes_a_model_is_told_which_was_meant(tool: Tool, arguments: tuple[str, ...]) -> None:
    verb, *rest = arguments
    done = tool.run(verb, *rest, MODEL[:-1]) if verb == "demo" else tool.run(verb, MODEL[:-1], *rest)
    assert done.returncode == 1
    assert done.stderr.endswith(f"; did you mean {MODEL}? list models with: inferlease models\n")


def test_what_is_called_alike_is_left_out_where_it_can_t_be_asked_for(tool: Tool, emulator: FaultyEmulator) -> None:
    emulator.fault("models", 503, times=None)
    done = tool.run("quote", MODEL[:-1], hurried=True)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: there is no model {MODEL[:-1]}; list models with: inferlease models\n",
    )
