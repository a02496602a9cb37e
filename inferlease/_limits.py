"""Limits of a lease: how they are given, when they are reached, and what interrupts the body then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from attrs import frozen

from ._cost import Meter
from ._lookup import Lookup
from ._printing import printable
from ._requests import checked_seconds
from .errors import ConfigurationError, InferleaseError, InvalidArgumentError, LeaseLimitError
from .money import DEFAULT_INTERVAL, INTERVALS, Price, amount
from .objects import InstanceArgs

__all__ = [
    "Holder",
    "Interruption",
    "Limits",
    "TimedLimit",
    "checked_limits",
    "enforce",
    "exceeded",
    "require_balance",
    "timed",
    "watch_balance",
]

log = logging.getLogger("inferlease")

# The share of a limit at which it is warned of.
_WARN_AT = 0.8
# A stop takes a while: it is asked for so many seconds, or a tenth of an interval, before one too many would begin.
_LEAD = 5.0
# Seconds between two looks at the balance.
BALANCE_EVERY = 60.0

Reached: TypeAlias = Callable[[LeaseLimitError], None]


@frozen
class Limits:
    """What a lease may cost and take; `None` for no such limit.

    Attributes:
        max_cost: At most this much, in the currency of the hardware's price.
        max_duration: Seconds at most, from the start call on.
        min_balance: At least so much stays on the account.
    """

    max_cost: float | None = None
    max_duration: float | None = None
    min_balance: float | None = None

    @property
    def are_set(self) -> bool:
        return self != Limits()


@frozen(eq=False, repr=False)
class TimedLimit:
    """A limit that is reached after so many seconds."""

    name: Literal["max_cost", "max_duration"]
    value: float
    seconds: float

    @property
    def source(self) -> str:
        """Where it is set: the argument, or the variable of the environment if that is as low."""
        return _source(self.name, self.value)


def checked_limits(max_cost: float | None, max_duration: float | None, min_balance: float | None) -> Limits:
    """The limits of a lease: what is given, and no more than the environment allows.

    Raises InvalidArgumentError, or ConfigurationError where a variable is not a positive number.
    """
    if max_cost is not None:
        max_cost = _checked_amount("max_cost", max_cost, least=0.0, may_be_least=False)
    if max_duration is not None:
        max_duration = checked_seconds("max_duration", max_duration)
    if min_balance is not None:
        min_balance = _checked_amount("min_balance", min_balance, least=0.0, may_be_least=True)
    return Limits(
        _lower(max_cost, _variable("INFERLEASE_MAX_COST")),
        _lower(max_duration, _variable("INFERLEASE_MAX_DURATION")),
        min_balance,
    )


def _checked_amount(name: str, value: object, *, least: float, may_be_least: bool) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= float(str(value)) < math.inf or (value == least and not may_be_least):
        sign = "of 0 or more" if may_be_least else "above 0"
        raise InvalidArgumentError(f"{name}={value!r:.80} is not an amount of money {sign}")
    return float(str(value))


def _variable(name: str) -> float | None:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{name}={text!r:.80} is not a positive number: set it to one, or unset it")
    return value


def _source(name: str, value: float) -> str:
    variable = f"INFERLEASE_{name.upper()}"
    with contextlib.suppress(ConfigurationError):  # it was changed meanwhile
        if _variable(variable) == value:
            return variable
    return name


def _lower(first: float | None, second: float | None) -> float | None:
    given = [value for value in (first, second) if value is not None]
    return min(given) if given else None


def timed(limits: Limits, args: InstanceArgs, price: Price | None) -> tuple[TimedLimit, ...]:
    """When the limits are reached. Raises LeaseLimitError where one can't be kept to: nothing is started then."""
    found: list[TimedLimit] = []
    if limits.max_duration is not None:
        found.append(TimedLimit("max_duration", limits.max_duration, limits.max_duration))
    if limits.max_cost is not None:
        given = f"{_source('max_cost', limits.max_cost)}={limits.max_cost:g}"
        if price is None:
            raise LeaseLimitError(
                f"{given} can't be enforced, for the price of {printable(args.hf_name, 120)} on "
                f"{printable(args.hardware_type_id or 'the default hardware', 80)} is unknown: nothing was started; "
                "set max_duration instead",
                limit="max_cost",
                value=limits.max_cost,
            )
        seconds = _affordable(limits.max_cost, price, args.billing_interval or DEFAULT_INTERVAL)
        if seconds <= 0:
            raise LeaseLimitError(
                f"{given} {printable(price.currency, 10)} does not pay for one billing interval "
                f"({args.billing_interval or DEFAULT_INTERVAL}) at {price}: nothing was started; raise it",
                limit="max_cost",
                value=limits.max_cost,
            )
        if seconds < math.inf:
            found.append(TimedLimit("max_cost", limits.max_cost, seconds))
    return tuple(sorted(found, key=lambda each: each.seconds))


def _affordable(max_cost: float, price: Price, interval: str) -> float:
    """Seconds after which a stop has to be asked for, so that no more intervals are billed than are paid for."""
    length = INTERVALS[interval]
    each = price.amount * length / 3600
    # What is meant to be a whole number of intervals may be a little less, as fractions are.
    intervals = math.floor(max_cost / each + 1e-9) if each > 0 else math.inf
    return intervals * length - min(_LEAD, length / 10) if intervals else 0.0


async def enforce(
    limits: tuple[TimedLimit, ...], meter: Meter, name: Callable[[], tuple[str, str | None]], reached: Reached
) -> None:
    """Warn of the limits when they are near, and call `reached` with the error of the first. Runs on the keeper.

    `name` tells of what: in words, and by the id of the instance if there is one.
    """
    moments = [(each.seconds * share, each, share < 1) for each in limits for share in (_WARN_AT, 1.0)]
    for seconds, each, is_warning in sorted(moments, key=lambda moment: moment[0]):
        while (left := meter.began + seconds - time.monotonic()) > 0:  # noqa: ASYNC110 (time passes by itself)
            await asyncio.sleep(left)
        if not is_warning:
            reached(exceeded(each, meter, name))
            return
        left = each.seconds - meter.seconds
        log.warning("%s nears %s=%s: it is stopped in %.0f s", name()[0], each.source, _shown(each, meter), left)


def exceeded(limit: TimedLimit, meter: Meter, name: Callable[[], tuple[str, str | None]]) -> LeaseLimitError:
    """The error of a limit that is reached."""
    what, instance_id = name()
    estimate = meter.estimate()
    cost = None if estimate is None else estimate.amount
    return LeaseLimitError(
        f"{what} reached {limit.source}={_shown(limit, meter)} after {meter.seconds:.0f} s: it is stopped; "
        f"to go on longer, raise {limit.source}",
        limit=limit.name,
        value=limit.value,
        reached=meter.seconds if limit.name == "max_duration" else cost,
        instance_id=instance_id,
    )


def _shown(limit: TimedLimit, meter: Meter) -> str:
    price = meter.price
    if limit.name == "max_duration":
        return f"{limit.value:g} s"
    return amount(limit.value, price.currency if price is not None else None)


async def require_balance(lookup: Lookup, least: float) -> float:
    """What is left on the account; raises LeaseLimitError if that is less, so that nothing is started."""
    balance = await lookup.balance()
    if balance.current_balance < least:
        raise LeaseLimitError(
            f"the balance is {amount(balance.current_balance, balance.currency, 2)}, below min_balance={least:g}: "
            "nothing was started; top it up, or lower min_balance",
            limit="min_balance",
            value=least,
            reached=balance.current_balance,
        )
    return balance.current_balance


async def watch_balance(
    lookup: Lookup, least: float, first: float, name: Callable[[], tuple[str, str | None]], reached: Reached
) -> None:
    """Read the balance from time to time; warn when most of what may be spent is, and call `reached` below `least`."""
    has_warned = has_failed = False
    while True:
        await asyncio.sleep(BALANCE_EVERY)
        what, instance_id = name()
        try:
            balance = await lookup.balance()
        except InferleaseError as error:
            if not has_failed:
                log.warning("min_balance=%g of %s can't be watched at the moment: %s", least, what, error)
            has_failed = True
            continue
        has_failed, left = False, balance.current_balance
        shown = amount(left, balance.currency, 2)
        if left < least:
            reached(
                LeaseLimitError(
                    f"the balance is {shown}, below min_balance={least:g} of {what}: it is stopped; top it up, or "
                    "lower min_balance",
                    limit="min_balance",
                    value=least,
                    reached=left,
                    instance_id=instance_id,
                )
            )
            return
        if not has_warned and first > least and (first - left) / (first - least) >= _WARN_AT:
            has_warned = True
            log.warning("%s nears min_balance=%g: the balance is %s", what, least, shown)


class Interruption:
    """Cancels the task that makes it, once, and tells that cancellation from all others, as `asyncio.timeout` does."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        self._has_cancelled = False
        self._is_over = False

    def interrupt(self) -> None:
        """Cancel the task, soon. Callable from any thread."""
        with contextlib.suppress(RuntimeError):  # a loop that is closed has nothing to cancel
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and not self._has_cancelled and not self._is_over:
            self._has_cancelled = True
            self._task.cancel()

    def left(self, error: BaseException | None) -> bool:
        """What it may interrupt has ended with `error`: whether that is its own cancellation and nobody else's.

        None is still to come: it is asked for between two steps of the task, and arrives with the next one.
        """
        self._is_over = True
        task = asyncio.current_task()
        if not self._has_cancelled or task is None or task is not self._task:
            return False
        return task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError)


class Holder:
    """Whoever has a lease, as far as that can be interrupted; it does not keep the lease alive.

    Attributes:
        interruption: Of what goes on now, if anything does.
    """

    def __init__(self) -> None:
        self.interruption: Interruption | None = None

    def interrupt(self) -> None:
        """Interrupt it. Callable from any thread."""
        if (interruption := self.interruption) is not None:
            interruption.interrupt()
