from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from inferlease import _journals, _ledgers
from inferlease._journals import FolderLedger
from inferlease._memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from pathlib import Path

    from inferlease.ledger import Ledger


@pytest.fixture(autouse=True)
def usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The places where a ledger is kept unless told otherwise lie in `tmp_path`; nothing was warned of yet."""
    monkeypatch.delenv("INFERLEASE_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(_journals, "_warned", set())
    monkeypatch.setattr(_ledgers, "_warned", set())
    monkeypatch.setattr(_ledgers, "_memories", {})
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def kept(folder: Path) -> FolderLedger:
    """A ledger in `folder`."""
    return FolderLedger(folder)


@pytest.fixture(params=["folder", "memory"])
def ledger(request: pytest.FixtureRequest, kept: FolderLedger) -> Ledger:
    """Each kind of ledger: they keep to the same contract."""
    return kept if request.param == "folder" else MemoryLedger()


@pytest.fixture
def other(ledger: Ledger) -> Ledger:
    """What somebody else who shares `ledger` has in hands."""
    return FolderLedger(ledger.folder) if isinstance(ledger, FolderLedger) else ledger
