"""The guard is on here, as it is by default."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _guarded(_clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFERLEASE_GUARD")
