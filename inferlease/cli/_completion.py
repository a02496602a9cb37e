"""What a shell completes from the API: models, hardware types, ids of instances.

Never slow and never heard: what takes longer than a moment, or fails, completes nothing.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from inferlease import Client, Instance

__all__ = [
    "complete_files",
    "complete_hardware",
    "complete_instances",
    "complete_live",
    "complete_models",
    "complete_stopped",
]

# Seconds after which the process just ends: even a look-up of a name that hangs must not keep a person waiting.
_PATIENCE = 2.0

# Anything else would mean something to a shell, and no id has it.
_PLAIN = re.compile(r"[\w./:@+-]+", re.ASCII)

Found: TypeAlias = list[tuple[str, str | None]]
Completion: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completion(find: Callable[[Client], Awaitable[Found]]) -> Completion:
    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
        return [
            CompletionItem(value, help=told)
            for value, told in _found(find)
            if value.startswith(incomplete) and _PLAIN.fullmatch(value)
        ]

    return complete


def _found(find: Callable[[Client], Awaitable[Found]]) -> Found:
    import asyncio

    from inferlease import Client

    async def ask() -> Found:
        async with Client() as client:
            return await find(client)

    try:
        return asyncio.run(ask())
    except Exception:  # noqa: BLE001 - whoever is typing wants no error, whatever it is
        return []


def _instances(suits: Callable[[Instance], bool]) -> Completion:
    async def find(client: Client) -> Found:
        return [
            (each.instance_id, f"{each.instance_status.status}, {each.instance_args.hf_name}")
            for each in await client.instances.list()
            if suits(each)
        ]

    return _completion(find)


async def _models(client: Client) -> Found:
    return _by_name((model.hf_name, model.screen_name) for model in await client.models.list())


async def _hardware(client: Client) -> Found:
    return _by_name((hardware.hardware_type_id, None) for hardware in await client.hardware_types.list())


def _by_name(found: Iterable[tuple[str, str | None]]) -> Found:
    return sorted(found, key=lambda each: each[0].lower())


def complete_files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the shell itself completes: files."""
    return [CompletionItem(incomplete, type="file")]


complete_models = _completion(_models)
complete_hardware = _completion(_hardware)
complete_instances = _instances(lambda _: True)
complete_live = _instances(lambda instance: not instance.is_stopped)
complete_stopped = _instances(lambda instance: instance.is_stopped)
