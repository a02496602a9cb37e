"""What a guard is told, and how: nothing of it can be seen from outside."""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inferlease._guarded import told as told_of
from inferlease._guardian import READY, Book, _ssl_context, listen
from tests.faults import emulated
from tests.guard.support import (
    end,
    guarded,
    guards,
    ready,
    running,
    wait_for,
)
from tests.processes import environment
from tests.raw_server import client_tls

if TYPE_CHECKING:
    from inferlease.emulator import Emulator
    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at its guards through /proc")


@emulated(seconds_per_step=0.0)
def test_no_secret_is_in_its_arguments_its_environment_or_a_file(
    emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease.emulator.provisioning.CLIENT_SECRET", "a-very-secret-secret")
    variables = environment(emulator) | {
        "CORTECS_CLIENT_SECRET": "a-very-secret-secret",
        "OPENAI_API_KEY": "a-key-of-another-kind",
        "HTTPS_PROXY": "http://somebody:a-password@proxy.invalid",
    }
    open_file = "os.set_inheritable(os.open(sys.executable, os.O_RDONLY), True)"
    with running(emulator, guarded(before=open_file), env=variables) as parent:
        ready(parent)
        (guard,) = guards(parent.pid)
        tokens = {request.authorization.split()[1] for request in emulator.asked("get") if request.authorization}
        proc = Path(f"/proc/{guard}")
        shown = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        files = {int(each.name): str(each.readlink()) for each in (proc / "fd").iterdir()}
        end(parent)
    assert tokens
    for secret in ["a-very-secret-secret", "a-key-of-another-kind", "a-password", *tokens]:
        assert secret.encode() not in shown
    watched = files.pop(3)
    assert re.fullmatch(r"anon_inode:\[pidfd\]", watched)
    assert re.fullmatch(r"socket:\[\d+\]", files.pop(0))
    assert set(files.values()) == {"/dev/null"}
    assert sorted(files) == [1, 2]


@emulated(seconds_per_step=0.0)
def test_it_is_a_session_of_its_own_and_keeps_no_folder_busy(emulator: Emulator) -> None:
    with running(emulator, guarded()) as parent:
        ready(parent)
        (guard,) = guards(parent.pid)
        assert os.getsid(guard) == guard
        assert str(Path(f"/proc/{guard}/cwd").readlink()) == "/"
        end(parent)


@emulated(seconds_per_step=0.0)
def test_it_starts_beside_the_baseline_and_watches_before_the_start_is_sent(emulator: FaultyEmulator) -> None:
    with running(emulator, guarded()) as parent:
        with emulator.hold("list", "before") as listing:
            listing.wait_arrived()
            wait_for(lambda: guards(parent.pid))
        with emulator.hold("start", "before") as start:
            start.wait_arrived()
            (guard,) = guards(parent.pid)
            files = [str(each.readlink()) for each in Path(f"/proc/{guard}/fd").iterdir()]
            assert "anon_inode:[pidfd]" in files
        end(parent)


def test_an_authority_of_ones_own_is_passed_on() -> None:
    context = client_tls()
    told = told_of(context)
    assert told is not None
    made = _ssl_context(told)
    assert made is not None
    assert made.get_ca_certs(binary_form=True) == context.get_ca_certs(binary_form=True) != []
    assert (made.check_hostname, made.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_a_context_that_checks_nothing_is_passed_on() -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    told = told_of(context)
    assert told is not None
    made = _ssl_context(told)
    assert made is not None
    assert (made.check_hostname, made.verify_mode) == (False, ssl.CERT_NONE)


def test_what_a_parent_has_said_before_it_died_counts_and_half_a_line_does_not() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{"group": "0", "options": {}}\n{"journal": "one", "group": "0", "text": null}\n{"journ')
        book = Book()
        listen(ours, 0x7FFFFFFF, book)  # nobody's parent
        assert book.open_names("0") == {"one"}
        assert theirs.recv(10) == READY


def test_what_it_does_not_understand_is_an_error() -> None:
    with pytest.raises(ValueError, match="not known here"):
        Book().note(b'{"journal": "one", "ends": true}')
