"""An emulator that can be told to answer wrongly, and that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import pytest
from attrs import frozen

from inferlease.emulator import Emulator, Operation
from inferlease.emulator.effects import Case, Effect
from inferlease.emulator.gate import Gate
from inferlease.emulator.injection import Injector, Plan
from inferlease.emulator.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp import web

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
    "bad UTF-8": b'{"instance": "\xff"}',
}
"""Bodies that are no JSON, or none that a careful parser takes."""


def emulated(**options: object) -> pytest.MarkDecorator:
    """Give the fixture `emulator` these options."""
    return pytest.mark.parametrize("emulator", [options], indirect=True, ids=["-".join(options)])


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


class _RecordingGate(Gate):
    def __init__(self, injector: Injector) -> None:
        super().__init__(injector)
        self.asked: list[Asked] = []

    def guard(self, operation: Operation, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        guarded = super().guard(operation, handler)

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            self.asked.append(Asked(operation, body, request.path_qs, request.headers.get("Authorization")))
            return await guarded(request)

        return handle


class FaultyEmulator(Emulator):
    """An emulator with answers as a test writes them, beside the faults of the catalogue."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._gate: _RecordingGate = _RecordingGate(self._gate.injector)

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
        content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)

        def spoil(case: Case) -> Reply:
            said = content
            if edit is not None:
                assert isinstance(case.reply.body, bytes)
                said = orjson.dumps(edit(orjson.loads(case.reply.body)))
            return Reply(status, said, headers=headers or {}, delivery="reset" if lost else "whole")

        effect = Effect(spoil, handled=handled or edit is not None)
        self._gate.injector.plans += (Plan("scripted", effect, (operation,), left=times),)

    def asked(self, operation: Operation) -> list[Asked]:
        """The requests of `operation` so far."""
        return [request for request in list(self._gate.asked) if request.operation == operation]

    @property
    def order(self) -> list[str]:
        """The operations asked for so far, in their order."""
        return [request.operation for request in list(self._gate.asked)]

    @property
    def order_but_prices(self) -> list[str]:
        """The same without the prices, which a start reads beside what it does."""
        return [operation for operation in self.order if operation != "hardware_types"]


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


def without_ids(content: Any) -> Any:
    """An edit of a list: none of its items tells which instance it is."""
    for item in content["instances"]:
        item["instance_id"] = None
    return content
