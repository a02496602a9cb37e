"""The guard's own process: it waits for its parent to die, then stops what that has left.

`python -P -m inferlease._guardian PID` with a socket as its standard input, over which the parent tells it what is
open, one JSON object a line. As long as the parent lives and moves it needs nothing but the standard library: so it
starts fast and stays small. The client is imported once there is something to stop.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Coroutine, Iterable, Mapping
    from ssl import SSLContext

    from ._recovery import Reaped
    from ._transport import Transport
    from .client import Client
    from .ledger import Ledger, StartRecord

__all__ = ["READY", "Book", "Entry", "listen", "main", "recover"]

READY = b"\n"
"""What the guard says once it watches."""

# Seconds between two looks at who the parent is, where the system does not tell of its death.
_LOOK_EVERY = 1.0
# Seconds without success for which it goes on; without any answer from a server on this machine, such as an emulator,
# which has perhaps ended with the parent; and between two attempts at first and at most.
_PERSISTENCE, _SILENCE_HERE = 3600.0, 60.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 20.0
# Seconds by which the parent comes first where a limit is reached, and before which the client is loaded.
_PRECEDENCE, _LOADING = 0.5, 2.0
# Seconds for which it sleeps at most once there is a limit.
_LONGEST_SLEEP = 3600.0


class Entry:
    """One start.

    Attributes:
        group: Of which client it is.
        text: All of its journal, where that is in the memory of the parent; `None` where it is in a folder.
        is_open: Whether it is to be stopped if the parent dies.
        due: Monotonic time from which on it is to be stopped though the parent lives; `None` for none.
        is_being_stopped: Whether that is being done.
    """

    def __init__(self, group: str, text: str | None) -> None:
        self.group = group
        self.text = text
        self.is_open = True
        self.due: float | None = None
        self.is_being_stopped = False


class Book:
    """What the parent has told.

    Attributes:
        groups: How to reach each account: the options of its clients.
        entries: The starts by the names of their journals.
        parent_is_dead: From then on `recover` sees to what is open.
    """

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, Any]] = {}
        self.entries: dict[str, Entry] = {}
        self.parent_is_dead = False

    def note(self, line: bytes) -> None:
        """Take in one line."""
        told: dict[str, Any] = json.loads(line)
        match told:
            case {"group": str(group), "options": dict(options)}:
                self.groups[group] = options
            case {"journal": str(name), "group": str(group), "text": text}:
                self.entries[name] = Entry(group, text)
            case {"journal": str(name), "more": str(more)}:
                entry = self.entries[name]
                entry.text = (entry.text or "") + more
            case {"journal": str(name), "due": None | int() | float() as at}:
                self.entries[name].due = None if at is None else at + _PRECEDENCE
            case {"journal": str(name), "over": True}:
                # One in memory stays known: what it has claimed is nobody else's.
                if (entry := self.entries[name]).text is None:
                    del self.entries[name]
                entry.is_open = False
            case _:
                raise ValueError("the parent has said something that is not known here")

    def open_names(self, group: str) -> set[str]:
        """What is to be stopped if the parent dies."""
        return {name for name, entry in self.entries.items() if entry.is_open and entry.group == group}

    def next_look(self) -> float | None:
        """Seconds until `overdue` may find anything new; `None` for never, as things stand."""
        open_entries = [entry for entry in self.entries.values() if entry.is_open]
        waits = [max(entry.due - _LOADING - time.monotonic(), 0.0) for entry in open_entries if entry.due is not None]
        waits += [_LOOK_EVERY for entry in open_entries if entry.is_being_stopped]
        return min(waits, default=None)

    def overdue(self) -> list[str]:
        """What is to be stopped soon though the parent lives, unless that says more: it stands still, or can't."""
        soon = time.monotonic() + _LOADING
        return [
            name
            for name, entry in self.entries.items()
            if entry.is_open and not entry.is_being_stopped and entry.due is not None and entry.due <= soon
        ]


def main() -> None:
    """Watch, then stop what is left, if anything is."""
    # Whoever ends a whole group or session of processes, or the machine, means the parent; the guard follows it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    book = Book()
    with socket.socket(fileno=0) as pipe:
        listen(pipe, int(sys.argv[1]), book)
    if any(book.open_names(group) for group in book.groups):
        import asyncio

        asyncio.run(recover(book))


def listen(pipe: socket.socket, parent: int, book: Book) -> None:
    """Note what the parent says until it is dead."""
    pipe.setblocking(False)
    death = _death_of(parent)
    with contextlib.suppress(OSError):  # it is dead already
        pipe.send(READY)
    rest, is_dead = b"", False
    while not is_dead:
        watched = [pipe] if death is None else [pipe, death]
        patience = [] if death is not None else [_LOOK_EVERY]
        patience += [] if (look := book.next_look()) is None else [min(look, _LONGEST_SLEEP)]
        ready, _, _ = select.select(watched, [], [], min(patience, default=None))
        # In this order: what it has said before it died is read after its death was seen.
        is_dead = death in ready or os.getppid() not in (0, parent)
        said, has_ended = _received(pipe)
        is_dead = is_dead or has_ended
        *lines, rest = (rest + said).split(b"\n")
        for line in lines:
            book.note(line)
        book.parent_is_dead = is_dead
        for name in [] if is_dead else book.overdue():
            _stop_soon(book, name)


def _stop_soon(book: Book, name: str) -> None:
    """Stop it in a thread: the parent may go on, or die, at any time."""
    entry = book.entries[name]
    at, entry.due, entry.is_being_stopped = entry.due or 0.0, None, True
    threading.Thread(target=_stop, args=(book, name, at), daemon=True).start()


def _stop(book: Book, name: str, at: float) -> None:
    entry = book.entries[name]
    options = book.groups[entry.group]

    def is_due() -> bool:
        # Once the parent says anything of its limit, it does move.
        return entry.is_open and entry.due is None and not book.parent_is_dead

    try:
        import asyncio

        from ._overdue import stop_overdue

        client = _client(options, _ledger(options))
        time.sleep(max(at - time.monotonic(), 0.0))
        if is_due():
            asyncio.run(stop_overdue(client, name, entry.text, is_due))
    except Exception:  # noqa: BLE001 (there is nobody to tell, and another attempt may fare better)
        if entry.due is None:  # nor has the parent said anything meanwhile
            entry.due = time.monotonic() + _LONGEST_PAUSE
    finally:
        entry.is_being_stopped = False


def _received(pipe: socket.socket) -> tuple[bytes, bool]:
    """All that was sent by now, and whether there is no more to come."""
    chunks: list[bytes] = []
    while True:
        try:
            chunk = pipe.recv(1 << 16)
        except BlockingIOError:
            return b"".join(chunks), False
        except OSError:
            chunk = b""
        if not chunk:
            return b"".join(chunks), True
        chunks.append(chunk)


def _death_of(parent: int) -> Any:
    """What can be read from once the parent is dead; `None` where the system offers nothing of the kind.

    The end of the pipe is not enough: a child that the parent has forked may hold it open.
    """
    system: Any = select  # which of the two there is depends on the system
    try:
        if hasattr(os, "pidfd_open"):
            return os.pidfd_open(parent)
        queue = system.kqueue()
        exits = system.kevent(parent, system.KQ_FILTER_PROC, system.KQ_EV_ADD, system.KQ_NOTE_EXIT)
        queue.control([exits], 0)
    except (AttributeError, OSError):
        return None
    return queue


# ---- after its death -----------------------------------------------------------------------------------


async def recover(book: Book) -> None:
    """Stop what is open, on all accounts at once."""
    import asyncio

    work: list[Coroutine[Any, Any, None]] = []
    for group, options in book.groups.items():
        if names := book.open_names(group):
            ledger = _ledger(options, _texts(book, group))
            staying = _staying(ledger, names)
            # Each by itself: what takes long to stop must not keep another from being stopped at its limit.
            work += [_recover(options, ledger, part) for part in (names - staying, *({name} for name in staying))]
    await asyncio.gather(*work, return_exceptions=True)


def _staying(ledger: Ledger, names: set[str]) -> set[str]:
    """Those whose instance stays up to a limit."""
    try:
        return {record.id for record in ledger.open_records() if record.id in names and record.is_kept}
    except Exception:  # noqa: BLE001 (then they are recovered with the others)
        return set()


def _texts(book: Book, group: str) -> list[str]:
    """What is in no folder."""
    return [entry.text for entry in book.entries.values() if entry.text is not None and entry.group == group]


def _ledger(options: Mapping[str, Any], texts: Iterable[str] = ()) -> Ledger:
    """The ledger of a client of the parent, with these journals that were in the parent's memory."""
    from pathlib import Path

    from ._journals import FolderLedger
    from ._ledgers import UsualLedger, memory_of
    from ._memory_ledger import MemoryLedger

    memory = memory_of(options["account"]) if options["place"] == "usual" else MemoryLedger()
    for text in texts:
        with contextlib.suppress(ValueError):  # one that can't be read must not keep the others from being stopped
            _remember(memory, text)
    if options["place"] == "usual":
        return UsualLedger(options["account"])
    return memory if options["place"] == "memory" else FolderLedger(Path(options["folder"]))


def _remember(memory: Ledger, text: str) -> None:
    from ._journal_lines import read_journal

    contents = read_journal(text.encode())
    journal = memory.begin(contents.intent)
    for claim in contents.claims:
        journal.claim(claim.instance_id, is_answered=claim.is_answered)
    if contents.is_kept:
        journal.keep(contents.bounds)
    if contents.ending is not None:
        journal.end(contents.ending)
    journal.let_go()


async def _recover(options: Mapping[str, Any], ledger: Ledger, names: Container[str]) -> None:
    """Stop the starts of these names, and look for those whose answer nobody lived to see."""
    import asyncio

    until, pause = time.monotonic() + _PERSISTENCE, _SHORTEST_PAUSE
    async with _client(options, ledger) as client:
        exchange = client._core.exchange
        while time.monotonic() < until and not _has_gone(exchange.transport, exchange.timeout):
            limits: list[float] = []
            with contextlib.suppress(Exception):  # there is nobody to tell, and the next look may fare better
                reaped = await _reap(client, names)
                left = await _left(client, names, reaped)
                if not left:
                    return
                limits = _until_limits(left)
                if not reaped.troubles:
                    until = max(until, time.monotonic() + _PERSISTENCE)
                if limits:  # no outage is a reason to miss them
                    until = max(until, time.monotonic() + _PERSISTENCE + max(limits))
            await asyncio.sleep(min([pause, *limits]))
            pause = min(pause * 1.5, _LONGEST_PAUSE)


def _has_gone(transport: Transport, timeout: float) -> bool:
    """Whether it leads to a server on this machine that has long been silent, for more than one request."""
    from yarl import URL

    from ._transport import is_loopback

    is_silent = time.monotonic() - transport.answered_at > _SILENCE_HERE + timeout
    return is_silent and is_loopback(URL(transport.base_url))


def _client(options: Mapping[str, Any], ledger: Ledger) -> Client:
    """One that reaches what a client of the parent does."""
    from .client import Client

    return Client(
        options["client_id"],
        options["client_secret"],
        base_url=options["base_url"],
        timeout=options["timeout"],
        proxy=options["proxy"] or False,
        ssl=_ssl_context(options["ssl"]),
        ledger=ledger,
    )


async def _reap(client: Client, names: Container[str]) -> Reaped:
    recovery = client._core.recovery
    return await client._core.jobs.submit(lambda: recovery.reap(only=names), bound=recovery.bound).wait()


async def _left(client: Client, names: Container[str], reaped: Reaped) -> list[StartRecord]:
    """The starts of which another look may tell more."""
    from .ledger import now

    # Somebody else may have been about to stop it, and may have been killed too.
    core = client._core
    records = await core.jobs.submit(core.ledger.open_records, bound=core.exchange.timeout).wait()
    # Where others start the same, what is possible never becomes certain; else it may have been a list that was wrong.
    told = {orphan.record for orphan in reaped.left if orphan.verdict == "possible"}
    return [
        record
        for record in records
        if record.id in names
        and (
            record.instance_id is not None
            or (
                (record.id not in told or record.intent.exclusive is not False)
                and (now() - record.began).total_seconds() < record.intent.late_window
            )
        )
    ]


def _until_limits(records: Iterable[StartRecord]) -> list[float]:
    """Seconds until what was to stay reaches its limit, where it still has to."""
    from .ledger import now

    limits = [record.bounds.limit_at for record in records if record.bounds.limit_at is not None]
    return [seconds for at in limits if (seconds := (at - now()).total_seconds()) > 0]


def _ssl_context(told: Mapping[str, Any] | None) -> SSLContext | None:
    """The parent's, as far as it could be told."""
    if told is None:
        return None
    import ssl

    context = ssl.create_default_context(cadata=told["authorities"] or None)
    context.check_hostname = told["check_hostname"]
    context.verify_mode = ssl.VerifyMode(told["verify_mode"])
    context.minimum_version = ssl.TLSVersion(told["minimum_version"])
    return context


if __name__ == "__main__":
    main()
