"""Faults meet the requests that they are meant for: by operation, rate, seed and count."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from inferlease.emulator import Fault, Operation
from tests.emulator.raw import call, exchanged
from tests.emulator.support import Api, serving


async def met(faults: list[Fault], seed: int, *, requests: int = 40, others: int = 0) -> list[int]:
    """The statuses of as many requests for the balance, with `others` for the models after each."""
    async with serving(faults=faults, seed=seed) as api:
        answers = []
        for _ in range(requests):
            answers.append((await api.call("GET", "/user/balance")).status)
            for _ in range(others):
                await api.call("GET", "/models/")
        counts = api.emulator.books().faults
    assert sum(count["balance"] for count in counts.values()) == requests - answers.count(200)
    return answers


@pytest.mark.asyncio
async def test_the_same_seed_gives_the_same_faults() -> None:
    faults = [Fault("status_503", "balance", 0.3), Fault("status_404", "balance", 0.3)]
    first = await met(faults, 7)
    assert set(first) == {200, 404, 503}
    assert await met(faults, 7) == first
    assert await met(faults, 8) != first


@pytest.mark.asyncio
async def test_requests_of_one_operation_do_not_shift_the_faults_of_another() -> None:
    faults = [Fault("status_503", "balance", 0.5)]
    assert await met(faults, 7) == await met(faults, 7, others=1)


@pytest.mark.asyncio
async def test_a_rate_is_kept_and_rates_add_up() -> None:
    answers = await met([Fault("status_503", "balance", 0.2), Fault("status_404", "balance", 0.4)], 1, requests=500)
    assert answers.count(503) == pytest.approx(100, abs=30)
    assert answers.count(404) == pytest.approx(200, abs=40)


@pytest.mark.asyncio
@pytest.mark.parametrize(("rate", "statuses"), [(0.0, {200}), (1.0, {503})])
async def test_the_ends_of_the_range_are_never_and_always(rate: float, statuses: set[int]) -> None:
    assert set(await met([Fault("status_503", "balance", rate)], 0)) == statuses


@pytest.mark.asyncio
async def test_without_an_operation_every_operation_is_hit(api: Api) -> None:
    instance = await api.start()
    api.emulator.inject(Fault("reset_before"))
    for operation in get_args(Operation):
        assert (await exchanged(api, *call(operation, instance))).is_reset
    assert api.emulator.books().faults == {"reset_before": dict.fromkeys(get_args(Operation), 1)}


@pytest.mark.asyncio
async def test_a_fault_of_so_many_times_is_followed_by_the_next(api: Api) -> None:
    api.emulator.inject(Fault("status_503", "balance", times=2), Fault("status_404", "balance", times=1))
    assert [(await api.call("GET", "/user/balance")).status for _ in range(4)] == [503, 503, 404, 200]


@pytest.mark.asyncio
@pytest.mark.parametrize(("mended", "statuses"), [(None, (200, 200)), ("balance", (200, 503)), ("models", (503, 200))])
async def test_what_is_mended_meets_no_fault(mended: Operation | None, statuses: tuple[int, int]) -> None:
    async with serving(faults=[Fault("status_503", "balance")]) as api:
        api.emulator.inject(Fault("status_503", "models"))
        assert (await api.call("GET", "/user/balance")).status == 503
        api.emulator.mend(mended)
        assert ((await api.call("GET", "/user/balance")).status, (await api.call("GET", "/models/")).status) == statuses


@pytest.mark.asyncio
async def test_the_books_over_http_count_the_faults_too(api: Api) -> None:
    api.emulator.inject(Fault("status_503", "balance"))
    await api.call("GET", "/user/balance")
    answer = await api.call("GET", api.emulator.base_url.removesuffix("/api/v1") + "/emulator/books")
    assert answer.body["faults"] == {"status_503": {"balance": 1}}


@pytest.mark.asyncio
async def test_what_can_not_be_spoiled_is_right_and_not_counted(api: Api) -> None:
    api.emulator.inject(Fault("bad_item", "list", times=1), Fault("empty", "get"))
    assert (await api.call("GET", "/instances/")).body == {"instances": []}
    assert (await api.call("GET", "/instances/none")).status == 404
    assert api.emulator.books().faults == {}
    await api.start()
    await api.call("GET", "/instances/")
    assert api.emulator.books().faults == {"bad_item": {"list": 1}}


@pytest.mark.asyncio
async def test_a_revoked_token_stays_refused_and_the_first_request_of_one_is_spared() -> None:
    async with serving(faults=[Fault("revoked_token", "balance")]) as api:
        assert [(await api.call("GET", "/user/balance")).status for _ in range(3)] == [200, 401, 401]
        await api.log_in()
        assert (await api.call("GET", "/user/balance")).status == 200
        assert api.emulator.books().faults == {"revoked_token": {"balance": 1}}


@pytest.mark.asyncio
async def test_no_token_is_revoked_until_a_refused_request_is_repeated(api: Api) -> None:
    await api.call("GET", "/instances/")
    api.emulator.inject(Fault("revoked_token"))
    assert (await api.call("GET", "/user/balance")).status == 401
    await api.log_in()
    assert [(await api.call("GET", "/instances/")).status for _ in range(3)] == [200, 200, 200]
    assert (await api.call("GET", "/user/balance")).status == 200
    assert (await api.call("GET", "/user/balance")).status == 401


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("hang_after", Fault("hang_after")),
        ("hang_after=0.5", Fault("hang_after", rate=0.5)),
        ("status_503:get=1e-1", Fault("status_503", "get", 0.1)),
        ("empty:stop", Fault("empty", "stop")),
    ],
)
def test_a_fault_is_read_from_a_line(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slow", "there is no fault 'slow', but there are: reset_before, reset_after, "),
        ("", "there is no fault '', but there are: "),
        ("empty:begin", "fault empty happens to token, balance, list, .*inference, not to 'begin'"),
        ("empty:", "not to ''"),
        ("duplicate_item:get", "fault duplicate_item happens to list, not to 'get'"),
        ("empty=often", "the rate of a fault is a number from 0 to 1, not 'often'"),
        ("empty=", "not ''"),
        ("empty=1.01", "the rate of a fault is from 0 to 1, not 1.01"),
        ("empty=-0.1", "not -0.1"),
        ("empty=nan", "not nan"),
    ],
)
def test_a_line_that_is_no_fault_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault.parse(text)


@pytest.mark.parametrize("options", [{"seconds": -1.0}, {"seconds": float("inf")}, {"times": -1}])
def test_an_impossible_fault_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        Fault("empty", **options)
