"""Where every request comes in and every answer goes out: counted, held, refused, spoiled, sent."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

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


async def _wait(holds: Iterable[Hold], phase: Phase) -> None:
    for hold in holds:
        if hold.phase == phase:
            await hold.wait_released()
