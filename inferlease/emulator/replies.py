"""An answer before it is sent, and the refusals of both APIs."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

import orjson
from aiohttp import web
from attrs import field, frozen

Delivery: TypeAlias = Literal["whole", "half", "half_chunked", "drip", "reset", "eof", "never"]
"""How much of an answer is sent: the whole, half of its body (with its length declared, or in chunks), byte by byte,
nothing before the connection is reset or closed, or nothing for as long as the client waits."""


LEFT_OPEN = web.RequestKey("left_open", bool)
"""Set for a request that meets a fault: whether its client won't know what became of it."""


@frozen
class Reply:
    """What to answer: a whole body, or pieces that are sent one by one."""

    status: int
    body: bytes | list[bytes] | AsyncGenerator[bytes, None]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict[str, str])
    """Further ones."""
    delivery: Delivery = "whole"
    pause: float = 0.0
    """Seconds after each piece."""

    @classmethod
    def json(cls, content: object, status: int = 200) -> "Reply":
        """`content` as JSON."""
        return cls(status, orjson.dumps(content))


Handler: TypeAlias = Callable[[web.Request], Awaitable[Reply]]


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def content(self) -> dict[str, object]:
        """The error as the provisioning API writes it."""
        return {"message": self.message}

    def reply(self) -> Reply:
        """The answer that carries it."""
        return Reply.json(self.content(), self.status)


class InferenceRefusal(Refusal):
    """An error of an instance, in the shape of OpenAI's API."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(status, message)
        self.param = param
        self.code = code

    def content(self) -> dict[str, object]:
        """The error as OpenAI's API writes it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


async def json_object(request: web.Request, otherwise: Refusal) -> dict[str, object]:
    """The body as a JSON object; raises `otherwise` if it is not one."""
    try:
        content: object = orjson.loads(await request.read())
    except ValueError:
        raise otherwise from None
    if not isinstance(content, dict):
        raise otherwise
    return content
