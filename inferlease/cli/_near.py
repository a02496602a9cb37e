"""Models that were perhaps meant, where the one that was named does not exist."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice

from inferlease import Client, InferleaseError
from inferlease._printing import printable
from inferlease.cli._advice import is_about_model, suggest

__all__ = ["near", "suggesting"]

# Seconds that the list of models is waited for, and how many of them are named.
_PATIENCE = 2.0
_NAMED = 3
# From 0 to 1: how alike two names are of which one is the other, mistyped.
_MISTYPED = 0.95


@asynccontextmanager
async def suggesting(client: Client, typed: str) -> AsyncIterator[None]:
    """Have the error of a model that does not exist name those that are called alike."""
    try:
        yield
    except InferleaseError as error:
        if is_about_model(error):
            suggest([printable(name, 100) for name in near(typed, await _models(client))])
        raise


async def _models(client: Client) -> list[str]:
    try:
        async with asyncio.timeout(_PATIENCE):
            return [model.hf_name for model in await client.models.list()]
    except (InferleaseError, TimeoutError):
        return []


def near(typed: str, names: Iterable[str]) -> list[str]:
    """Those names that are alike, the likeliest first, or the one that was mistyped; case makes no difference."""
    asked, by_lower = typed.replace("--", "/").lower(), {name.lower(): name for name in names}
    found = difflib.get_close_matches(asked, by_lower, 1, cutoff=_MISTYPED) or dict.fromkeys(_alike(asked, by_lower))
    return [by_lower[name] for name in islice(found, _NAMED)]


def _alike(asked: str, names: Collection[str]) -> Iterator[str]:
    model = asked.rpartition("/")[2]
    yield from sorted(name for name in names if model and model in name.rpartition("/")[2])
    yield from difflib.get_close_matches(asked, names, _NAMED)
