"""What the guard is told of one client's starts: how to reach the server, and what becomes of each journal."""

from __future__ import annotations

import json
import ssl
from typing import Any

from attrs import evolve

from ._async_ledger import AsyncLedger
from ._exchange import Exchange
from ._guard_process import side
from ._journal_lines import Claim, claim_line, end_line, facts_line, intent_line, keep_line
from ._journals import FolderLedger
from ._ledgers import UsualLedger, account_key, is_in_folder
from ._memory_ledger import MemoryLedger
from .ledger import Bounds, Ending, Facts, Intent, Journal, Ledger, now

__all__ = ["GuardedJournal", "guarded", "told"]


def guarded(journal: Journal, exchange: Exchange, ledger: AsyncLedger) -> GuardedJournal:
    """Have the start of a journal stopped if this process dies from here on."""
    opened, text = ledger.opened, None
    if not is_in_folder(journal):
        # What a store of somebody's own knows of other starts the guard does not: it must not conclude from it.
        is_known = isinstance(opened, FolderLedger | UsualLedger | MemoryLedger)
        text = intent_line(journal.intent if is_known else evolve(journal.intent, exclusive=False)).decode()
    side().opened(journal.intent.journal, _options(exchange, opened), text)
    return GuardedJournal(journal, is_carried=text is not None)


def _options(exchange: Exchange, opened: Ledger | None) -> str:
    """How the guard reaches what a client does, secrets included."""
    client_id, secret = exchange.account()
    transport, place = exchange.transport, _place(opened)
    options: dict[str, Any] = {
        "base_url": transport.base_url,
        "client_id": client_id,
        "client_secret": secret,
        "timeout": exchange.timeout,
        "proxy": transport.proxy,
        "ssl": told(transport.ssl),
        "place": place,
        "folder": str(opened.folder.absolute()) if isinstance(opened, FolderLedger) else None,
        "account": account_key(transport.base_url, client_id),
        # Two ledgers in memory are two.
        "memory": id(opened) if place == "memory" else None,
    }
    return json.dumps(options)


def _place(ledger: Ledger | None) -> str:
    if isinstance(ledger, FolderLedger):
        return "folder"
    return "usual" if isinstance(ledger, UsualLedger) else "memory"


def told(context: ssl.SSLContext | None) -> dict[str, Any] | None:
    """What can be told of it: not a certificate of the client's own."""
    if not isinstance(context, ssl.SSLContext):
        return None
    return {
        "authorities": "".join(ssl.DER_cert_to_PEM_cert(each) for each in context.get_ca_certs(binary_form=True)),
        "check_hostname": context.check_hostname,
        "verify_mode": int(context.verify_mode),
        "minimum_version": int(context.minimum_version),
    }


class GuardedJournal:
    """A journal whose course the guard is told.

    Args:
        journal: The ledger's own.
        is_carried: Whether the guard can't read it, and has to be told all that it says.
    """

    def __init__(self, journal: Journal, *, is_carried: bool) -> None:
        self._journal = journal
        self._is_carried = is_carried

    @property
    def intent(self) -> Intent:
        return self._journal.intent

    def claim(self, instance_id: str, *, is_answered: bool) -> bool:
        """Note what was started: `False` if another journal has claimed it."""
        is_ours = self._journal.claim(instance_id, is_answered=is_answered)
        if is_ours:
            self._more(claim_line(Claim(self.intent.journal, instance_id, is_answered, now())))
        return is_ours

    def keep(self, bounds: Bounds) -> None:
        """Note that the instance stays when its lease ends."""
        self._journal.keep(bounds)
        self._more(keep_line(bounds, now()))

    def note(self, facts: Facts) -> None:
        """Note what became known of the instance."""
        self._journal.note(facts)
        self._more(facts_line(facts, now()))

    def end(self, how: Ending, reason: str | None = None) -> None:
        """Note how it ended, and let go of it. Idempotent."""
        try:
            self._journal.end(how, reason)
        finally:
            # Even if that could not be noted: what is handed over must not be stopped.
            side().over(self.intent.journal, end_line(how, now()).decode())

    def let_go(self) -> None:
        """Own it no longer, without an end: the guard still sees to it once this process is gone."""
        self._journal.let_go()

    def _more(self, line: bytes) -> None:
        if self._is_carried:
            side().more(self.intent.journal, line.decode())
