"""What every ledger does, wherever it is kept."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, get_args

import pytest

from inferlease import LedgerError
from inferlease._guarded import GuardedJournal
from inferlease.ledger import Bounds, Ending, StartRecord, now
from inferlease.objects import InstanceArgs
from tests.ledger.support import an_intent, the_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferlease.ledger import Intent, Journal, Ledger

ODD = ["", ".", "../../etc", "a/b", "line\nbreak", "nul\0", "\ud800", "ö" * 300, "x" * 10_000]


@pytest.mark.parametrize(
    "intent",
    [
        an_intent(),
        an_intent(kind="start", exclusive=True, settle_time=0.5, late_window=0.0),
        an_intent(exclusive=False, baseline=frozenset({"a", "b"}), foreign=frozenset({"b"})),
        an_intent(spec="\ud800\n", args=InstanceArgs("m\udfff"), baseline=frozenset(ODD)),
        an_intent(at=datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
    ],
    ids=range(5),
)
def test_an_intent_is_remembered_as_it_is(ledger: Ledger, other: Ledger, intent: Intent) -> None:
    assert ledger.begin(intent).intent == intent
    assert the_record(other) == StartRecord(intent, "alive")


def test_a_claim_is_remembered(ledger: Ledger, other: Ledger) -> None:
    before = now()
    assert ledger.begin(an_intent()).claim("i", is_answered=True)
    record = the_record(other)
    assert (record.instance_id, record.is_answered) == ("i", True)
    assert record.claimed_at is not None
    assert before <= record.claimed_at <= now()


@pytest.mark.parametrize("instance_id", ODD, ids=ascii)
def test_an_id_may_be_any_text(ledger: Ledger, other: Ledger, instance_id: str) -> None:
    assert ledger.begin(an_intent()).claim(instance_id, is_answered=False)
    assert the_record(other).instance_id == instance_id
    assert other.known([*ODD, "another"]) == {instance_id}


def test_what_is_known_already_is_not_claimed(ledger: Ledger, other: Ledger) -> None:
    assert ledger.begin(an_intent()).claim("i", is_answered=True)
    second = other.begin(an_intent(at=now() + timedelta(seconds=1)))
    assert not second.claim("i", is_answered=True)
    assert [record.instance_id for record in ledger.open_records()] == ["i", None]
    assert second.claim("j", is_answered=False)


def test_a_journal_may_claim_its_own_again(ledger: Ledger) -> None:
    journal = ledger.begin(an_intent())
    assert journal.claim("i", is_answered=True)
    before = the_record(ledger)
    assert journal.claim("i", is_answered=False)
    assert the_record(ledger) == before


def test_a_journal_is_about_one_instance(ledger: Ledger) -> None:
    journal = ledger.begin(an_intent())
    journal.claim("i", is_answered=True)
    with pytest.raises(LedgerError, match="has claimed i already"):
        journal.claim("j", is_answered=True)
    assert ledger.known(["i", "j"]) == {"i"}


@pytest.mark.parametrize("bounds", [Bounds(), Bounds(limit_at=now(), min_balance=2.5)], ids=["unbounded", "bounded"])
def test_it_is_remembered_that_an_instance_stays_and_up_to_where(ledger: Ledger, other: Ledger, bounds: Bounds) -> None:
    ledger.begin(an_intent()).keep(bounds)
    assert (the_record(other).is_kept, the_record(other).bounds) == (True, bounds)


def test_of_what_stays_the_last_bounds_count(ledger: Ledger, other: Ledger) -> None:
    journal, later = ledger.begin(an_intent()), Bounds(limit_at=now())
    journal.keep(Bounds(min_balance=2.5))
    journal.keep(later)
    assert the_record(other).bounds == later


@pytest.mark.parametrize("how", get_args(Ending))
def test_an_end_is_remembered(ledger: Ledger, other: Ledger, how: Ending) -> None:
    before = now()
    journal = ledger.begin(an_intent())
    journal.claim("i", is_answered=True)
    journal.end(how)
    assert other.open_records() == []
    (record,) = other.past_records()
    assert (record.ending, record.owner, record.instance_id) == (how, "none", "i")
    assert record.ended_at is not None
    assert before <= record.ended_at <= now()
    assert other.known(["i"]) == {"i"}


@pytest.mark.parametrize("is_guarded", [False, True], ids=["plain", "guarded"])
def test_a_reason_is_remembered_with_the_end(ledger: Ledger, other: Ledger, is_guarded: bool) -> None:
    journal = ledger.begin(an_intent())
    watched = GuardedJournal(journal, is_carried=False) if is_guarded else journal
    watched.end("refused", "\U0001f4b8: none left")
    assert [record.reason for record in other.past_records()] == ["\U0001f4b8: none left"]


def test_the_first_end_counts(ledger: Ledger) -> None:
    journal = ledger.begin(an_intent())
    journal.end("refused", "the first")
    journal.end("stopped", "the second")
    journal.let_go()
    assert [(record.ending, record.reason) for record in ledger.past_records()] == [("refused", "the first")]


def claim(journal: Journal) -> None:
    journal.claim("i", is_answered=True)


def keep(journal: Journal) -> None:
    journal.keep(Bounds())


def end(journal: Journal) -> None:
    journal.end("stopped")


@pytest.mark.parametrize("use", [claim, keep])
def test_nothing_is_noted_after_the_end(ledger: Ledger, use: Callable[[Journal], None]) -> None:
    journal = ledger.begin(an_intent())
    journal.end("refused")
    with pytest.raises(LedgerError, match="has ended"):
        use(journal)
    assert not ledger.known(["i"])


@pytest.mark.parametrize("use", [claim, keep, end])
def test_nothing_is_noted_once_it_was_let_go(ledger: Ledger, use: Callable[[Journal], None]) -> None:
    journal = ledger.begin(an_intent())
    journal.let_go()
    with pytest.raises(LedgerError, match="was let go"):
        use(journal)
    assert the_record(ledger) == StartRecord(journal.intent, "dead")


def test_what_was_let_go_is_taken_over_once(ledger: Ledger, other: Ledger) -> None:
    journal = ledger.begin(an_intent())
    journal.let_go()
    journal.let_go()
    record = the_record(other)
    assert record.owner == "dead"
    assert other.take_over(record) is not None
    assert the_record(ledger).owner == "alive"
    assert ledger.take_over(record) is None
    journal.let_go()
    assert the_record(ledger).owner == "alive"


def test_what_was_taken_over_goes_on(ledger: Ledger, other: Ledger) -> None:
    journal = ledger.begin(an_intent())
    journal.claim("i", is_answered=True)
    journal.let_go()
    successor = other.take_over(the_record(other))
    assert successor is not None
    assert successor.intent == journal.intent
    assert successor.claim("i", is_answered=False)
    with pytest.raises(LedgerError, match="already"):
        successor.claim("j", is_answered=True)
    successor.keep(Bounds())
    successor.end("stopped")
    (record,) = ledger.past_records()
    assert (record.instance_id, record.is_answered, record.is_kept, record.ending) == ("i", True, True, "stopped")


def test_what_has_an_owner_is_not_taken_over(ledger: Ledger, other: Ledger) -> None:
    journal = ledger.begin(an_intent())
    assert other.take_over(the_record(other)) is None
    journal.keep(Bounds())


def test_what_has_ended_is_not_taken_over(ledger: Ledger, other: Ledger) -> None:
    journal = ledger.begin(an_intent())
    record = the_record(other)
    journal.end("stopped")
    assert other.take_over(record) is None


def test_what_is_not_there_is_not_taken_over(ledger: Ledger) -> None:
    assert ledger.take_over(StartRecord(an_intent(), "dead")) is None


def test_a_journal_begins_once(ledger: Ledger, other: Ledger) -> None:
    intent = an_intent()
    journal = ledger.begin(intent)
    with pytest.raises(LedgerError):
        other.begin(intent)
    assert journal.claim("i", is_answered=True)
    assert the_record(ledger).instance_id == "i"


def test_a_spec_is_locked_by_one(ledger: Ledger, other: Ledger) -> None:
    lock = ledger.try_lock("spec")
    assert lock is not None
    assert ledger.try_lock("spec") is None
    assert other.try_lock("spec") is None
    assert other.try_lock("\ud800") is not None
    lock.release()
    assert other.try_lock("spec") is not None


def test_a_lock_is_released_once(ledger: Ledger, other: Ledger) -> None:
    lock = ledger.try_lock("spec")
    assert lock is not None
    lock.release()
    assert other.try_lock("spec") is not None
    lock.release()
    assert ledger.try_lock("spec") is None


def test_an_empty_ledger_can_be_read(ledger: Ledger) -> None:
    assert (ledger.known(["i"]), ledger.open_records(), ledger.past_records()) == (set(), [], [])


def test_the_oldest_comes_first(ledger: Ledger) -> None:
    start = now()
    intents = [an_intent(at=start + timedelta(seconds=seconds)) for seconds in (2, 0, 1)]
    journals = [ledger.begin(intent) for intent in intents]
    expected = [intents[1], intents[2], intents[0]]
    assert [record.intent for record in ledger.open_records()] == expected
    for journal in journals:
        journal.end("stopped")
    assert [record.intent for record in ledger.past_records()] == expected


@pytest.mark.parametrize(("seconds", "count"), [(-3600, 1), (0, 1), (1e-6, 0), (30, 0), (3600, 0)])
def test_the_past_since_a_time(ledger: Ledger, seconds: float, count: int) -> None:
    ledger.begin(an_intent()).end("stopped")
    (record,) = ledger.past_records()
    assert record.ended_at is not None
    assert len(ledger.past_records(record.ended_at + timedelta(seconds=seconds))) == count


def test_threads_claim_each_id_once(ledger: Ledger) -> None:
    ids = [f"i{number}" for number in range(20)]
    won: list[str] = []
    barrier = threading.Barrier(6)

    def claim_all() -> None:
        barrier.wait()
        won.extend(i for i in ids if ledger.begin(an_intent()).claim(i, is_answered=True))

    threads = [threading.Thread(target=claim_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(ids)
