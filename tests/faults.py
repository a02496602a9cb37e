"""An emulator that can be told to answer wrongly, and that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import orjson
import pytest
from aiohttp import web
from attrs import define, frozen

from inferlease.emulator import Emulator, Operation
from inferlease.emulator.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from inferlease.emulator.injection import Injector
    from inferlease.emulator.replies import Handler

Edit: TypeAlias = Callable[[Any], object]

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
MODEL_ID = "Qwen--Qwen2.5-0.5B-Instruct"

NO_JSON: dict[str, bytes] = {
    "HTML": b"<html>",
    "truncated": b'{"instance": {"instance_id": "i-1"',
    "deep": b'{"instance": ' + b"[" * 100_000,
    "NaN": b'{"instance": NaN}',
    "1e999": b'{"instance": 1e999}',
    "5,000 digits": b'{"instance": ' + b"9" * 5_000 + b"}",
    "lone surrogate": b'{"instance": "\\ud800"}',
    "bad UTF-8": b'{"instance": "\xff"}',
}
"""Bodies that are no JSON, or none that a careful parser takes."""


def emulated(**options: object) -> pytest.MarkDecorator:
    """Give the fixture `emulator` these options."""
    return pytest.mark.parametrize("emulator", [options], indirect=True, ids=["-".join(options)])


@define
class Fault:
    """One wrong answer, given `times` times; `None` for ever. `edit` changes what the emulator would have said."""

    status: int
    body: bytes | None
    headers: dict[str, str]
    edit: Edit | None
    lost: bool
    handled: bool
    times: int | None

    def apply(self, request: web.Request, answer: web.StreamResponse | None) -> web.StreamResponse:
        if self.lost and request.transport is not None:
            request.transport.abort()
        body = self.body if self.body is not None else b""
        if self.edit is not None:
            assert isinstance(answer, web.Response)
            assert isinstance(answer.body, bytes)
            body = orjson.dumps(self.edit(orjson.loads(answer.body)))
        return web.Response(status=self.status, body=body, headers={"Content-Type": "application/json"} | self.headers)


@frozen
class Asked:
    """A request as it arrived."""

    operation: Operation
    body: bytes
    path: str
    authorization: str | None

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class _FaultyGate(Gate):
    def __init__(self, injector: Injector) -> None:
        super().__init__(injector)
        self.faults: dict[str, list[Fault]] = {operation: [] for operation in get_args(Operation)}
        self.asked: list[Asked] = []

    def guard(self, operation: Operation, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        rightly = super().guard(operation, handler)

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            self.asked.append(Asked(operation, body, request.path_qs, request.headers.get("Authorization")))
            fault = self._next_fault(operation)
            if fault is None:
                return await rightly(request)
            if fault.handled:
                return fault.apply(request, await rightly(request))
            self.requests[operation] += 1
            return fault.apply(request, None)

        return handle

    def _next_fault(self, operation: str) -> Fault | None:
        waiting = self.faults[operation]
        if waiting and waiting[0].times is not None:
            waiting[0].times -= 1
            return waiting.pop(0) if waiting[0].times == 0 else waiting[0]
        return waiting[0] if waiting else None


class FaultyEmulator(Emulator):
    """An emulator with faults on demand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._gate: _FaultyGate = _FaultyGate(self._gate.injector)

    def fault(
        self,
        operation: Operation,
        status: int = 200,
        *,
        body: object = None,
        headers: dict[str, str] | None = None,
        edit: Edit | None = None,
        lost: bool = False,
        handled: bool = True,
        times: int | None = 1,
    ) -> None:
        """Answer the next requests of `operation` wrongly, after the faults that are waiting already.

        Args:
            operation: which kind of request.
            status: of the answer.
            body: of the answer, bytes or what is to be JSON.
            headers: of the answer.
            edit: makes the answer's body out of the right one, as JSON.
            lost: drop the connection instead of answering.
            handled: whether the request takes effect before that.
            times: how many requests; `None` for all that follow.
        """
        content = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        handled = handled or edit is not None
        self._gate.faults[operation].append(Fault(status, content, headers or {}, edit, lost, handled, times))

    def mend(self, operation: Operation) -> None:
        """Answer rightly again."""
        self._gate.faults[operation].clear()

    def asked(self, operation: Operation) -> list[Asked]:
        """The requests of `operation` so far."""
        return [request for request in list(self._gate.asked) if request.operation == operation]

    @property
    def order(self) -> list[str]:
        """The operations asked for so far, in their order."""
        return [request.operation for request in list(self._gate.asked)]


def edited(
    *,
    status: object = ...,
    args: dict[str, object] | None = None,
    without_args: tuple[str, ...] = (),
    workers: list[dict[str, object] | None] | None = None,
    **changes: object,
) -> Edit:
    """An edit of the instance in an answer, or of each in a list: its status, arguments, workers, other keys."""

    def edit(content: Any) -> Any:
        for instance in content["instances"] if "instances" in content else [content["instance"]]:
            if status is not ...:
                instance["instance_status"]["status"] = status
            instance["instance_args"].update(args or {})
            for name in without_args:
                del instance["instance_args"][name]
            if workers is not None:
                instance["worker_statuses"] = [{"init_progress": progress} for progress in workers]
            instance.update(changes)
        return content

    return edit


def step(current: int, of: int = 5, description: str = "Loading") -> dict[str, object]:
    """A worker's progress on the wire."""
    return {"current_step": current, "num_steps": of, "description": description}
