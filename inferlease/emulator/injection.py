"""Which request meets which fault: drawn by rate, reproducible by seed, and counted."""

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable

from aiohttp import web
from attrs import define, evolve

from inferlease.emulator.effects import ALL_OPERATIONS, CHANGES, Case, Effect
from inferlease.emulator.faults import Fault
from inferlease.emulator.holds import Operation
from inferlease.emulator.replies import LEFT_OPEN, Handler, Refusal, Reply


@define(eq=False)
class Plan:
    """A fault that is to be delivered, until `left` is 0; None is for ever."""

    name: str
    effect: Effect
    operations: tuple[Operation, ...]
    rate: float = 1.0
    seconds: float = 1.0
    left: int | None = None

    @classmethod
    def of(cls, fault: Fault) -> "Plan":
        """The plan to deliver `fault`."""
        operations = fault.kind.operations if fault.operation is None else (fault.operation,)
        return cls(fault.kind.value, fault.kind.effect, operations, fault.rate, fault.seconds, fault.times)

    def take(self) -> None:
        """Use it once."""
        if self.left is not None:
            self.left -= 1

    def put_back(self) -> None:
        """It could not be used after all."""
        if self.left is not None:
            self.left += 1


class Injector:
    """The faults of one emulator.

    Args:
        faults: what to deliver; of several that a request could meet, one at most.
        seed: of the draws. Each operation has draws of its own, so that what a request meets depends only on how many
            requests of its operation came before it.
        revoke: revokes the access token of a request, and tells whether it did.
    """

    def __init__(self, faults: Iterable[Fault], seed: int, revoke: Callable[[web.Request], bool]) -> None:
        self.plans: tuple[Plan, ...] = tuple(map(Plan.of, faults))
        """In the order in which they are drawn; replaced as a whole, for other threads add to it."""
        self.delivered: Counter[tuple[str, Operation]] = Counter()
        self._revoke = revoke
        self._dice = {operation: random.Random(f"{seed} {operation}") for operation in ALL_OPERATIONS}

    def add(self, faults: Iterable[Fault]) -> None:
        """Deliver these too, after those that are there."""
        self.plans += tuple(map(Plan.of, faults))

    def mend(self, operation: Operation | None) -> None:
        """Deliver nothing any more, or nothing to requests of `operation`."""
        left = () if operation is None else self.plans
        for plan in left:
            plan.operations = tuple(other for other in plan.operations if other != operation)
        self.plans = left

    def draw(self, operation: Operation, request: web.Request) -> Plan | None:
        """What a request that has just arrived meets; called once for each, so that the draws stay in step."""
        number = self._dice[operation].random()
        for plan in self.plans:
            if operation not in plan.operations or plan.left == 0:
                continue
            if number < plan.rate:
                if plan.effect.revokes and not self._revoke(request):
                    return None
                plan.take()
                request[LEFT_OPEN] = plan.effect.opaque and operation in CHANGES
                return plan
            number -= plan.rate
        return None

    async def handle(self, plan: Plan | None, request: web.Request, handler: Handler) -> Reply:
        """The right answer, or an empty one where the fault keeps the request from being handled."""
        if plan is not None and not plan.effect.handled:
            return Reply(200, b"")
        try:
            reply = await handler(request)
        except Refusal as refusal:
            return refusal.reply()
        return reply if plan is None else await _whole(reply)

    def spoil(self, plan: Plan, operation: Operation, request: web.Request, reply: Reply) -> Reply:
        """The wrong answer; the right one where that can't be spoiled."""
        counted = (plan.name, operation)
        spoilt = plan.effect.spoil(Case(operation, request, reply, plan.seconds, turn=self.delivered[counted]))
        if spoilt is None:
            plan.put_back()
            return reply
        self.delivered[counted] += 1
        return spoilt

    def counts(self) -> dict[str, dict[Operation, int]]:
        """The faults delivered so far, by kind and operation; thread-safe."""
        counts: dict[str, dict[Operation, int]] = {}
        for (name, operation), number in self.delivered.copy().items():
            counts.setdefault(name, {})[operation] = number
        return counts


async def _whole(reply: Reply) -> Reply:
    """`reply` with all of a body that comes from another server, which else would stay unread."""
    if isinstance(reply.body, AsyncGenerator):
        return evolve(reply, body=b"".join([piece async for piece in reply.body]))
    return reply
