"""What the ledger remembers of money, and the sums over it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import Client, CostGroup, InvalidArgumentError
from inferlease._costs import grouped
from inferlease._journal_lines import intent_line, read_journal
from inferlease.ledger import Facts, Intent, StartRecord
from inferlease.money import Price
from inferlease.objects import InstanceArgs
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator

if TYPE_CHECKING:
    from pathlib import Path

approx: Any = pytest.approx
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
ARGS = InstanceArgs("org--model", None, "per_minute", None, 2)


def intent(**changes: Any) -> Intent:
    given: dict[str, Any] = {
        "spec": "spec",
        "args": ARGS,
        "kind": "lease",
        "baseline": frozenset(),
        "foreign": frozenset(),
        "exclusive": None,
        "settle_time": 30.0,
        "late_window": 600.0,
        "at": NOON,
    }
    return Intent(**given | changes)


def lease(seconds: float, *, facts: Facts | None = None, **changes: Any) -> StartRecord:
    return StartRecord(
        intent(**changes),
        "none",
        instance_id="i-1",
        ending="stopped",
        ended_at=NOON + timedelta(seconds=seconds),
        facts=facts or Facts("NVIDIA_L4_1", "per_minute", Price(1.2, "EUR")),
    )


# ---- what the ledger remembers ----------------------------------------------------------------------


def test_an_intent_is_read_as_it_was_written() -> None:
    full = intent(label="team ä", price=Price(1.2, "EUR"))
    assert read_journal(intent_line(full)).intent == full


def test_a_journal_of_before_labels_is_read() -> None:
    line = json.loads(
        intent_line(
            intent(
                label="x",
                price=Price(1.0, "EUR"),
            )
        )
    )
    for name in ("label", "price_per_hour", "currency"):
        del line[name]
    assert read_journal(json.dumps(line).encode() + b"\n").intent == intent(journal=line["journal"])


@pytest.mark.asyncio
async def test_a_lease_leaves_its_label_and_price_in_the_ledger(client: Client) -> None:
    async with client.lease(MODEL, label="team a", max_duration=60):
        (record,) = await client._core.carry("", client._core.ledger.open_records)
    (past,) = await client._core.carry("", client._core.ledger.past_records)
    assert past.intent.label == "team a"
    assert past.facts.price == Price(approx(1.2), "EUR")
    assert (past.facts.hardware_type_id, past.facts.billing_interval) == ("NVIDIA_L4_1", "per_minute")
    assert past.facts.usable_at is not None
    assert past.intent.at < past.facts.usable_at
    assert record.intent == past.intent


@pytest.mark.parametrize("label", ["", "x" * 201, "two\nlines", 7, "\x1b[31m"])
@pytest.mark.asyncio
async def test_what_is_no_label_is_refused(client: Client, label: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="label="):
        client.lease(MODEL, label=label)


# ---- the sums ---------------------------------------------------------------------------------------


def test_leases_are_summed_up_by_label_the_dearest_first() -> None:
    records = [lease(30, label="a"), lease(61, label="a"), lease(7200, label="b"), lease(1)]
    a, b, none = (
        CostGroup("a", 2, 0, 91.0, {"EUR": approx(0.06)}, 0),
        CostGroup("b", 1, 0, 7200.0, {"EUR": approx(2.4)}, 0),
        CostGroup(None, 1, 0, 1.0, {"EUR": approx(0.02)}, 0),
    )
    assert grouped(records, "label", NOON) == [b, a, none]


def test_each_currency_has_a_sum_of_its_own_and_unknown_prices_are_counted() -> None:
    facts = [Facts(price=Price(1.2, "EUR")), Facts(price=Price(6.0, "USD")), Facts()]
    (group,) = grouped([lease(60, facts=each) for each in facts], "label", NOON)
    assert group.amounts == {"EUR": approx(0.02), "USD": approx(0.1)}
    assert (group.leases, group.unknown) == (3, 1)


def test_the_price_of_the_intent_counts_where_no_other_is_known() -> None:
    (group,) = grouped([lease(60, facts=Facts(), price=Price(1.2, "EUR"))], "label", NOON)
    assert group.amounts == {"EUR": approx(0.02)}


@pytest.mark.parametrize(
    ("by", "name"), [("model", "org/model"), ("hardware", "NVIDIA_L4_1"), ("day", "2030-05-01"), ("label", "x")]
)
def test_leases_are_grouped_by(by: Any, name: str) -> None:
    assert [group.name for group in grouped([lease(60, label="x")], by, NOON)] == [name]


def test_what_lives_is_counted_up_to_now_and_what_is_not_known_to_have_started_anything_not_at_all() -> None:
    living = StartRecord(intent(), "alive", instance_id="i-1", facts=Facts(price=Price(1.2, "EUR")))
    refused = StartRecord(intent(), "none", ending="refused", ended_at=NOON)
    unknown = [StartRecord(intent(), owner) for owner in ("alive", "dead")]
    plain = StartRecord(intent(kind="start"), "none", instance_id="i-2", ending="handed over", ended_at=NOON)
    (group,) = grouped([living, refused, *unknown, plain], "label", NOON + timedelta(seconds=90))
    assert group == CostGroup(None, 1, 1, 90.0, {"EUR": approx(0.04)}, 0)


@pytest.mark.asyncio
async def test_a_client_tells_the_costs_of_living_and_past_leases(client: Client, emulator: FaultyEmulator) -> None:
    async with client.lease(MODEL, label="past"):
        pass
    await client.instances.start(MODEL)
    async with client.lease("microsoft/phi-4", label="living"):
        await until(lambda: emulator.books().starts == 3)
        groups = await client.costs(since=3600)
        assert [(group.name, group.leases, group.live, group.unknown) for group in groups] == [
            ("living", 1, 1, 0),
            ("past", 1, 0, 0),
        ]
        assert groups[0].amounts == {"EUR": approx(2.1 / 60)}


@pytest.mark.parametrize("arguments", [{"by": "colour"}, {"since": 0}])
@pytest.mark.asyncio
async def test_bad_arguments_are_refused(client: Client, arguments: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        await client.costs(**arguments)


@pytest.mark.asyncio
async def test_a_ledger_of_somebodys_own_remembers_too(emulator: FaultyEmulator, tmp_path: Path) -> None:
    for _ in range(2):  # what one client has noted, the next one reads
        async with emulator.client(poll_interval=0.02, ledger=tmp_path / "shared") as client:
            async with client.lease(MODEL, label="shared"):
                pass
            groups = await client.costs()
    assert [(group.name, group.leases) for group in groups] == [("shared", 2)]
