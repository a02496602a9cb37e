"""Where a ledger is kept, and what happens where it cannot be."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inferlease import LedgerError, _ledgers
from inferlease._journals import FolderLedger
from inferlease._ledgers import account_key, open_ledger
from inferlease._locked_files import LockedFile
from inferlease._memory_ledger import MemoryLedger
from tests.ledger.support import an_intent, the_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inferlease.ledger import Intent, Ledger


# What makes a folder unusable


def in_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file")


def not_creatable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.symlink_to("/proc/not/there")


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(folder, monkeypatch, errno.EROFS)


def full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(folder, monkeypatch, errno.ENOSPC)


def on_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ledgers, "network_type", lambda path: "nfs4" if path.is_relative_to(folder) else None)


def without_locks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LockedFile.try_lock
    monkeypatch.setattr(LockedFile, "try_lock", lambda file, how: file.path.is_relative_to(folder) or real(file, how))


def refuse(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, unless: str = "/") -> None:
    """Have every creation of a file in `folder` fail, `unless` its name ends so."""
    real = os.open

    def refusing(path: str | Path, flags: int, *args: int) -> int:
        if flags & os.O_CREAT and Path(path).is_relative_to(folder) and not str(path).endswith(unless):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *args)

    monkeypatch.setattr(os, "open", refusing)


TROUBLES = [in_the_way, not_creatable, read_only, full, on_a_network, without_locks]


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "state" / "inferlease"


def in_temporary(tmp_path: Path) -> Path:
    return tmp_path / "temporary" / f"inferlease-{os.getuid()}"


# Named explicitly


@pytest.mark.fault(72)
@pytest.mark.parametrize("by", ["argument", "environment"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_folder_that_was_named_and_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[Path, pytest.MonkeyPatch], None], by: str
) -> None:
    folder = tmp_path / "named"
    trouble(folder, monkeypatch)
    if by == "environment":
        monkeypatch.setenv("INFERLEASE_STATE_DIR", str(folder))
    with pytest.raises(LedgerError) as caught:
        open_ledger(folder if by == "argument" else None, "account")
    message = str(caught.value)
    assert str(folder) in message
    assert "ledger=PATH or INFERLEASE_STATE_DIR" in message
    assert "\n" not in message
    assert not in_temporary(tmp_path).exists()


@pytest.mark.fault(72)
def test_a_named_folder_that_is_full_by_now_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(tmp_path / "named", "account")
    full(tmp_path / "named", monkeypatch)
    with pytest.raises(LedgerError, match="No space left on device"):
        ledger.begin(an_intent())
    assert ledger.open_records() == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.fault(72)
def test_a_disk_that_fills_up_loses_nothing(disk: Path) -> None:
    ledger = open_ledger(disk / "named", "account")
    journal = ledger.begin(an_intent())
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * 1_000_000)
    with pytest.raises(LedgerError, match="No space left on device"):
        ledger.begin(an_intent(baseline=frozenset(str(number) for number in range(3000))))
    with pytest.raises(LedgerError, match="No space left on device"):
        journal.claim("i", is_answered=True)
    with pytest.raises(LedgerError, match="No space left on device"):
        open_ledger(disk / "another", "account")
    filler.unlink()
    assert journal.claim("i", is_answered=True)
    assert the_record(ledger).instance_id == "i"


@pytest.mark.fault(72)
def test_a_read_only_disk_is_refused_and_can_be_read(disk: Path) -> None:
    ledger = open_ledger(disk / "named", "account")
    ledger.begin(an_intent()).let_go()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(LedgerError, match="Read-only file system"):
        open_ledger(disk / "named", "account")
    with pytest.raises(LedgerError, match="Read-only file system"):
        ledger.begin(an_intent())
    assert the_record(ledger).owner == "dead"


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(LedgerError, match="empty"):
        open_ledger("", "account")


def test_a_folder_is_taken_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for where in ("~/named", "named", tmp_path / "named"):
        ledger = open_ledger(where, "account")
        assert isinstance(ledger, FolderLedger)
        assert ledger.folder == tmp_path / "named" / "account"


def test_the_argument_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERLEASE_STATE_DIR", str(tmp_path / "environment"))
    open_ledger(tmp_path / "argument", "account")
    assert not (tmp_path / "environment").exists()
    open_ledger(None, "account")
    assert (tmp_path / "environment" / "account").is_dir()


def test_a_ledger_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFERLEASE_STATE_DIR", str(tmp_path))
    ledger = MemoryLedger()
    assert open_ledger(ledger, "account") is ledger


# The usual places


def begin(ledger: Ledger, **changes: object) -> Intent:
    return ledger.begin(an_intent(**changes)).intent


def test_the_usual_place_is_the_state_directory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    intent = begin(open_ledger(None, "account"))
    assert the_record(FolderLedger(folder_of(tmp_path) / "account")).intent == intent
    assert not in_temporary(tmp_path).exists()
    assert caplog.messages == []


def test_nothing_is_made_before_the_first_start(tmp_path: Path) -> None:
    ledger = open_ledger(None, "account")
    assert (ledger.known(["i"]), ledger.open_records(), ledger.past_records()) == (set(), [], [])
    assert not folder_of(tmp_path).exists()
    assert not in_temporary(tmp_path).exists()


@pytest.mark.fault(72)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_temporary_directory_comes_next_with_one_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    folder_of(tmp_path).parent.mkdir()
    trouble(folder_of(tmp_path), monkeypatch)
    ledger = open_ledger(None, "account")
    assert ledger.try_lock("spec") is not None
    intent = begin(ledger)
    begin(open_ledger(None, "account"))
    assert intent in [record.intent for record in FolderLedger(in_temporary(tmp_path) / "account").open_records()]
    assert in_temporary(tmp_path).stat().st_mode & 0o777 == 0o700
    assert len(ledger.open_records()) == 2
    (message,) = [said for said in caplog.messages if "starts are remembered" in said]
    assert "may not survive a reboot" in message
    assert str(folder_of(tmp_path)) in message
    assert "\n" not in message


def by_a_link(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root.parent / "elsewhere").mkdir(0o700)
    root.symlink_to("elsewhere")


def open_to_others(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    root.chmod(0o770)


def somebody_elses(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(0o700)
    another = os.getuid() + 1
    root.rename(root.with_name(f"inferlease-{another}"))
    monkeypatch.setattr(os, "getuid", lambda: another)


@pytest.mark.fault(72)
@pytest.mark.parametrize("trouble", [*TROUBLES, by_a_link, open_to_others, somebody_elses])
def test_memory_comes_last_with_one_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    in_the_way(folder_of(tmp_path), monkeypatch)
    trouble(in_temporary(tmp_path), monkeypatch)
    ledger, other = open_ledger(None, "account"), open_ledger(None, "account")
    assert ledger.try_lock("spec") is not None
    assert other.try_lock("spec") is None
    intent = begin(ledger)
    begin(ledger)
    assert intent in [record.intent for record in other.open_records()]
    assert open_ledger(None, "another account").open_records() == []
    (message,) = [said for said in caplog.messages if "starts are remembered" in said]
    assert "nothing is remembered" in message
    assert "`inferlease reap` cannot help" in message
    assert "\n" not in message
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_platform_without_locks_has_memory(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(_ledgers, "HAS_LOCKS", False)
    ledger = open_ledger(None, "account")
    assert ledger.try_lock("spec") is not None
    assert begin(ledger) == the_record(ledger).intent
    (message,) = caplog.messages
    assert "this platform lacks the file locks" in message


def test_the_package_imports_where_there_are_no_locks(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["fcntl"] = None
from inferlease import Client, LedgerError
from inferlease._ledgers import open_ledger
print(type(open_ledger(None, "a").begin(__import__("tests.ledger.support").ledger.support.an_intent())).__name__)
try:
    open_ledger(sys.argv[1], "a")
except LedgerError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert done[0] == "PlacedJournal"
    assert "this platform lacks the file locks" in done[1]


def test_a_user_without_a_home_has_no_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    begin(open_ledger(None, "account"))
    assert not (tmp_path / "~").exists()
    assert in_temporary(tmp_path).exists()


@pytest.mark.fault(72)
def test_a_lock_is_the_same_for_whom_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = open_ledger(None, "account").try_lock("spec")
    assert held is not None
    refuse(folder_of(tmp_path), monkeypatch, errno.ENOSPC, unless=".lock")
    assert open_ledger(None, "account").try_lock("spec") is None


@pytest.mark.fault(72)
def test_what_fills_up_later_falls_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(None, "account")
    first = ledger.begin(an_intent(spec="first"))
    assert first.claim("i", is_answered=True)
    held = ledger.try_lock("spec")
    with monkeypatch.context() as patch:
        full(folder_of(tmp_path), patch)
        second = ledger.begin(an_intent(spec="second"))
    assert "may not survive a reboot" in caplog.messages[0]
    assert held is not None
    assert ledger.try_lock("spec") is None
    assert [record.intent.spec for record in ledger.open_records()] == ["first", "second"]
    assert not second.claim("i", is_answered=False)
    assert second.claim("j", is_answered=False)
    assert ledger.known(["i", "j", "k"]) == {"i", "j"}
    assert not ledger.begin(an_intent()).claim("j", is_answered=False)


def test_what_was_left_in_any_place_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(None, "account")
    ledger.begin(an_intent(spec="state")).let_go()
    with monkeypatch.context() as patch:
        full(folder_of(tmp_path), patch)
        ledger.begin(an_intent(spec="temporary")).let_go()
        full(in_temporary(tmp_path), patch)
        ledger.begin(an_intent(spec="memory")).let_go()
    fresh = open_ledger(None, "account")
    records = fresh.open_records()
    assert [record.intent.spec for record in records] == ["state", "temporary", "memory"]
    for record in records:
        journal = fresh.take_over(record)
        assert journal is not None
        journal.end("refused", record.intent.spec)
    assert [record.reason for record in fresh.past_records()] == ["state", "temporary", "memory"]
    assert fresh.open_records() == []


def test_a_mistake_of_the_caller_is_no_reason_to_fall_back(tmp_path: Path) -> None:
    ledger = open_ledger(None, "account")
    intent = begin(ledger)
    with pytest.raises(LedgerError, match="File exists"):
        ledger.begin(intent)
    with pytest.raises(LedgerError, match="no name of a journal"):
        begin(ledger, journal="../x")
    assert not in_temporary(tmp_path).exists()


# Accounts


def test_an_account_has_a_key_that_does_not_tell_it() -> None:
    key = account_key("https://api.example.com/v1", "client")
    assert key == account_key("https://api.example.com/v1/", "client")
    assert len({key, account_key("https://api.example.com/v2", "client"), account_key("https://api", "other")}) == 3
    assert len(key) == 32
    assert int(key, 16)


def test_accounts_know_nothing_of_each_other(tmp_path: Path) -> None:
    open_ledger(tmp_path, "one").begin(an_intent()).claim("i", is_answered=True)
    assert open_ledger(tmp_path, "two").known(["i"]) == set()
    assert open_ledger(tmp_path, "one").known(["i"]) == {"i"}


def test_what_finds_the_place_is_not_loaded_before_it_is_needed() -> None:
    program = (
        "import sys; from inferlease import Client; import inferlease._ledgers; print('platformdirs' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
