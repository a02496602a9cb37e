"""A server that answers byte by byte as a test tells it to, for faults that no HTTP server would commit."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import ssl
import struct
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import orjson
from attrs import define, field, frozen

from inferlease import Client
from inferlease._auth import Token
from inferlease._retry import Backoff

if TYPE_CHECKING:
    from types import TracebackType

    from tests.worlds import Api

CERTIFICATE = Path(__file__).with_name("certificate.pem")
"""Key and self-signed certificate of localhost, 127.0.0.1 and api.invalid; nothing but these tests trusts it."""

CLIENT_ID = "id-of-the-test"
SECRET = "s3cret-of-the-test"
TOKEN = "t0ken-of-the-test"
TOKEN_CALL = "POST /oauth2/token"


class Then(enum.Enum):
    """What the server does with the connection after it has sent its bytes."""

    KEEP = enum.auto()
    CLOSE = enum.auto()
    RESET = enum.auto()
    HANG = enum.auto()  # until the client or the server closes


@frozen
class Reply:
    """Bytes to send, and what follows them."""

    data: bytes = b""
    then: Then = Then.KEEP


RESET = Reply(then=Then.RESET)
EOF = Reply(then=Then.CLOSE)
HANG = Reply(then=Then.HANG)


def answer(
    body: Any = None,
    status: int = 200,
    *,
    headers: dict[str, str] | None = None,
    content_type: str | None = "application/json",
    then: Then = Then.KEEP,
) -> Reply:
    """A whole answer; a `body` that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    fields = {"Content-Length": str(len(data)), **(headers or {})}
    if content_type is not None:
        fields["Content-Type"] = content_type
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return Reply(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + data, then)


def token_answer(value: str = TOKEN, **fields: Any) -> Reply:
    """The answer to a request for an access token."""
    return answer({"access_token": value, "token_type": "Bearer", "expires_in": 3600, **fields})


def instance(instance_id: str = "i-1", status: str = "pending", **fields: Any) -> dict[str, Any]:
    """An instance as the API writes it."""
    return {
        "instance_id": instance_id,
        "base_url": None,
        "instance_args": {
            "model_id": "org--model",
            "hardware_type_id": "NVIDIA_L4_1",
            "context_length": 16000,
            "billing_interval": "per_minute",
            "num_workers": 1,
        },
        "instance_status": {"status": status, "started_at": None, "stopped_at": None},
        "worker_statuses": [],
        **fields,
    }


def one(instance_id: str = "i-1", status: str = "pending", **fields: Any) -> Reply:
    """The answer that carries one instance."""
    return answer({"message": "ok", "instance": instance(instance_id, status, **fields)})


@frozen
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    connection: int

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"


Script: TypeAlias = Reply | Callable[[Seen], Awaitable[Reply]]


@define(eq=False, repr=False)
class RawServer:
    """Serves in the running loop, on a free port of 127.0.0.1.

    A request is answered by the next reply of its script, the last of which stands for all that follow.
    """

    tls: ssl.SSLContext | None = None
    requests: list[Seen] = field(factory=list)
    connections: int = 0
    listening: bool = True
    on_accept: deque[Then] = field(factory=deque)
    """What to do with the next connections before anything is read from them, a TLS handshake included."""
    _scripts: dict[str, deque[Script]] = field(factory=lambda: defaultdict(deque))
    _writers: set[asyncio.StreamWriter] = field(factory=set)
    _tasks: set[asyncio.Task[Any]] = field(factory=set)
    _server: asyncio.Server = field(init=False)
    _socket: socket.socket = field(init=False)
    _released: asyncio.Event = field(factory=asyncio.Event)

    def __attrs_post_init__(self) -> None:
        self.script(TOKEN_CALL, token_answer())

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def script(self, call: str, *replies: Script) -> None:
        """Answer `call`, such as `GET /instances/`, with `replies` from here on.

        A reply is a `Reply`, or an async function of the request that returns one.
        """
        self._scripts[call] = deque(replies)

    def count(self, call: str) -> int:
        return sum(seen.call == call for seen in self.requests)

    @property
    def calls(self) -> list[str]:
        """What was asked, requests for tokens aside."""
        return [seen.call for seen in self.requests if seen.call != TOKEN_CALL]

    async def __aenter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0)) if self.listening else socket.socket()
        if not self.listening:
            self._socket.bind(("127.0.0.1", 0))  # connections are refused until `listen`
        self._server = await asyncio.start_server(self._serve, sock=self._socket, start_serving=self.listening)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released.set()
        # A server that is closed while it accepts leaves a transport that nobody can close: first it accepts no more,
        # and has the turns after which what it has accepted is among the writers.
        if self._socket.fileno() >= 0:  # a test may have closed it
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await _ended(self._tasks)
        self._socket.close()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Accept connections from now on; callable from any thread."""
        if not self.listening:
            self.listening = True
            self._socket.listen(100)
            loop.call_soon_threadsafe(lambda: loop.create_task(self._server.start_serving()))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        _note_task(self._tasks)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._converse(reader, writer, self.connections)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if self.on_accept and await self._follow(self.on_accept.popleft(), writer):
            return
        if self.tls is not None:
            await writer.start_tls(self.tls)
        while True:
            seen = await _read_request(reader, number)
            self.requests.append(seen)
            reply = await self._reply(seen)
            writer.write(reply.data)
            await writer.drain()
            if await self._follow(reply.then, writer):
                return

    async def _reply(self, seen: Seen) -> Reply:
        script = self._scripts.get(seen.call)
        if not script:
            return answer({"message": f"not scripted: {seen.call}"}, 418)
        reply = script.popleft() if len(script) > 1 else script[0]
        return reply if isinstance(reply, Reply) else await reply(seen)

    async def _follow(self, then: Then, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is over."""
        if then is Then.RESET:
            reset(writer)
        elif then is Then.HANG:
            await self._released.wait()
        return then is not Then.KEEP


def _note_task(tasks: set[asyncio.Task[Any]]) -> None:
    if (task := asyncio.current_task()) is not None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST instead of a FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    method, path, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(method, path, headers, body, connection)


@define(eq=False, repr=False)
class Proxy:
    """A proxy on loopback that tunnels CONNECT, whatever the host, to one port of loopback."""

    target_port: int
    refusal: Reply | None = None
    connects: list[Seen] = field(factory=list)
    _server: asyncio.Server = field(init=False)
    _tasks: set[asyncio.Task[Any]] = field(factory=set)
    _writers: set[asyncio.StreamWriter] = field(factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await _ended(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        _note_task(self._tasks)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.connects.append(await _read_request(reader, len(self.connects) + 1))
            if self.refusal is not None:
                writer.write(self.refusal.data)
                await writer.drain()
                if self.refusal.then is Then.RESET:
                    reset(writer)
                writer.close()
                return
            to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers.add(to_server[1])
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pump(reader, to_server[1]), _pump(to_server[0], writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_tls() -> ssl.SSLContext:
    """A context that trusts the certificate of `server_tls`."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def raw_client(base_url: str, either: Api | None = None, **options: Any) -> Client:
    """A client that does not wait between attempts; the asynchronous one, or one of either API."""
    make = Client if either is None else either.make
    client = make(CLIENT_ID, SECRET, base_url=base_url, **{"timeout": 10.0, "settle_time": 0.05, **options})
    client._core.exchange.backoff = Backoff(first=0, most=0)
    return client


def give_token(client: Client) -> None:
    """So that it is the request itself that meets the fault, not the one for the token."""
    client._core.exchange._tokens._token = Token(TOKEN, float("inf"))
