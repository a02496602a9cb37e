"""Any course of starts, stops and leases, under any faults, judged by the server's books."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from inferlease import (
    InferleaseError,
    OutcomeUnknownError,
    StartOutcomeUnknownError,
)
from inferlease.emulator import Fault, FaultKind
from inferlease.emulator.holds import Phase
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator
from tests.fuzz.answers import fuzzed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from hypothesis.strategies import DrawFn

    from inferlease import Client, Instance

T = TypeVar("T")

OPERATIONS = ("token", "list", "get", "start", "stop", "restart", "delete", "model", "hardware_types", "available")
# Each of these takes a second or more, and a body larger than the cap is tested elsewhere.
SLOW = {FaultKind.OVERSIZED, FaultKind.GZIP_BOMB}
# A delete that is answered with a page is taken as done, though the page may come from something in between.
PAGES = {FaultKind.HTML, FaultKind.HTML_HANDLED}
FAULTS = [
    (kind, operation)
    for kind in FaultKind
    for operation in OPERATIONS
    if kind not in SLOW and operation in kind.operations and not (kind in PAGES and operation == "delete")
]
CHANGES = [fault for fault in FAULTS if fault[0].is_ambiguous_on(fault[1])]


@st.composite
def faults(draw: DrawFn, of: str | None = None) -> Fault:
    """Every second one leaves open what became of a change; `of`: the operation."""
    drawn = [fault for fault in (CHANGES if draw(st.booleans()) else FAULTS) if of in (None, fault[1])]
    kind, operation = draw(st.sampled_from(drawn))
    seconds = 0.01 if kind is FaultKind.SLOW_DRIP else 0
    return Fault(kind, operation, seconds=seconds, times=draw(st.integers(1, 3)))


PHASES = get_args(Phase)
PATIENCE = 1.0
"""Seconds that a request may take."""
RELEASE = 5.0
"""Seconds that a release may take: more than any faults here last."""


class _OwnError(Exception):
    """Of the user, in the body of a lease."""


class Life(RuleBasedStateMachine):
    """One client of one account, whose instances all come from it."""

    instances: Bundle[Instance] = Bundle("instances")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.emulator = FaultyEmulator(seconds_per_step=0.002).start()
        self.client: Client = self.emulator.client(timeout=PATIENCE, poll_interval=0.01, settle_time=0.05)
        self.told: set[str] = set()
        self.unknown: set[str] = set()

    def teardown(self) -> None:
        self.emulator.mend()
        self.runner.run(self._end())
        self.runner.close()
        self.emulator.stop()

    async def _end(self) -> None:
        await self.client.close()
        await until(lambda: not self.client._core.jobs._open)

    # ---- what may happen ----------------------------------------------------------------------------

    @rule(wrong=st.lists(faults(), min_size=1, max_size=5))
    def something_goes_wrong(self, wrong: Sequence[Fault]) -> None:
        self.emulator.inject(*wrong)

    @rule()
    def all_is_well_again(self) -> None:
        self.emulator.mend()

    @rule(target=instances, num_workers=st.sampled_from([None, 1, 2]), wrong=st.lists(faults(of="start"), max_size=1))
    def start(self, num_workers: int | None, wrong: Sequence[Fault]) -> Any:
        self.emulator.inject(*wrong)
        return self._brought_up(self.client.instances.start(MODEL, num_workers=num_workers), may_exist=False)

    @rule(target=instances)
    def ensure(self) -> Any:
        return self._brought_up(self.client.instances.ensure(MODEL), may_exist=True)

    @rule(operation=st.sampled_from(["list", "start"]), phase=st.sampled_from(PHASES), leased=st.booleans())
    def start_and_be_cancelled(self, operation: Any, phase: Any, leased: bool) -> None:
        # What an ambiguous start has made can't be told to a caller who is gone.
        self.emulator.mend()
        self.runner.run(self._cancelled(operation, phase, leased))

    async def _cancelled(self, operation: Any, phase: Any, leased: bool) -> None:
        begin = self.client.lease(MODEL, release_timeout=RELEASE).acquire if leased else self._start
        with self.emulator.hold(operation, phase) as hold:
            task = asyncio.create_task(begin())
            await hold.arrived_async()
            task.cancel()
            if leased:
                hold.release()  # a lease waits for its release
            await asyncio.wait([task])
        assert task.cancelled()
        await until(lambda: not self.client._core.jobs._open)

    async def _start(self) -> Instance:
        return await self.client.instances.start(MODEL)

    @rule(instance=instances, wrong=st.lists(faults(of="stop"), max_size=2))
    def stop(self, instance: Instance, wrong: Sequence[Fault]) -> None:
        self.emulator.inject(*wrong)
        if self._outcome(instance.stop()) is not None:
            assert self.emulator.books().instances[instance.instance_id].billed_until_stopped

    @rule(instance=instances, wrong=st.lists(faults(of="restart"), max_size=2))
    def restart(self, instance: Instance, wrong: Sequence[Fault]) -> None:
        self.emulator.inject(*wrong)
        if self._outcome(instance.restart()) is not None:
            assert instance.instance_status.status != "stopped"

    @rule(instance=instances, wrong=st.lists(faults(of="delete"), max_size=2))
    def delete(self, instance: Instance, wrong: Sequence[Fault]) -> None:
        self.emulator.inject(*wrong)

        async def delete() -> bool:
            await instance.delete()
            return True

        if self._outcome(delete()):
            assert self.emulator.books().instances[instance.instance_id].deleted

    @rule(instance=instances)
    def wait_until_running(self, instance: Instance) -> None:
        if self._outcome(instance.wait_until_running(timeout=0.2)) is not None:
            assert instance.is_usable

    @rule(instance=instances)
    def wait_until_stopped(self, instance: Instance) -> None:
        if self._outcome(instance.wait_until_stopped(timeout=0.05)) is not None:
            assert self.emulator.books().instances[instance.instance_id].billed_until_stopped

    @rule(instance=instances)
    def get(self, instance: Instance) -> None:
        found = self._outcome(self.client.instances.get(instance.instance_id))
        assert found is None or found.instance_id == instance.instance_id

    @rule()
    def list(self) -> None:
        listing = self._outcome(self.client.instances.list())
        listed = [instance.instance_id for instance in listing or []]
        assert len(listed) == len(set(listed))

    @rule(raises=st.booleans(), delete=st.booleans(), timeout=st.sampled_from([0.01, 2.0]))
    def lease(self, raises: bool, delete: bool, timeout: float) -> None:
        before, entered = set(self.emulator.books().instances), False

        async def lease() -> None:
            nonlocal entered
            async with self.client.lease(MODEL, delete=delete, timeout=timeout, release_timeout=RELEASE) as instance:
                entered = True
                assert instance.is_usable
                if raises:
                    raise _OwnError

        error: Exception | None = None
        try:
            self.runner.run(lease())
        except (InferleaseError, _OwnError) as raised:
            error = raised
        if entered:
            assert isinstance(error, _OwnError) if raises else error is None or type(error) is OutcomeUnknownError
        self._tell(error, {name for name in self.emulator.books().still_billed if name not in before})

    # ---- what must hold -----------------------------------------------------------------------------

    @invariant()
    def what_is_billed_was_told(self) -> None:
        books = self.emulator.books()
        assert set(books.still_billed) <= self.told | self.unknown
        assert books.api_tokens_at_inference == 0

    def _outcome(self, call: Awaitable[T]) -> T | None:
        async def outcome() -> T | None:
            try:
                return await call
            except InferleaseError:
                return None

        return self.runner.run(outcome())

    def _brought_up(self, call: Awaitable[Instance], *, may_exist: bool) -> Any:
        """An instance and nothing else in the books, or an error and nothing that it does not tell of."""
        before, error, instance = set(self.emulator.books().instances), None, None

        async def bring_up() -> Instance:
            return await call

        try:
            instance = self.runner.run(bring_up())
        except InferleaseError as raised:
            error = raised
        made = set(self.emulator.books().instances) - before
        if instance is None:
            self._tell(error, made)
            return multiple()
        assert made == {instance.instance_id} or (may_exist and not made)
        self.told.add(instance.instance_id)
        return instance

    def _tell(self, error: Exception | None, billed: set[str]) -> None:
        """Note what an error tells of what is billed now and was not before."""
        assert len(billed) <= 1
        named = " ".join([str(error), *getattr(error, "__notes__", ())])
        self.told |= {name for name in billed if name in named}
        if "was started is unknown" in named:
            self.unknown |= billed
        if isinstance(error, StartOutcomeUnknownError):
            assert {candidate.instance_id for candidate in error.candidates} <= billed


def test_nothing_is_billed_that_its_user_was_not_told_of() -> None:
    run_machine(Life, settings=settings(fuzzed(0.3), stateful_step_count=20))
