"""Journals that are torn, cannot be read, or come from a newer version."""

from __future__ import annotations

import errno
import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from inferlease import LedgerError, _journals
from inferlease._locked_files import LockedFile
from inferlease.ledger import Bounds
from tests.ledger.support import an_intent, the_record

if TYPE_CHECKING:
    from pathlib import Path

    from inferlease._journals import FolderJournal, FolderLedger
    from inferlease.ledger import Ending, StartRecord

pytestmark = pytest.mark.fault(87)

END: Ending = "stopped"


def path_of(kept: FolderLedger, journal: FolderJournal) -> Path:
    return kept.folder / "leases" / f"{journal.intent.journal}.jsonl"


@pytest.fixture
def lines(kept: FolderLedger) -> list[bytes]:
    """The lines of a journal that has every kind of them."""
    journal = kept.begin(an_intent(journal="torn"))
    journal.claim("i", is_answered=True)
    journal.keep(Bounds())
    journal.end(END)
    (path,) = (kept.folder / "history").iterdir()
    text = path.read_bytes()
    path.unlink()
    return text.splitlines(keepends=True)


def read(kept: FolderLedger, text: bytes) -> StartRecord | None:
    """What the ledger says of a dead owner's journal with this text."""
    for path in kept.folder.rglob("torn.jsonl"):
        path.unlink()
    (kept.folder / "leases" / "torn.jsonl").write_bytes(text)
    records = kept.open_records() or kept.past_records()
    assert len(records) < 2
    return records[0] if records else None


@pytest.mark.parametrize("kind", [1, 2, 3], ids=["claim", "keep", "end"])
def test_a_last_line_that_was_torn_at_any_byte_was_never_written(
    kept: FolderLedger, lines: list[bytes], kind: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole, last = b"".join(lines[:kind]), lines[kind]
    expected = read(kept, whole)
    assert expected is not None
    for cut in range(len(last)):
        assert read(kept, whole + last[:cut]) == expected, cut
    assert read(kept, whole + last) != expected
    assert caplog.messages == []


def test_an_end_of_an_earlier_version_has_no_reason(kept: FolderLedger, lines: list[bytes]) -> None:
    end = json.loads(lines.pop())
    del end["reason"]
    record = read(kept, b"".join(lines) + json.dumps(end).encode() + b"\n")
    assert record is not None
    assert (record.ending, record.reason) == (END, None)


@pytest.mark.parametrize("torn", [b"\0" * 50, b"\0" * 50 + b"\n", b'\0\0\0"at": 1}\n', b"\xff\xfe\n", b"\n", b"\r\n"])
def test_a_last_line_that_is_no_text_was_never_written(kept: FolderLedger, lines: list[bytes], torn: bytes) -> None:
    whole = b"".join(lines[:2])
    assert read(kept, whole + torn) == read(kept, whole) is not None


def test_whoever_takes_over_a_torn_journal_can_go_on(kept: FolderLedger, lines: list[bytes]) -> None:
    record = read(kept, b"".join(lines[:2]) + lines[2][:10])
    assert record is not None
    journal = kept.take_over(record)
    assert journal is not None
    journal.keep(Bounds())
    assert the_record(kept).is_kept
    journal.end("stopped")
    assert [past.is_kept for past in kept.past_records()] == [True]


def newer(first: bytes) -> bytes:
    return json.dumps({**json.loads(first), "version": 2, "more": []}).encode() + b"\n"


def without(first: bytes, key: str) -> bytes:
    return json.dumps({k: v for k, v in json.loads(first).items() if k != key}).encode() + b"\n"


def changed(line: bytes, /, **values: object) -> bytes:
    return json.dumps({**json.loads(line), **values}).encode() + b"\n"


UNREADABLE = {
    "empty": lambda _: b"",
    "a torn intent": lambda lines: lines[0][:-1],
    "garbage": lambda _: b"garbage\n",
    "binary": lambda _: bytes(range(256)) * 40,
    "zeros": lambda _: b"\0" * 4096,
    "no object": lambda _: b"[]\n",
    "deep": lambda _: b"[" * 100_000 + b"\n",
    "no intent": lambda lines: b"".join(lines[1:]),
    "newer": lambda lines: newer(lines[0]) + lines[1],
    "no version": lambda lines: without(lines[0], "version"),
    "version 1.0": lambda lines: changed(lines[0], version=1.0),
    "no spec": lambda lines: without(lines[0], "spec"),
    "no exclusive": lambda lines: without(lines[0], "exclusive"),
    "a number for an id": lambda lines: changed(lines[0], baseline=[1]),
    "another kind": lambda lines: changed(lines[0], kind="other"),
    "unknown arguments": lambda lines: changed(lines[0], args={**json.loads(lines[0])["args"], "gpus": 1}),
    "a boolean for workers": lambda lines: changed(
        lines[0], args={**json.loads(lines[0])["args"], "num_workers": True}
    ),
    "no number of seconds": lambda lines: changed(lines[0], settle_time=float("nan")),
    "a time without a zone": lambda lines: changed(lines[0], at="2026-01-01T00:00:00"),
    "another journal's": lambda lines: changed(lines[0], journal="other"),
    "garbled in the middle": lambda lines: lines[0] + lines[1][:10] + b"\n" + lines[2],
    "an empty line in the middle": lambda lines: lines[0] + b"\n" + lines[1],
    "a line of another kind": lambda lines: lines[0] + changed(lines[2], line="pause"),
    "another ending": lambda lines: lines[0] + changed(lines[3], how="paused"),
    "more after the end": lambda lines: b"".join([*lines, lines[2]]),
    "another journal's claim": lambda lines: lines[0] + changed(lines[1], journal="other"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_set_aside(
    kept: FolderLedger, lines: list[bytes], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept.begin(an_intent()).claim("other", is_answered=True)
    (kept.folder / "leases" / "torn.jsonl").write_bytes(UNREADABLE[what](lines))
    for _ in range(2):
        assert [record.instance_id for record in kept.open_records()] == ["other"]
        assert kept.past_records() == []
    (aside,) = (kept.folder / "aside").iterdir()
    assert aside.read_bytes() == UNREADABLE[what](lines)
    assert not (kept.folder / "leases" / "torn.jsonl").exists()
    (message,) = caplog.messages
    assert str(aside) in message
    assert "\n" not in message
    assert kept.known(["i"]) == {"i"}


def test_what_a_living_process_of_a_newer_version_owns_stays_where_it_is(
    kept: FolderLedger, lines: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = kept.folder / "leases" / "torn.jsonl"
    path.write_bytes(newer(lines[0]))
    owner = LockedFile(path, os.O_RDWR)
    assert owner.try_lock("exclusive")
    for _ in range(2):
        assert kept.open_records() == []
    assert path.exists()
    (message,) = caplog.messages
    assert "version 2" in message
    owner.close()
    kept.open_records()
    assert not path.exists()
    assert len(caplog.messages) == 2


def test_two_of_one_name_are_both_kept_aside(kept: FolderLedger, lines: list[bytes]) -> None:
    for text in (b"one", b"two"):
        (kept.folder / "leases" / "torn.jsonl").write_bytes(text)
        kept.open_records()
    assert {path.read_bytes() for path in (kept.folder / "aside").iterdir()} == {b"one", b"two"}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")], ids=range(3))
def test_what_is_no_file_is_set_aside(kept: FolderLedger, make: object, caplog: pytest.LogCaptureFixture) -> None:
    assert callable(make)
    kept.begin(an_intent())
    make(kept.folder / "leases" / "x.jsonl")
    assert len(kept.open_records()) == 1
    assert len(list((kept.folder / "aside").iterdir())) == 1
    assert len(caplog.messages) == 1


def test_too_many_open_files_set_nothing_aside(kept: FolderLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = kept.begin(an_intent())

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(_journals, "LockedFile", refuse)
    with pytest.raises(LedgerError, match="Too many open files"):
        kept.open_records()
    assert path_of(kept, journal).exists()


def test_what_another_user_keeps_from_us_stays_where_it_is(
    kept: FolderLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = kept.begin(an_intent())

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_journals, "LockedFile", refuse)
    for _ in range(2):
        assert kept.open_records() == []
    assert path_of(kept, journal).exists()
    (message,) = caplog.messages
    assert "Permission denied" in message


def test_a_claim_that_cannot_be_read_is_somebody_elses(kept: FolderLedger) -> None:
    first = kept.begin(an_intent())
    first.claim("i", is_answered=True)
    (note,) = (kept.folder / "claims").iterdir()
    note.write_bytes(b"")
    assert kept.known(["i"]) == {"i"}
    assert not kept.begin(an_intent()).claim("i", is_answered=True)


def test_a_write_that_failed_half_way_leaves_nothing(kept: FolderLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = kept.begin(an_intent())
    real = _journals.write_whole

    def half(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_journals, "write_whole", half)
    with pytest.raises(LedgerError, match="No space left on device"):
        journal.keep(Bounds())
    assert not the_record(kept).is_kept
    monkeypatch.setattr(_journals, "write_whole", real)
    assert journal.claim("i", is_answered=True)
    journal.end("stopped")
    assert [(record.instance_id, record.is_kept) for record in kept.past_records()] == [("i", False)]


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_handed_over_on_a_full_disk_is_not_open(kept: FolderLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = kept.begin(an_intent())
    journal.claim("i", is_answered=True)
    monkeypatch.setattr(_journals, "write_whole", refuse)
    for _ in range(2):
        journal.end("handed over")
    assert kept.open_records() == []
    (record,) = kept.past_records()
    assert (record.instance_id, record.ending, record.owner) == ("i", "handed over", "none")
    assert kept.past_records(record.intent.at) == [record]


def test_another_end_that_a_full_disk_does_not_take_is_an_error(
    kept: FolderLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = kept.begin(an_intent())
    with monkeypatch.context() as patch:
        patch.setattr(_journals, "write_whole", refuse)
        with pytest.raises(LedgerError, match="No space left on device"):
            journal.end("stopped")
        patch.setattr(_journals.FolderLedger, "_move_to_history", lambda *_: False)
        with pytest.raises(LedgerError, match="No space left on device"):
            journal.end("handed over")
    assert [record.ending for record in kept.open_records()] == [None]


def test_letting_go_does_not_wait_for_a_write_that_hangs(kept: FolderLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, is_writing, over = kept.begin(an_intent()), threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        is_writing.set()
        over.wait()

    monkeypatch.setattr(_journals, "write_whole", hang)
    monkeypatch.setattr(_journals, "_PATIENCE", 0.01)
    writing = threading.Thread(target=journal.keep, args=(Bounds(),), daemon=True)
    writing.start()
    is_writing.wait()
    journal.let_go()
    assert the_record(kept).owner == "alive"
    over.set()
    writing.join()
    journal.let_go()
    assert the_record(kept).owner == "dead"
