"""What a forked child inherits is not its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.ledger.support import processes, the_record

if TYPE_CHECKING:
    from pathlib import Path

    from inferlease._journals import FolderLedger

FORKS = """
journal = ledger.begin(an_intent())
lock = ledger.try_lock("spec")
def in_child(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child
"""

LIVES_ON = f"""{FORKS}
in_child(lambda: (journal.let_go(), lock.release(), say("child"), sys.stdin.readline()))
sys.stdin.readline()
"""

REFUSES = f"""{FORKS}
def work():
    for use in (
        lambda: journal.claim("i", is_answered=True),
        lambda: journal.keep(Bounds()),
        lambda: journal.end("stopped"),
    ):
        try:
            use()
        except LedgerError as error:
            say(str(error))
    journal.let_go()
    own = ledger.begin(an_intent(spec="the child's"))
    own.claim("c", is_answered=True)
    own.end("stopped")
    say("done")
os.waitpid(in_child(work), 0)
say(journal.claim("p", is_answered=True))
sys.stdin.readline()
"""

MEMORY = """
from inferlease._memory_ledger import MemoryLedger
memory = MemoryLedger()
journal = memory.begin(an_intent())
lock = memory.try_lock("spec")
if os.fork() == 0:
    for use in (
        lambda: journal.claim("i", is_answered=True),
        lambda: journal.keep(Bounds()),
        lambda: journal.end("stopped"),
    ):
        try:
            use()
        except LedgerError as error:
            say(str(error))
    journal.let_go()
    say(memory.open_records()[0].owner)
    own = memory.try_lock("spec")
    lock.release()
    say(own is not None, memory.try_lock("spec") is None)
    os._exit(0)
sys.stdin.readline()
"""

STORM = """
import threading
done = threading.Event()
def begin():
    while not done.is_set():
        lock = ledger.try_lock("spec")
        ledger.open_records()
        lock.release()
worker = threading.Thread(target=begin)
worker.start()
children = []
for _ in range(40):
    child = os.fork()
    if child == 0:
        from inferlease._locked_files import _open_files
        inherited = [name for name in os.listdir("/proc/self/fd") if leads_to(name).endswith((".lock", ".jsonl"))]
        os._exit(len(inherited) + len(_open_files))
    children.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
worker.join()
say(children)
sys.stdin.readline()
"""

FORKS_IN_THE_MIDST = """
import threading
is_open, may_go_on, real = threading.Event(), threading.Event(), os.open
def slow(path, *how, **where):
    descriptor = real(path, *how, **where)
    if str(path).endswith(".new") and not is_open.is_set():
        is_open.set()
        may_go_on.wait()
    return descriptor
os.open = slow
beginning = threading.Thread(target=lambda: ledger.begin(an_intent()))
beginning.start()
is_open.wait()
if os.fork() == 0:
    sys.stdin.readline()
    os._exit(0)
may_go_on.set()
beginning.join()
say("begun")
sys.stdin.readline()
"""

LEADS_TO = """
def leads_to(name):
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        return ""
"""

BELONGS = "belongs to the process that this one was forked from"


def test_the_parent_owns_it_as_long_as_it_lives_and_no_longer(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, LIVES_ON) as (parent,):
        assert parent.hear() == ["child"]
        assert the_record(kept).owner == "alive"
        assert kept.try_lock("spec") is None
        parent.kill()
        assert the_record(kept).owner == "dead"
        assert kept.try_lock("spec") is not None
        assert kept.take_over(the_record(kept)) is not None


def test_a_child_that_was_forked_while_a_file_was_opened_keeps_no_lock(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, FORKS_IN_THE_MIDST) as (parent,):
        assert parent.hear() == ["begun"]
        assert the_record(kept).owner == "alive"
        parent.kill()
        assert the_record(kept).owner == "dead"


def test_a_child_writes_into_no_journal_but_its_own(folder: Path, kept: FolderLedger) -> None:
    with processes(folder, REFUSES) as (parent,):
        for _ in range(3):
            assert BELONGS in parent.hear()[0]
        assert parent.hear() == ["done"]
        assert parent.hear() == [True]
        record = the_record(kept)
        assert (record.owner, record.instance_id, record.is_kept) == ("alive", "p", False)


def test_a_child_has_no_part_in_what_is_in_memory(folder: Path) -> None:
    with processes(folder, MEMORY) as (parent,):
        for _ in range(3):
            assert BELONGS in parent.hear()[0]
        assert parent.hear() == ["alive"]
        assert parent.hear() == [True, True]


def test_a_child_keeps_no_descriptor_that_another_thread_was_opening(folder: Path) -> None:
    with processes(folder, LEADS_TO + STORM) as (parent,):
        assert parent.hear() == [[0] * 40]
