"""Where every request comes in and every answer goes out: counted, held, refused, spoiled, sent."""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import orjson
from aiohttp import web

from inferlease.emulator.holds import Hold, Holds, Operation, Phase
from inferlease.emulator.injection import Injector
from inferlease.emulator.replies import Handler
from inferlease.emulator.sending import send


class Gate:
    """Wraps the handlers of the API; what disturbs a request on its way belongs here, not into a handler."""

    def __init__(self, injector: Injector) -> None:
        self.holds: Holds = Holds()
        self.injector: Injector = injector
        self.requests: Counter[str] = Counter()
        self._asked: Counter[tuple[str, Operation, str]] = Counter()

    def askers(self) -> dict[str, dict[Operation, dict[str, int]]]:
        """Who asked to restart, stop or delete an instance: by its id, operation and `User-Agent`; thread-safe."""
        askers: dict[str, dict[Operation, dict[str, int]]] = {}
        for (instance_id, operation, agent), number in self._asked.copy().items():
            askers.setdefault(instance_id, {}).setdefault(operation, {})[agent] = number
        return askers

    def guard(self, operation: Operation, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """`handler` as aiohttp calls it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                await request.read()
            except ConnectionError:
                # The client left before its request was whole: nobody reads this.
                return web.Response(status=400)
            # From here on it is handled, even if nobody waits for the answer any more.
            self.requests[operation] += 1
            if operation in _CHANGES_OF_ONE and (instance_id := await _named(request)) is not None:
                self._asked[instance_id, operation, request.headers.get("User-Agent", "")] += 1
            fault = self.injector.draw(operation, request)
            holds = self.holds.take(operation)
            await _wait(holds, "before")
            reply = await self.injector.handle(fault, request, handler)
            await _wait(holds, "unanswered")
            if fault is not None:
                reply = self.injector.spoil(fault, operation, request, reply)
            held = [hold for hold in holds if hold.phase == "mid_body"]
            return await send(request, reply, (lambda: _wait(held, "mid_body")) if held else None)

        return handle


_CHANGES_OF_ONE = frozenset[Operation]({"restart", "stop", "delete"})


async def _named(request: web.Request) -> str | None:
    """The id of the instance that a request is about, in its path or its body."""
    instance_id: object = request.match_info.get("instance_id")
    if instance_id is None:
        with contextlib.suppress(ValueError):
            body: object = orjson.loads(await request.read())
            instance_id = body.get("instance_id") if isinstance(body, dict) else None
    return instance_id if isinstance(instance_id, str) else None


async def _wait(holds: Iterable[Hold], phase: Phase) -> None:
    for hold in holds:
        if hold.phase == phase:
            await hold.wait_released()
