"""How long a guard goes on, once its process is dead, where not all can be stopped."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import _guardian, _recovery
from inferlease._guardian import Book, recover
from inferlease._journal_lines import Claim, claim_line, intent_line, keep_line
from inferlease.ledger import Bounds, Intent, now
from inferlease.objects import InstanceArgs
from tests.faults import emulated
from tests.guard.support import is_stopped
from tests.recovery.support import strays

if TYPE_CHECKING:
    from inferlease import Client
    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.asyncio

INTENT = Intent("", InstanceArgs("a--b"), "lease", frozenset(), frozenset(), None, settle_time=1, late_window=600)


def left(base_url: str, instance_id: str, *more: bytes) -> Book:
    """What the guard knows of one lease, whose journal was in its process's memory."""
    secrets = dict.fromkeys(("client_id", "client_secret"), "emulator")
    options = {"base_url": base_url, "timeout": 1.0, "proxy": None, "ssl": None, "place": "memory", "account": "ours"}
    text = b"".join([intent_line(INTENT), claim_line(Claim(INTENT.journal, instance_id, True, now())), *more])
    book = Book()
    book.note(json.dumps({"group": "0", "options": options | secrets}).encode())
    book.note(json.dumps({"journal": INTENT.journal, "group": "0", "text": text.decode()}).encode())
    return book


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("first_look", [True, False], ids=["after a look", "from the start"])
async def test_an_outage_before_a_limit_is_no_reason_to_miss_that(
    emulator: FaultyEmulator, stranger: Client, monkeypatch: pytest.MonkeyPatch, first_look: bool
) -> None:
    monkeypatch.setattr(_guardian, "_PERSISTENCE", 0.05)
    (instance_id,) = await strays(stranger, 1)
    book = left(emulator.base_url, instance_id, keep_line(Bounds(limit_at=now() + timedelta(seconds=2)), now()))
    if first_look:
        emulator.fault("get", edit=lambda body: body)
    emulator.fault("get", 403, times=None)
    await recover(book)
    assert is_stopped(emulator)


@emulated(seconds_per_step=0.0)
async def test_a_stop_that_fails_for_long_is_asked_for_again(
    emulator: FaultyEmulator, stranger: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_guardian, "_SILENCE_HERE", 0.0)
    monkeypatch.setattr(_recovery, "RELEASE_TIMEOUT", 1.5)
    (instance_id,) = await strays(stranger, 1)
    emulator.fault("stop", 403, handled=False, times=None)
    look = _guardian._left

    async def mended(*looked: Any) -> Any:
        emulator.mend()
        return await look(*looked)

    monkeypatch.setattr(_guardian, "_left", mended)
    await recover(left(emulator.base_url, instance_id))
    assert is_stopped(emulator)


async def test_it_does_not_go_on_where_its_server_has_gone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guardian, "_SILENCE_HERE", 0.2)
    monkeypatch.setattr(_recovery, "RELEASE_TIMEOUT", 0.2)
    book = left("http://127.0.0.1:1/v1", "instance-1")
    await recover(book)
    assert book.open_names("0") == {INTENT.journal}
