"""What has reached its limit while its process stands still: it is stopped by the guard, in whose process this runs.

The journal stays its owner's: once that goes on it finds the instance stopped, and ends as at any limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._candidates import sight
from ._journal_lines import read_journal
from ._lookup import GRACE
from ._recovery import RELEASE_TIMEOUT
from .ledger import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .client import Client

__all__ = ["stop_overdue"]


async def stop_overdue(client: Client, name: str, text: str | None, is_due: Callable[[], bool]) -> None:
    """Stop the instance of a start, and close the client. Raises what goes wrong.

    Args:
        client: On its owner's account, with its ledger.
        name: Of its journal.
        text: All of that, if it is in the owner's memory.
        is_due: Whether its owner still stands still.
    """
    core = client._core

    async def stop() -> None:
        instance_id, claimed_at = _said(text) if text is not None else await _noted(client, name)
        if instance_id is None or not is_due():
            return
        if claimed_at is None or (now() - claimed_at).total_seconds() < GRACE:
            core.lookup.born(instance_id)
        await core.releaser.release(instance_id, delete=False, timeout=RELEASE_TIMEOUT)

    async with client:
        await core.jobs.submit(stop, bound=RELEASE_TIMEOUT + core.recovery.bound).wait()


def _said(text: str) -> tuple[str, datetime]:
    """The instance, as the owner has told of a journal that is in its memory; it may have yet to tell."""
    claims = read_journal(text.encode()).claims
    if not claims:
        raise LookupError("what it has started is not known here")
    return claims[-1].instance_id, claims[-1].at


async def _noted(client: Client, name: str) -> tuple[str | None, datetime | None]:
    """The instance of a journal in a folder; one that its owner has not heard of yet, if it is provably that."""
    core = client._core
    record = next((each for each in await core.ledger.open_records() if each.id == name), None)
    if record is None:
        return None, None
    if record.instance_id is not None:
        return record.instance_id, record.claimed_at
    seen = await sight(core.lookup, core.ledger, record.intent, await core.lookup.list())
    if seen.is_adoptable and [each.id for each in seen.unresolved] == [name]:
        return seen.fitting[0].instance_id, None
    raise LookupError("what it has started has not shown")
