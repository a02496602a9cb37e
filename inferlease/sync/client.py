# Generated from inferlease/client.py by `python -m inferlease._tools.gen_sync`: do not edit.
"""The client: where the parts are put together."""

from __future__ import annotations

from collections.abc import Sequence
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cattrs import Converter

from inferlease import client as _async
from inferlease._port import OnProgress
from inferlease.client import Checks
from inferlease.ledger import LedgerPlace

from . import _bridge, _facade
from .account import Account
from .hardware_types import HardwareTypes
from .instances import Instances
from .lease import Lease
from .leases import Leases
from .models import Models

if TYPE_CHECKING:
    from inferlease._costs import CostGroup, GroupBy
    from inferlease.quotes import Quote

__all__ = ["Client"]


class Client(_facade.Facade[_async.Client]):
    """A client of the provisioning API.

    `with Client() as client:`, or `client.close()` at the end. Closing releases every lease that
    is still held.

    Example:
        with Client() as client:
            for instance in client.instances.list():
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
        self._inner = _async.Client(
            client_id,
            client_secret,
            base_url=base_url,
            inference_key=inference_key,
            timeout=timeout,
            poll_interval=poll_interval,
            proxy=proxy,
            ssl=ssl,
            exclusive=exclusive,
            settle_time=settle_time,
            late_window=late_window,
            ledger=ledger,
            reap=reap,
        )
        self.converter: Converter = self._inner.converter
        self.instances: Instances = Instances._of(self._inner.instances)
        self.models: Models = Models._of(self._inner.models)
        self.hardware_types: HardwareTypes = HardwareTypes._of(self._inner.hardware_types)
        self.account: Account = Account._of(self._inner.account)
        self.leases: Leases = Leases._of(self._inner.leases)

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
            with client.lease("meta-llama/Llama-3.1-8B-Instruct", on_progress=print) as instance:
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
            on_progress: Called with each change while waiting.
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
        inner = self._inner.lease(
            model,
            hardware_type_id=hardware_type_id,
            context_length=context_length,
            billing_interval=billing_interval,
            num_workers=num_workers,
            timeout=timeout,
            stall_timeout=stall_timeout,
            probe=probe,
            on_progress=_bridge.in_caller(on_progress),
            delete=delete,
            release_timeout=release_timeout,
            keep=keep,
            wait_for_capacity=wait_for_capacity,
            guard=guard,
            max_cost=max_cost,
            max_duration=max_duration,
            min_balance=min_balance,
            label=label,
        )
        return Lease._of(inner)

    def quote(
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
            print(client.quote("meta-llama/Llama-3.1-8B-Instruct", num_workers=2, duration=3600))

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
        return _bridge.run(self._inner.quote, model, hardware_type_id, num_workers, duration, billing_interval)

    def costs(self, since: float = 604_800.0, by: GroupBy = "label") -> list[CostGroup]:
        """What the leases that the ledger remembers have cost, at most: living ones, and those that ended since.

        A lease counts whole, up to its release or up to now, whatever was billed after it was handed over with `keep`.

        Example:
            for group in client.costs(since=86400, by="model"):
                print(group.name, group.leases, group.amounts, group.unknown)

        Args:
            since: Seconds to look back; by default a week.
            by: `label`, `model`, `hardware` or `day`.

        Raises:
            InvalidArgumentError: An argument is refused.
            ConfigurationError: There are no credentials, which tell whose leases to look for.
            LedgerError: The ledger can't be read.
        """
        return _bridge.run(self._inner.costs, since, by)

    def check_up(self) -> Checks:
        """Whether leases can work here: credentials, keys, network, clock, ledger, orphans, balance. Changes nothing.

        Example:
            for check in client.check_up():
                print(check.name, check.status, check.said, check.advice)
        """
        return _bridge.run(self._inner.check_up)

    def close(self) -> None:
        """Release every lease that is still held, and close the connections. Idempotent.

        Raises:
            OutcomeUnknownError: A leased instance was not seen to stop; the message says how to stop it.
        """
        _bridge.run(self._inner.close)

    def __enter__(self) -> Self:
        _bridge.run(self._inner.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            _bridge.leave(self._inner, kind, error, traceback)
        except BaseException:  # an interrupt may come before it has begun
            _bridge.throw_away(self._inner)
            raise
