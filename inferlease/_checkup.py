"""Whether a client can do its work here: each check says what it found, and what to do if that is bad."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Literal, TypeAlias

from attrs import frozen

from . import _requests
from ._convert import decode
from ._core import Core
from ._ledgers import account_key, where_kept
from ._orphans import Verdict
from ._printing import printable
from ._protocol import Answer, member
from ._retry import Settled
from .errors import CHECK_ADDRESS, AuthenticationError, ConfigurationError, InferleaseError, LedgerError
from .ledger import now
from .objects import Balance

__all__ = ["Check", "Status", "check_up", "left_behind"]

Status: TypeAlias = Literal["ok", "failed", "skipped"]

# Seconds by which clocks may differ: the windows of the ledger and a date in Retry-After are far longer.
_MOST_SKEW = 60.0

# How one orphan is told, and how several are.
_LEFT: dict[Verdict, tuple[str, str]] = {
    "ours": ("instance that is ours", "instances that are ours"),
    "possible": ("instance that may be ours", "instances that may be ours"),
    "unresolved": ("start whose outcome is not known", "starts whose outcome is not known"),
}


@frozen
class Check:
    """One check.

    Attributes:
        name: What was looked at.
        status: "skipped" where it could not be told.
        said: What was found, in one line.
        advice: What to do; "" if nothing.
    """

    name: str
    status: Status
    said: str
    advice: str = ""


async def check_up(core: Core) -> list[Check]:
    """All checks. Runs on the keeper; raises nothing of ours."""
    began = now()
    reached: Settled[int] = await core.exchange.settle(
        _requests.LIST_MODELS, lambda payload: len(_listed(payload)), attempts=2
    )
    checks = [_inference_key(core), _reachability(core, reached), _clock(reached, began.timestamp())]
    try:
        client_id = core.exchange.account()[0]
    except ConfigurationError as error:
        said, way_out = _parted(error)
        advice = (
            f"{way_out}: get them from the provider's console" if way_out else "get others from the provider's console"
        )
        ledger = Check("ledger", "skipped", "needs credentials: each account has a ledger of its own")
        missing = [Check(name, "skipped", "needs credentials") for name in ("orphans", "balance")]
        return [Check("credentials", "failed", said, advice), *checks, ledger, *missing]
    balance: Balance | InferleaseError
    try:
        balance = await core.exchange.read(
            _requests.GET_BALANCE, lambda payload: decode(core.converter, payload, Balance, "balance"), attempts=2
        )
    except InferleaseError as error:
        balance = error
    ledger = await _ledger(core, client_id)
    is_told = reached.value is None or isinstance(balance, AuthenticationError)
    return [_credentials(balance), *checks, ledger, await _orphans(core, balance), _balance(balance, is_told=is_told)]


def _parted(error: ConfigurationError) -> tuple[str, str]:
    """What is missing, and what to set, which stands behind it; "" if nothing does."""
    said, _, names = str(error).partition(": set ")
    return said, f"set {names}" if names else ""


def _inference_key(core: Core) -> Check:
    try:
        core.probe.check()
    except ConfigurationError as error:
        said, way_out = _parted(error)
        advice = "without it nothing is asked of an instance, and `inferlease run` starts none"
        return Check("inference key", "failed", said, f"{way_out or 'set INFERLEASE_INFERENCE_KEY'}: {advice}")
    return Check("inference key", "ok", "it is there; whether it is valid, only an instance can tell")


def _listed(payload: object) -> list[object]:
    models = member(payload, "models")
    return models if isinstance(models, list) else []


def _reachability(core: Core, reached: Settled[int]) -> Check:
    url = printable(core.exchange.transport.base_url, 200)
    if reached.value is not None:
        return Check("reachability", "ok", f"{url} answers, and lists {reached.value} models")
    said = str(core.exchange.error(_requests.LIST_MODELS, reached)).removesuffix(CHECK_ADDRESS)
    address = ", and the address in CORTECS_API_BASE_URL" if os.environ.get("CORTECS_API_BASE_URL") else ""
    return Check("reachability", "failed", f"{url}: {said}", f"check the network, HTTPS_PROXY and NO_PROXY{address}")


def _clock(reached: Settled[int], before: float) -> Check:
    """The server's `Date` has whole seconds, and was written between the request and now."""
    outcome = reached.outcome
    value = outcome.headers.get("Date") if isinstance(outcome, Answer) else None
    if value is None:
        said = "the server sends no date" if isinstance(outcome, Answer) else "there is no server to compare it with"
        return Check("clock", "skipped", said)
    try:
        server = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, OSError):
        return Check("clock", "skipped", "the server's date can't be read")
    ahead, behind = before - (server + 1), server - now().timestamp()
    if max(ahead, behind) <= _MOST_SKEW:
        return Check("clock", "ok", "it agrees with the server's")
    return Check(
        "clock",
        "failed",
        f"it is {max(ahead, behind):.0f} s {'ahead of' if ahead > behind else 'behind'} the server's",
        "set the clock of this machine (by NTP): the ledger dates starts by it",
    )


def _credentials(balance: Balance | InferleaseError) -> Check:
    if isinstance(balance, AuthenticationError):
        advice = "check CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET, and that they are of this server"
        return Check("credentials", "failed", str(balance), advice)
    if isinstance(balance, InferleaseError) and balance.status is None:
        return Check("credentials", "skipped", "they are there; the server did not answer whether they are valid")
    return Check("credentials", "ok", "the server takes them")


async def _ledger(core: Core, client_id: str) -> Check:
    advice = "name a folder on a local disk by ledger=PATH or INFERLEASE_STATE_DIR"
    account = account_key(core.exchange.transport.base_url, client_id)
    try:
        kept = await asyncio.to_thread(where_kept, core.ledger.place, account)
    except LedgerError as error:
        return Check("ledger", "failed", str(error), advice)
    if kept.reasons:
        return Check("ledger", "failed", f"{kept.where}: {kept.loses} ({'; '.join(kept.reasons)})", advice)
    return Check("ledger", "ok", f"{kept.where}: writable, and its file system keeps locks")


async def _orphans(core: Core, balance: Balance | InferleaseError) -> Check:
    if isinstance(balance, InferleaseError):
        return Check("orphans", "skipped", "the account can't be read")
    try:
        orphans = await core.recovery.orphans()
    except InferleaseError as error:
        return Check("orphans", "failed", str(error), "once that is mended: inferlease reap")
    if not orphans:
        return Check("orphans", "ok", "no process has left anything")
    said = left_behind([each.verdict for each in orphans])
    return Check("orphans", "failed", said, "look at them with: inferlease reap")


def left_behind(verdicts: Sequence[Verdict]) -> str:
    """What orphans there are, in a sentence."""
    counts = {words: verdicts.count(verdict) for verdict, words in _LEFT.items()}
    told = ", ".join(f"{count} {words[count > 1]}" for words, count in counts.items() if count)
    return f"processes that are gone have left {told}"


def _balance(balance: Balance | InferleaseError, *, is_told: bool) -> Check:
    """Why it can't be read is told once: `is_told` says that another check does."""
    if isinstance(balance, InferleaseError) and is_told:
        return Check("balance", "skipped", "the account can't be read")
    if isinstance(balance, InferleaseError):
        return Check("balance", "failed", str(balance), "see the other checks")
    amount = f"{balance.current_balance:.2f} {printable(balance.currency or '', 10)}".rstrip()
    if balance.current_balance > 0:
        return Check("balance", "ok", amount)
    return Check("balance", "failed", amount, "top up the account: without money nothing can be started")
