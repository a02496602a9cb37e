"""Every call of the public client that reads what a server answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from inferlease._requests import start_arguments
from inferlease.objects import InstanceState, InstanceStatus
from tests.fuzz.answers import MODEL, MODEL_ID
from tests.raw_server import TOKEN_CALL

if TYPE_CHECKING:
    from inferlease import Client, Instance

Call: TypeAlias = Callable[["Client"], Awaitable[Any]]

SHORT = 0.03
"""Seconds that a wait or a release of these calls may take at most."""


def _known(client: Client) -> Instance:
    state = InstanceState("i-1", None, start_arguments(MODEL), InstanceStatus("pending"))
    return client.instances._instance(state)


async def _watch(client: Client) -> None:
    # Without end by itself as long as the server says the same.
    async for event in _known(client).watch():
        str(event)
        return


async def _lease(client: Client) -> None:
    async with client.lease(MODEL, timeout=SHORT, release_timeout=SHORT, probe=True):
        pass


GET, LIST = "GET /instances/i-1", "GET /instances/"
START, STOP, DELETE = "POST /instances/start", "POST /instances/stop", "DELETE /instances/i-1"
MODEL_CALL = f"GET /models/{MODEL_ID}"

CALLS: dict[str, tuple[Call, tuple[str, ...]]] = {
    "balance": (lambda c: c.account.balance(), (TOKEN_CALL, "GET /user/balance")),
    "get": (lambda c: c.instances.get("i-1"), (TOKEN_CALL, GET)),
    "refresh": (lambda c: _known(c).refresh(), (GET,)),
    "list": (lambda c: c.instances.list(), (LIST,)),
    "models": (lambda c: c.models.list(), ("GET /models/",)),
    "model": (lambda c: c.models.get(MODEL), (MODEL_CALL,)),
    "types": (lambda c: c.hardware_types.list(), ("GET /hardware-types/",)),
    "available": (lambda c: c.hardware_types.list_available(), ("GET /hardware-types/available",)),
    "start": (
        lambda c: c.instances.start(MODEL, num_workers=1),
        (START, LIST, GET, "GET /hardware-types/available", "GET /hardware-types/", MODEL_CALL),
    ),
    "ensure": (lambda c: c.instances.ensure(MODEL), (MODEL_CALL, LIST, START)),
    "stop": (lambda c: c.instances.stop("i-1"), (STOP, GET, LIST)),
    "restart": (lambda c: c.instances.restart("i-1"), ("POST /instances/restart", GET)),
    "delete": (lambda c: c.instances.delete("i-1"), (DELETE, GET, LIST)),
    "stop_all": (lambda c: c.instances.stop_all(), ("POST /instances/stop-all",)),
    "delete_all": (lambda c: c.instances.delete_all(), ("DELETE /instances/delete-all?force_deletion=false",)),
    "wait_until_running": (lambda c: _known(c).wait_until_running(SHORT), (GET,)),
    "wait_until_stopped": (lambda c: _known(c).wait_until_stopped(SHORT), (GET,)),
    "watch": (_watch, (GET,)),
    "lease": (_lease, (START, GET, LIST, STOP, DELETE)),
}
"""By name: the call, and the requests that it makes, the most telling ones first."""
