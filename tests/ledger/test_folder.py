"""How a ledger is kept in a folder."""

from __future__ import annotations

import json
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import LedgerError, _journals
from inferlease._claims import Claims
from inferlease._journals import FolderLedger
from inferlease._locked_files import LockedFile
from inferlease.ledger import Bounds
from tests.ledger.support import an_intent, the_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_only_the_user_can_read_it(folder: Path, kept: FolderLedger) -> None:
    previous = os.umask(0)
    try:
        journal = kept.begin(an_intent())
        journal.claim("i", is_answered=True)
        kept.begin(an_intent()).end("stopped")
        kept.try_lock("spec")
    finally:
        os.umask(previous)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert {path.name for path in folder.iterdir()} == {"leases", "history", "claims", "locks", "aside"}
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in modes}


def test_a_journal_is_one_line_for_each_event(folder: Path, kept: FolderLedger) -> None:
    journal = kept.begin(an_intent())
    journal.claim("i", is_answered=True)
    journal.keep(Bounds())
    journal.end("handed over")
    (path,) = (folder / "history").iterdir()
    lines = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert [line["line"] for line in lines] == ["intent", "claim", "keep", "end"]
    assert lines[0]["version"] == 1
    assert all(line["at"].endswith("+00:00") for line in lines)
    assert path.name == f"{journal.intent.journal}.jsonl"


def test_nobody_sees_a_journal_before_it_is_whole_and_owned(
    kept: FolderLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[list[str]] = []

    def spied(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            seen.append([record.owner for record in FolderLedger(kept.folder).open_records()])
            result = real(*args, **kwargs)
            seen.append([record.owner for record in FolderLedger(kept.folder).open_records()])
            return result

        return wrapper

    monkeypatch.setattr(_journals, "write_whole", spied(_journals.write_whole))
    monkeypatch.setattr(os, "link", spied(os.link))
    monkeypatch.setattr(_journals, "sync_folder", spied(_journals.sync_folder))
    kept.begin(an_intent())
    assert [owners for owners in seen if owners] == [["alive"]] * 3
    assert caplog.messages == []


def test_a_claim_that_comes_first_wins_also_between_look_and_claim(
    kept: FolderLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = kept.begin(an_intent()), kept.begin(an_intent())
    real = Claims.claimer

    def late(claims: Claims, instance_id: str) -> str | None:
        found = real(claims, instance_id)
        monkeypatch.setattr(Claims, "claimer", real)
        assert first.claim("i", is_answered=True)
        return found

    monkeypatch.setattr(Claims, "claimer", late)
    assert not second.claim("i", is_answered=True)
    assert [record.instance_id for record in kept.open_records()] == ["i", None]
    second.let_go()
    assert [record.instance_id for record in kept.open_records()] == ["i", None]


def test_an_owner_that_is_about_to_claim_is_not_overtaken(kept: FolderLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = kept.begin(an_intent())
    seen: list[tuple[str | None, set[str]]] = []
    real = Claims.note

    def spied(claims: Claims, claim: Any) -> bool:
        other = FolderLedger(kept.folder)
        seen.append((the_record(other).instance_id, other.known(["i"])))
        return real(claims, claim)

    monkeypatch.setattr(Claims, "note", spied)
    assert journal.claim("i", is_answered=True)
    assert seen == [(None, set())]


def test_a_probe_is_no_owner(kept: FolderLedger) -> None:
    journals = [kept.begin(an_intent()) for _ in range(50)]
    for journal in journals:
        journal.let_go()
    records, done = kept.open_records(), threading.Event()

    def probe() -> None:
        while not done.is_set():
            kept.open_records()

    threads = [threading.Thread(target=probe) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert None not in [kept.take_over(record) for record in records]
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_probes_do_not_take_each_other_for_an_owner(folder: Path, kept: FolderLedger) -> None:
    kept.begin(an_intent()).let_go()
    (path,) = (folder / "leases").iterdir()
    probe = LockedFile(path, os.O_RDONLY)
    assert probe.try_lock("shared")
    assert the_record(kept).owner == "dead"
    probe.close()


def test_what_ends_while_it_is_taken_over_stays_ended(kept: FolderLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = kept.begin(an_intent())
    record = the_record(kept)
    real = LockedFile.try_lock_despite_probes

    def late(file: LockedFile) -> bool:
        journal.end("stopped")
        return real(file)

    monkeypatch.setattr(LockedFile, "try_lock_despite_probes", late)
    assert kept.take_over(record) is None
    assert [past.ending for past in kept.past_records()] == ["stopped"]


def test_a_file_that_took_the_place_of_a_journal_is_not_taken_for_it(
    folder: Path, kept: FolderLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.begin(an_intent()).let_go()
    record = the_record(kept)
    (path,) = (folder / "leases").iterdir()
    real = LockedFile.try_lock_despite_probes

    def late(file: LockedFile) -> bool:
        text = path.read_bytes()
        path.unlink()
        path.write_bytes(text)
        return real(file)

    monkeypatch.setattr(LockedFile, "try_lock_despite_probes", late)
    assert kept.take_over(record) is None


def test_old_history_is_not_opened(folder: Path, kept: FolderLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.begin(an_intent()).end("stopped")
    journal = kept.begin(an_intent())
    journal.end("stopped")
    (old,) = (path for path in (folder / "history").iterdir() if path.stem != journal.intent.journal)
    os.utime(old, (0, 0))
    opened: list[str] = []
    real = FolderLedger._record
    monkeypatch.setattr(FolderLedger, "_record", lambda self, path: opened.append(path.stem) or real(self, path))
    (record,) = kept.past_records(journal.intent.at)
    assert opened == [record.intent.journal] == [journal.intent.journal]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0", "a.b", "ä", "x" * 101], ids=ascii)
def test_a_journal_has_a_name_that_a_file_may_have(kept: FolderLedger, name: str) -> None:
    with pytest.raises(LedgerError, match="no name of a journal"):
        kept.begin(an_intent(journal=name))
    assert kept.open_records() == []


@pytest.mark.parametrize("changes", [{"settle_time": float("inf")}, {"late_window": float("nan")}, {"kind": "other"}])
def test_what_could_not_be_read_again_is_not_written(kept: FolderLedger, changes: dict[str, Any]) -> None:
    with pytest.raises(LedgerError):
        kept.begin(an_intent(**changes))
    assert kept.open_records() == []


def test_a_folder_that_was_removed_is_made_again(folder: Path, kept: FolderLedger) -> None:
    import shutil

    kept.begin(an_intent()).end("stopped")
    shutil.rmtree(folder)
    kept.begin(an_intent())
    assert len(kept.open_records()) == 1


def test_what_is_let_go_is_free_though_a_copy_of_its_descriptor_is_open(kept: FolderLedger) -> None:
    lock, journal = kept.try_lock("spec"), kept.begin(an_intent())
    assert lock is not None
    copies = [os.dup(lock._file.descriptor), os.dup(journal._file.descriptor)]
    lock.release()
    journal.let_go()
    try:
        assert kept.try_lock("spec") is not None
        assert the_record(kept).owner == "dead"
    finally:
        for copy in copies:
            os.close(copy)


def test_an_end_leaves_no_descriptor_open(kept: FolderLedger) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a listing of descriptors is no folder to keep
    for _ in range(3):
        journal = kept.begin(an_intent())
        journal.claim("i", is_answered=True)
        kept.open_records()
        journal.end("stopped")
        kept.past_records()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above
