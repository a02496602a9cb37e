"""Processes that share one ledger, and those that are killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ledger.support import an_intent, processes, the_record

if TYPE_CHECKING:
    from pathlib import Path

    from inferlease._journals import FolderLedger

CLAIMS = """
journals = [ledger.begin(an_intent()) for _ in range(40)]
say("ready")
sys.stdin.readline()
say([number for number, journal in enumerate(journals) if journal.claim(f"i{number}", is_answered=False)])
sys.stdin.readline()
"""

LOCKS = """
say("ready")
for number in range(60):
    sys.stdin.readline()
    lock = ledger.try_lock("spec")
    say(lock is not None)
    sys.stdin.readline()
    if lock is not None:
        lock.release()
    say("released")
"""

OWNS = """
journal = ledger.begin(an_intent())
journal.claim("i", is_answered=True)
say(journal.intent.journal)
sys.stdin.readline()
"""

OWNS_MANY = """
for number in range(30):
    ledger.begin(an_intent()).claim(f"i{number}", is_answered=True)
say("ready")
sys.stdin.readline()
"""

TAKES_OVER = """
records = ledger.open_records()
say([record.owner for record in records])
sys.stdin.readline()
taken = [journal for record in records if (journal := ledger.take_over(record)) is not None]
say([journal.intent.journal for journal in taken])
sys.stdin.readline()
"""

DIES_WITHIN_A_CLAIM = """
from inferlease._claims import Claims
journal = ledger.begin(an_intent())
Claims.note = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
journal.claim("i", is_answered=True)
"""

DIES_WITHIN_AN_END = """
journal = ledger.begin(an_intent())
say("ready")
sys.stdin.readline()
FolderLedger._move_to_history = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
journal.end("stopped")
"""

DIES_WITHIN_A_BEGINNING = """
from inferlease import _journals
_journals.write_whole = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ledger.begin(an_intent())
"""


@pytest.mark.fault(73)
def test_each_id_is_claimed_by_one_of_many_processes(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, CLAIMS, 5) as racers:
        for racer in racers:
            racer.hear()
        for racer in racers:
            racer.tell("go")
        won = [number for racer in racers for number in racer.hear()[0]]
        claimed = [record.instance_id for record in kept.open_records() if record.instance_id]
    assert sorted(won) == list(range(40))
    assert sorted(claimed) == sorted(f"i{number}" for number in range(40))


@pytest.mark.fault(73)
def test_a_spec_is_locked_by_one_of_many_processes(folder: Path) -> None:
    with processes(folder, LOCKS, 4) as racers:
        for racer in racers:
            racer.hear()
        for _ in range(60):
            for racer in racers:
                racer.tell("lock")
            assert sum(racer.hear()[0] for racer in racers) == 1
            for racer in racers:
                racer.tell("release")
            for racer in racers:
                racer.hear()


@pytest.mark.fault(73)
def test_a_living_process_keeps_what_it_owns(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, OWNS) as (owner,):
        owner.hear()
        record = the_record(kept)
        assert (record.owner, record.instance_id) == ("alive", "i")
        assert kept.take_over(record) is None


def test_a_killed_process_owns_nothing(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, OWNS) as (owner,):
        (name,) = owner.hear()
        owner.kill()
        record = the_record(kept)
    assert (record.owner, record.instance_id, record.intent.journal) == ("dead", "i", name)


@pytest.mark.fault(73)
def test_what_a_killed_process_owned_is_taken_over_by_one(folder: Path) -> None:
    with processes(folder, OWNS_MANY) as (owner,):
        owner.hear()
        with processes(folder, TAKES_OVER, 4) as early:
            assert [heir.hear() for heir in early] == [[["alive"] * 30]] * 4
        owner.kill()
        with processes(folder, TAKES_OVER, 4) as heirs:
            assert [heir.hear() for heir in heirs] == [[["dead"] * 30]] * 4
            for heir in heirs:
                heir.tell("go")
            taken = [name for heir in heirs for name in heir.hear()[0]]
    assert len(taken) == len(set(taken)) == 30


def test_a_claim_that_was_cut_short_is_not_lost(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, DIES_WITHIN_A_CLAIM) as (owner,):
        owner.wait()
    record = the_record(kept)
    assert (record.owner, record.instance_id, record.is_answered) == ("dead", "i", True)
    assert kept.known(["i"]) == {"i"}
    assert not kept.begin(an_intent()).claim("i", is_answered=True)


def test_a_claim_that_was_cut_short_is_lost_to_one_that_was_not(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, DIES_WITHIN_A_CLAIM) as (owner,):
        owner.wait()
    assert kept.begin(an_intent()).claim("i", is_answered=True)
    assert [record.instance_id for record in kept.open_records()] == [None, "i"]


def test_an_end_that_was_cut_short_is_an_end(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, DIES_WITHIN_AN_END) as (owner,):
        owner.hear()
        record = the_record(kept)
        owner.tell("end")
        owner.wait()
    assert kept.take_over(record) is None
    assert [record.ending for record in kept.past_records()] == ["stopped"]
    assert kept.open_records() == []
    assert [path.parent.name for path in folder.rglob("*.jsonl")] == ["history"]
    assert [record.ending for record in kept.past_records()] == ["stopped"]


def test_a_beginning_that_was_cut_short_is_nothing(
    folder: Path, kept: FolderLedger, caplog: pytest.LogCaptureFixture
) -> None:
    with processes(folder, DIES_WITHIN_A_BEGINNING) as (owner,):
        owner.wait()
    assert len(list((folder / "leases").iterdir())) == 1
    assert (kept.open_records(), kept.past_records(), caplog.messages) == ([], [], [])
