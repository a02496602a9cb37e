"""Where every request comes in and every answer goes out: counted, held, refused, sent."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing

from aiohttp import web

from inferlease.emulator.holds import Hold, Holds, Operation, Phase
from inferlease.emulator.replies import Handler, Refusal, Reply


class Gate:
    """Wraps the handlers of the API; what disturbs a request on its way belongs here, not into a handler."""

    def __init__(self) -> None:
        self.holds: Holds = Holds()
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
            holds = self.holds.take(operation)
            await _wait(holds, "before")
            try:
                reply = await handler(request)
            except Refusal as refusal:
                reply = refusal.reply()
            await _wait(holds, "unanswered")
            return await _send(request, reply, [hold for hold in holds if hold.phase == "mid_body"])

        return handle


async def _wait(holds: Iterable[Hold], phase: Phase) -> None:
    for hold in holds:
        if hold.phase == phase:
            await hold.wait_released()


async def _send(request: web.Request, reply: Reply, holds: list[Hold]) -> web.StreamResponse:
    headers = {"Content-Type": reply.content_type}
    if isinstance(reply.body, bytes) and not holds:
        return web.Response(status=reply.status, body=reply.body, headers=headers)
    response = web.StreamResponse(status=reply.status, headers=headers)
    if isinstance(reply.body, bytes):
        response.content_length = len(reply.body)
    pieces, half = _pieces(reply.body)
    await response.prepare(request)
    async with aclosing(pieces):
        sent = 0
        async for piece in pieces:
            if sent == half:
                await _wait(holds, "mid_body")
            await response.write(piece)
            sent += 1
    await response.write_eof()
    return response


def _pieces(body: bytes | list[bytes] | AsyncGenerator[bytes, None]) -> tuple[AsyncGenerator[bytes, None], int]:
    """The body piece by piece, and the number of pieces that make up its first half."""
    if isinstance(body, bytes):
        middle = len(body) // 2
        body = [body[:middle], body[middle:]]
    if isinstance(body, list):
        return _one_by_one(body), (len(body) + 1) // 2
    return body, 1


async def _one_by_one(pieces: list[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece
