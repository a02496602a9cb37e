"""The client: where the parts are put together."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

import anyio
from cattrs import Converter

from . import _keeper, _requests, _sigterm, _worlds
from ._announce import Announcer
from ._async_ledger import AsyncLedger
from ._auth import Credentials, InferenceKey
from ._capacity import Capacity
from ._convert import make_converter
from ._core import Core
from ._exchange import Exchange
from ._job import Job
from ._keeper import Jobs
from ._late import LateStarts
from ._limits import checked_limits
from ._lookup import Lookup
from ._openai import OpenAIClients
from ._port import OnProgress
from ._printing import printable
from ._probe import Probe
from ._reconcile import Reconciler
from ._release import Releaser
from ._requests import checked_label, checked_seconds
from ._start import Starter, StartRules
from ._transport import Transport, require_asyncio
from .account import Account
from .guard import Guard
from .hardware_types import HardwareTypes
from .instances import Instances
from .lease import Lease, LeaseOptions
from .leases import Leases
from .ledger import LedgerPlace, now
from .models import Models
from .objects import InstanceState
from .pricing import PriceList

if TYPE_CHECKING:
    from ._checkup import Check
    from ._costs import CostGroup, GroupBy
    from .quotes import Quote

Checks: TypeAlias = "list[Check]"  # loaded with its first use

__all__ = ["Client"]

log: logging.Logger = logging.getLogger("inferlease")
log.addHandler(logging.NullHandler())

DEFAULT_BASE_URL = "https://cortecs.ai/api/v1"


@_worlds.entered_by_async_with
class Client:
    """A client of the provisioning API.

    `async with Client() as client:`, or `await client.close()` at the end. Closing releases every lease that
    is still held.

    Example:
        async with Client() as client:
            for instance in await client.instances.list():
                print(instance)

    Args:
        client_id: By default `CORTECS_CLIENT_ID`; needed by the first call that needs credentials.
        client_secret: By default `CORTECS_CLIENT_SECRET`.
        base_url: By default `CORTECS_API_BASE_URL`, else the public service. `http` only to loopback.
        inference_key: The key for inference on an instance. By default `INFERLEASE_INFERENCE_KEY`, else
            `OPENAI_API_KEY`, unless that is another provider's (`sk-proj-…`).
        timeout: Seconds that one request may take, its retries included.
        poll_interval: Seconds between polls while waiting; by default adaptive, from 0.5 to 15.
        proxy: URL of a proxy; `None` takes it from `HTTPS_PROXY` and `NO_PROXY`, `False` uses none.
        ssl: A context of your own, such as one for a private certificate authority.
        exclusive: Whether nobody outside this ledger starts the same specs on this account; it decides what is
            done about a start whose answer was lost. `True`: an instance that fits is taken for the lost one,
            and where none shows the start is sent again. `False`: never; what it may have made is told. `None`:
            as `True`, as long as the account has shown no live instance that the ledger does not know.
        settle_time: Seconds within which a new instance shows in the server's list.
        late_window: Seconds within which a start whose answer was lost may still have made it; at least `settle_time`.
        ledger: The folder, or the store, in which starts are remembered; by default `INFERLEASE_STATE_DIR`, else
            the user's state directory. All clients that start on one account should share it.
        reap: Whether what killed processes have left running is stopped, as by `leases.reap()`: once, without being
            waited for, when the client is entered or starts something. `close` waits for it. It never raises; each
            orphan is a warning in the log.

    Attributes:
        instances: Start, find, stop instances.
        models: What can be served.
        hardware_types: What it can be served on, and prices.
        account: The balance.
        leases: What the ledger remembers, and what killed processes have left.
        converter: The cattrs converter that decodes answers; hooks registered on it are honoured.

    Raises:
        InvalidArgumentError: `timeout`, `poll_interval`, `settle_time` or `late_window` is not a positive number.
        ConfigurationError: `base_url` is not a URL to which secrets may be sent.
    """

    def __init__(
        self,
        client_id: str | None = None,
        client_secret: str | None = None,
        *,
        base_url: str | None = None,
        inference_key: str | None = None,
        timeout: float = 30.0,
        poll_interval: float | None = None,
        proxy: str | bool | None = None,
        ssl: SSLContext | None = None,
        exclusive: bool | None = None,
        settle_time: float = 30.0,
        late_window: float = 600.0,
        ledger: LedgerPlace | None = None,
        reap: bool = False,
    ) -> None:
        timeout = checked_seconds("timeout", timeout)
        poll_interval = None if poll_interval is None else checked_seconds("poll_interval", poll_interval)
        rules = StartRules(
            exclusive=exclusive,
            settle_time=checked_seconds("settle_time", settle_time),
            # Nothing is over before what it has made has had time to show.
            late_window=max(checked_seconds("late_window", late_window), settle_time),
        )
        # anyio loads its backend when it is first used: a process that forks just then would hang in the child.
        import_module("anyio._backends._asyncio")
        self._transport = Transport(
            base_url or os.environ.get("CORTECS_API_BASE_URL") or DEFAULT_BASE_URL,
            connect_timeout=timeout / 3,
            proxy=proxy,
            ssl=ssl,
        )
        self.converter: Converter = make_converter()
        exchange = Exchange(self._transport, Credentials(client_id, client_secret), timeout=timeout)
        lookup = Lookup(exchange, self.converter, poll_interval)
        prices = PriceList(exchange, self.converter)
        capacity = Capacity(exchange, lookup, prices, poll_interval)
        releaser = Releaser(exchange, lookup)
        announcer = Announcer(prices)
        jobs = Jobs()
        remembered = AsyncLedger(ledger, self._transport.base_url, lambda: exchange.account()[0])
        late = LateStarts(lookup, remembered, releaser, announcer, jobs)
        key = InferenceKey(inference_key)
        self._core = Core(
            exchange=exchange,
            converter=self.converter,
            lookup=lookup,
            prices=prices,
            releaser=releaser,
            starter=Starter(
                exchange,
                lookup,
                prices,
                announcer,
                capacity,
                remembered,
                Reconciler(lookup, remembered, announcer, patience=timeout),
                late,
                Guard(exchange, remembered),
                rules,
            ),
            announcer=announcer,
            capacity=capacity,
            ledger=remembered,
            late=late,
            reaps=reap,
            probe=Probe(self._transport, key),
            openai=OpenAIClients(self._transport, key),
            jobs=jobs,
        )
        self.instances: Instances = Instances(self._core)
        self.models: Models = Models(self._core)
        self.hardware_types: HardwareTypes = HardwareTypes(self._core)
        self.account: Account = Account(self._core)
        self.leases: Leases = Leases(self._core)

    def lease(
        self,
        model: str,
        *,
        hardware_type_id: str | Sequence[str] | None = None,
        context_length: int | None = None,
        billing_interval: str | None = None,
        num_workers: int | None = None,
        timeout: float = 900.0,
        stall_timeout: float | None = None,
        probe: bool = False,
        on_progress: OnProgress | None = None,
        delete: bool = True,
        release_timeout: float = 120.0,
        keep: bool = False,
        wait_for_capacity: float | None = None,
        guard: bool | None = None,
        max_cost: float | None = None,
        max_duration: float | None = None,
        min_balance: float | None = None,
        label: str | None = None,
    ) -> Lease:
        """A lease of a dedicated instance; nothing is started until it is entered or acquired.

        Example:
            async with client.lease("meta-llama/Llama-3.1-8B-Instruct", on_progress=print) as instance:
                print(instance.base_url)

        Args:
            model: Hugging Face name (`org/model`) or model id (`org--model`).
            hardware_type_id: As for `instances.start`; so are the next three.
            context_length: In tokens.
            billing_interval: `per_minute` or `per_hour`.
            num_workers: From 1 to 8.
            timeout: Seconds at most until the instance is usable, the start included, but not what
                `wait_for_capacity` takes.
            stall_timeout: Seconds at most without a step of any worker; `None` for no such bound.
            probe: Also wait until the instance answers inference requests.
            on_progress: Called with each change while waiting; may be async.
            delete: Delete the instance once it is stopped.
            release_timeout: Seconds at most until the instance is seen stopped.
            keep: Leave the instance running at the end; it is yours from then on. If entering fails it is stopped
                all the same, and at a limit. If this process is killed it runs on, up to a limit of the lease.
            wait_for_capacity: As for `instances.start`. Its events have the state `no capacity`, and their instance
                has no id yet.
            guard: Whether a small process of its own stops the instance if this process is killed. `None`: where
                the platform has what that takes, unless `INFERLEASE_GUARD=0`; `True`: the lease is refused where
                it can't be had; `False`: no.
            max_cost: What the lease may cost at most, in the currency of the price; the upper bound counts. At the
                limit the instance is stopped, and LeaseLimitError is raised.
            max_duration: Seconds that it may take at most, from the start call on. `INFERLEASE_MAX_COST` and
                `INFERLEASE_MAX_DURATION` hold for every lease; arguments may only lower them.
            min_balance: What has to stay on the account; looked at before the start, then every minute.
            label: For `costs`: any text of up to 200 printable characters.

        Raises:
            InvalidArgumentError: An argument is refused; nothing was sent.
        """
        choices = _requests.start_choices(
            model,
            hardware_type_id=hardware_type_id,
            context_length=context_length,
            billing_interval=billing_interval,
            num_workers=num_workers,
        )
        options = LeaseOptions(
            timeout=checked_seconds("timeout", timeout),
            stall_timeout=None if stall_timeout is None else checked_seconds("stall_timeout", stall_timeout),
            probe=probe,
            on_progress=on_progress,
            delete=delete,
            release_timeout=checked_seconds("release_timeout", release_timeout),
            keep=keep,
            wait_for_capacity=(
                None if wait_for_capacity is None else checked_seconds("wait_for_capacity", wait_for_capacity)
            ),
            guard=guard,
            label=checked_label(label),
            limits=checked_limits(max_cost, max_duration, min_balance),
        )
        return Lease(self._core, self.instances, choices, options)

    async def quote(
        self,
        model: str,
        hardware_type_id: str | Sequence[str] | None = None,
        num_workers: int | None = None,
        duration: float | None = None,
        billing_interval: str | None = None,
    ) -> Quote:
        """What a model would cost on each hardware type that serves it, the cheapest available first.

        All figures are estimates, upper bounds beside the listed price; `assumption` says what they rest on. Needs no
        credentials, but without them nothing is known of the balance and how long it lasts.

        Example:
            print(await client.quote("meta-llama/Llama-3.1-8B-Instruct", num_workers=2, duration=3600))

        Args:
            model: Hugging Face name (`org/model`) or model id (`org--model`).
            hardware_type_id: Only this type, or these; by default all that serve the model.
            num_workers: From 1 (default) to 8.
            duration: Seconds to tell the cost of, from the start call to the stop.
            billing_interval: `per_minute` (default) or `per_hour`; `duration` is rounded up to it.

        Raises:
            InvalidArgumentError: An argument is refused, such as hardware that does not serve the model.
            NotFoundError: There is no such model.
            APIError: The server answered with an error.
            TransportError: No answer arrived.
        """
        from .quotes import quoted

        choices = _requests.start_choices(
            model, hardware_type_id=hardware_type_id, billing_interval=billing_interval, num_workers=num_workers
        )
        seconds = None if duration is None else checked_seconds("duration", duration)
        require_asyncio()
        return await quoted(self._core, choices, seconds)

    async def costs(self, since: float = 604_800.0, by: GroupBy = "label") -> list[CostGroup]:
        """What the leases that the ledger remembers have cost, at most: living ones, and those that ended since.

        A lease counts whole, up to its release or up to now, whatever was billed after it was handed over with `keep`.

        Example:
            for group in await client.costs(since=86400, by="model"):
                print(group.name, group.leases, group.amounts, group.unknown)

        Args:
            since: Seconds to look back; by default a week.
            by: `label`, `model`, `hardware` or `day`.

        Raises:
            InvalidArgumentError: An argument is refused.
            ConfigurationError: There are no credentials, which tell whose leases to look for.
            LedgerError: The ledger can't be read.
        """
        from ._costs import checked_by, grouped

        by, at = checked_by(by), now()
        began = at - timedelta(seconds=checked_seconds("since", since))
        records = await self._core.carry("reading the ledger", lambda: self._core.ledger.records(began))
        return grouped(records, by, at)

    async def check_up(self) -> Checks:
        """Whether leases can work here: credentials, keys, network, clock, ledger, orphans, balance. Changes nothing.

        Example:
            for check in await client.check_up():
                print(check.name, check.status, check.said, check.advice)
        """
        from ._checkup import check_up

        return await self._core.carry("the checks", lambda: check_up(self._core), bound=8 * self._core.exchange.timeout)

    async def close(self) -> None:
        """Release every lease that is still held, and close the connections. Idempotent.

        Raises:
            OutcomeUnknownError: A leased instance was not seen to stop; the message says how to stop it.
        """
        require_asyncio()
        # From here on nothing new is begun; what is under way on the keeper goes on.
        self._transport.closed = True
        held = [start for start in list(self._core.held) if start.is_ours and not start.is_handed_over]
        releases = [self._core.undo(start) for start in held]
        reaping = self._core.recovery.hurry() if self._core.reaps else None
        with anyio.CancelScope(shield=True):
            try:
                await _released(releases)
            finally:
                _sigterm.restore_unless_held()
                closing = self._core.jobs.close(self._close_on_keeper)
                if not _keeper.is_here():
                    await self._transport.close()
                for job in (reaping, closing):
                    if job is not None:
                        await job.wait()

    async def _close_on_keeper(self) -> None:
        self._transport.finished = True
        self._core.prices.abandon()
        unresolved = self._core.late.abandon()
        self._core.ledger.let_go()
        if unresolved:
            log.warning("%d unresolved start(s), answer lost: `inferlease reap` tells what came of them", unresolved)
        await self._transport.close()

    def __repr__(self) -> str:
        return f"<Client of {printable(self._transport.base_url, 200)}{', closed' if self._transport.closed else ''}>"

    async def __aenter__(self) -> Self:
        require_asyncio()
        self._core.reap_in_background()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except Exception as trouble:
            if error is None:
                raise
            error.add_note(str(trouble))

    def __del__(self) -> None:
        transport: Transport | None = getattr(self, "_transport", None)
        if transport is not None and not transport.closed and transport.is_open:
            warnings.warn("a Client was never closed", ResourceWarning, stacklevel=2, source=self)
            transport.detach()
            if not _keeper.is_exiting():
                self._core.jobs.close(transport.close)


async def _released(releases: list[Job[InstanceState | None]]) -> None:
    """Wait for all releases; raises the first trouble, the others as notes on it."""
    troubles: list[Exception] = []
    for release in releases:
        try:
            await release.wait()
        except Exception as trouble:  # noqa: BLE001 (the others have to be waited for too)
            troubles.append(trouble)
    if troubles:
        for further in troubles[1:]:
            troubles[0].add_note(str(further))
        raise troubles[0]
