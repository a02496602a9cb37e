"""The emulator as an aiohttp application: which path leads where."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import attrs
import orjson
from aiohttp import web

from inferlease.emulator.books import Books
from inferlease.emulator.gate import Gate
from inferlease.emulator.holds import Operation
from inferlease.emulator.inference import Inference
from inferlease.emulator.openapi import document
from inferlease.emulator.provisioning import Provisioning
from inferlease.emulator.replies import Handler, InferenceRefusal, Refusal

API = "/api/v1"
INFERENCE = "/inference"
ONE_INSTANCE = "/instances/{instance_id:(?!(?:start|restart|stop|stop-all|delete-all)$)[^{}/]+}"

_LARGEST_REQUEST = 64 * 2**20
# Requests under way at the end get a moment to finish by themselves; aiohttp reads 0 as "for ever".
_SHUTDOWN_SECONDS = 0.02


def build_app(
    *, gate: Gate, provisioning: Provisioning, inference: Inference, books: Callable[[], Books]
) -> web.Application:
    """The application, every route of the contract behind `gate`."""
    app = web.Application(client_max_size=_LARGEST_REQUEST, middlewares=[_errors_as_json])

    def add(operation: Operation, method: str, path: str, handler: Handler) -> None:
        app.router.add_route(method, path, gate.guard(operation, handler))

    def add_call(operation: Operation, method: str, path: str, handler: Handler, *, public: bool = False) -> None:
        add(operation, method, API + path, handler if public else provisioning.authorized(handler))

    add_call("token", "POST", "/oauth2/token", provisioning.token, public=True)
    add_call("balance", "GET", "/user/balance", provisioning.balance)
    add_call("list", "GET", "/instances/", provisioning.list_instances)
    add_call("start", "POST", "/instances/start", provisioning.start)
    add_call("restart", "POST", "/instances/restart", provisioning.restart)
    add_call("stop", "POST", "/instances/stop", provisioning.stop)
    add_call("stop_all", "POST", "/instances/stop-all", provisioning.stop_all)
    add_call("delete_all", "DELETE", "/instances/delete-all", provisioning.delete_all)
    add_call("delete", "DELETE", ONE_INSTANCE, provisioning.delete)
    add_call("get", "GET", ONE_INSTANCE, provisioning.get)
    add_call("models", "GET", "/models/", provisioning.models, public=True)
    add_call("model", "GET", "/models/{model_id}", provisioning.model, public=True)
    add_call("hardware_types", "GET", "/hardware-types/", provisioning.hardware_types, public=True)
    add_call("available", "GET", "/hardware-types/available", provisioning.available, public=True)
    add("inference", "*", INFERENCE + "/{instance_id}/v1/{endpoint:.+}", inference.answer)

    async def show_books(_request: web.Request) -> web.Response:
        return web.Response(body=_books_as_json(books()), content_type="application/json")

    async def show_document(request: web.Request) -> web.Response:
        return web.json_response(document(str(request.url.with_path(API).with_query(None))))

    app.router.add_get("/emulator/books", show_books)
    app.router.add_get(API + "/openapi.json", show_document)
    return app


async def serve(
    app: web.Application, listener: socket.socket, *, ready: Callable[[], None], until: asyncio.Event
) -> None:
    """Serve on `listener`, call `ready` once requests are answered, and drop everything when `until` is set."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        ready()
        await until.wait()
    finally:
        connections = runner.server.connections if runner.server is not None else []
        transports = [connection.transport for connection in connections]
        await runner.cleanup()
        for transport in transports:
            # Closing waits for a client that doesn't read; aborting does not.
            if isinstance(transport, asyncio.Transport):
                transport.abort()


def _books_as_json(books: Books) -> bytes:
    instances = {
        instance_id: attrs.asdict(entry)
        | {"billed_until_stopped": entry.billed_until_stopped, "usable_at": entry.usable_at}
        for instance_id, entry in books.instances.items()
    }
    totals = {
        "starts": books.starts,
        "still_billed": books.still_billed,
        "billed_seconds": books.billed_seconds,
        "cost": books.cost,
    }
    return orjson.dumps(attrs.asdict(books, recurse=False) | totals | {"instances": instances})


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Unknown paths, wrong methods and oversized bodies are refused in the shape of the API they were meant for."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        refusal_type = InferenceRefusal if request.path.startswith(INFERENCE) else Refusal
        refusal = refusal_type(error.status, error.reason)
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return web.json_response(refusal.content(), status=refusal.status, headers=allow)
