"""What every test of this folder gets: a loop for all its examples, a judge, and waits that end soon."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from inferlease import _transport, _wait
from tests.fuzz.calls import SHORT
from tests.fuzz.judging import Judge

if TYPE_CHECKING:
    from collections.abc import Iterator

CAP = 10_000


@pytest.fixture(autouse=True)
def _small_and_soon(monkeypatch: pytest.MonkeyPatch, hurried: None) -> None:
    monkeypatch.setattr(_transport, "MAX_BODY", CAP)
    monkeypatch.setattr(_wait, "BLIND_SECONDS", SHORT)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def judge() -> Iterator[Judge]:
    log, judge = logging.getLogger("inferlease"), Judge()
    log.addHandler(judge)
    log.setLevel(logging.DEBUG)
    yield judge
    log.setLevel(logging.NOTSET)
    log.removeHandler(judge)
