"""A disk that hangs or is full: what is leased is stopped all the same, and nobody takes it for somebody else's."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import LedgerError, _claims, _journals
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator
from tests.worlds import connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inferlease import Client

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]


def on_line(monkeypatch: pytest.MonkeyPatch, kind: str, trouble: Callable[[], object]) -> None:
    """Have `trouble` come before lines of a kind are written."""
    real = _journals.write_whole

    def write(descriptor: int, data: bytes) -> None:
        if f'"line": "{kind}"'.encode() in data:
            trouble()
        real(descriptor, data)

    for module in (_journals, _claims):
        monkeypatch.setattr(module, "write_whole", write)


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], threading.Event]]:
    """Has the disk hang before a line of a kind, until the event is set."""
    monkeypatch.setattr("inferlease._async_ledger.LONGEST", 0.2)
    over = threading.Event()

    def hang(kind: str) -> threading.Event:
        on_line(monkeypatch, kind, over.wait)
        return over

    yield hang
    over.set()


@pytest.mark.parametrize("kind", ["claim", "facts", "end"])
async def test_a_disk_that_hangs_does_not_hold_up_a_release(
    client: Client, emulator: FaultyEmulator, hangs: Callable[[str], threading.Event], kind: str
) -> None:
    hangs(kind)
    async with client.lease(MODEL) as instance:
        assert instance.is_usable
    assert (emulator.books().starts, emulator.books().still_billed) == (1, [])


async def test_a_disk_that_hangs_while_a_file_is_opened_does_not_hold_up_a_release(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_hanging, over, real = threading.Event(), threading.Event(), os.open
    was_over: list[bool] = []

    def slow(path: Any, *how: Any, **where: Any) -> int:
        if str(path).endswith(".lock"):
            is_hanging.set()
            was_over.append(over.wait(10))
        return real(path, *how, **where)

    async with client.lease(MODEL):
        monkeypatch.setattr(os, "open", slow)
        other = asyncio.ensure_future(client.instances.start(MODEL, num_workers=2))
        await until(is_hanging.is_set)
    assert (emulator.books().starts, emulator.books().still_billed) == (1, [])
    over.set()
    await other
    assert was_over == [True]


async def test_a_start_that_a_disk_was_too_slow_to_note_is_not_sent_and_ends_as_refused(
    client: Client, emulator: FaultyEmulator, hangs: Callable[[str], threading.Event]
) -> None:
    over = hangs("intent")
    with pytest.raises(LedgerError, match="has not answered within"):
        await client.lease(MODEL).acquire()
    over.set()
    while [record.ending for record in await client.leases.list()] != ["refused"]:  # noqa: ASYNC110 - another thread's
        await asyncio.sleep(0.01)
    assert [record.reason for record in await client.leases.list()] == ["it could not be noted in time"]
    assert emulator.books().starts == 0


def is_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_on_a_full_disk_what_is_handed_over_is_the_users(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_line(monkeypatch, "end", is_full)
    instance = await client.instances.start(MODEL)
    (record,) = await client.leases.list()
    assert (record.instance_id, record.ending) == (instance.instance_id, "handed over")
    assert record.ended_at is not None
    assert emulator.books().still_billed == [instance.instance_id]


@connected(exclusive=True, settle_time=0.5)
async def test_what_could_not_be_claimed_on_a_full_disk_is_not_taken_for_another_start(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("start", lost=True, handled=False)
    lost = asyncio.ensure_future(client.instances.start(MODEL))
    await until(lambda: len(emulator.asked("list")) >= 2)  # after its baseline it looks for what it has made
    with monkeypatch.context() as patch:
        on_line(patch, "claim", is_full)
        answered = await client.instances.start(MODEL)
    assert (await lost).instance_id != answered.instance_id
    assert emulator.books().starts == 2
