"""Leases and starts as the ledger remembers them, those of ended processes too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from ._core import Core
from .ledger import StartRecord

if TYPE_CHECKING:
    from ._orphans import Orphan
    from ._recovery import Reaped

__all__ = ["Leases"]

# In the class, `list` is the method.
Orphans: TypeAlias = "list[Orphan]"
Records: TypeAlias = list[StartRecord]


class Leases:
    """What the ledger remembers of this account's starts, whichever process began them.

    A process that was killed leaves its instances running and billed: `reap` stops them.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def list(self, since: datetime | None = None) -> Records:
        """All starts that have not ended, and those that have; oldest first.

        Example:
            for record in await client.leases.list():
                print(record.began, record.args.hf_name, record.instance_id, record.owner, record.ending)

        Args:
            since: Only what ended at this time or later; one without a zone is taken as UTC. By default
                everything that the ledger still has. What has not ended is always there.

        Raises:
            LedgerError: The ledger can't be read.
            ConfigurationError: There are no credentials, by which the ledger tells accounts apart.
        """
        if since is not None and since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        return await self._core.carry("the ledger", lambda: self._core.ledger.records(since))

    async def orphans(self) -> Orphans:
        """The starts whose process has ended before they did: what `reap` would do about each, and why.

        Nothing is stopped. What turns out to be over, such as an instance that has stopped, is closed in the ledger.

        Example:
            for orphan in await client.leases.orphans():
                print(orphan.verdict, orphan.instance_id, orphan.price, orphan.reason)

        Raises:
            LedgerError: The ledger can't be read.
            ConfigurationError: There are no credentials.
            TransportError: No answer arrived.
            APIError: The server answered with an error.
        """
        return await self._core.carry("a look at orphans", self._core.recovery.orphans)

    async def reap(self, *instance_ids: str) -> Orphans:
        """Stop the orphans that are ours, and see them stopped. Returns what was stopped.

        Waits for starts of the last seconds whose instance may be about to show, for at most 120 seconds, and for
        each stop at most 120. A lease's instance is then deleted, if an answer to its start carried the id.
        A caller that is cancelled or interrupted no longer waits; the work goes on.

        Example:
            for orphan in await client.leases.reap():
                print("stopped", orphan.instance_id)

        Args:
            instance_ids: Instances that are to be stopped too though they are merely "possible": you say that they
                are yours.

        Raises:
            InvalidArgumentError: One that was named is none of the orphans; all others were dealt with.
            OutcomeUnknownError: One was not seen to stop, the others were dealt with; what else went wrong is in
                the error's notes.
            LedgerError: The ledger can't be read or written.
            ConfigurationError: There are no credentials.
            TransportError: No answer arrived.
            APIError: The server answered with an error.
        """
        reaped = await self._reap(*instance_ids)
        if reaped.troubles:
            first, *further = reaped.troubles
            for trouble in further:
                first.add_note(str(trouble))
            raise first
        return [*reaped.stopped]

    async def _reap(self, *instance_ids: str) -> Reaped:
        recovery = self._core.recovery
        return await self._core.carry("orphans to stop", lambda: recovery.reap(instance_ids), bound=recovery.bound)
