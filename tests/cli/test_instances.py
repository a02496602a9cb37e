"""`inferlease ps`, `show`, `start`, `restart`, `rm` and `watch`: what each does, beside what every verb has to."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from inferlease import APIError, InferleaseError, _lookup
from inferlease.cli import _rm, _upcoming
from inferlease.cli._instances import brief_duration
from inferlease.cli._remembered import Remembered
from tests.cli.support import A_LONG_ID, LONGEST_MODEL, MODEL, Tool, ended, read_until
from tests.faults import FaultyEmulator, edited, emulated, step

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from inferlease.cli._signals import Interrupts
    from inferlease.cli._terminal import Terminal
    from inferlease.sync import Client


@pytest.fixture
def account(emulator: FaultyEmulator) -> Iterator[Client]:
    """What the tool works on, seen from elsewhere."""
    with emulator.sync_client(poll_interval=0.02) as client:
        yield client


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_ps_leaves_out_what_is_stopped(tool: Tool, account: Client) -> None:
    live = account.instances.start(MODEL, num_workers=2).wait_until_running().instance_id
    stopped = account.instances.start(MODEL).stop().instance_id
    (row,) = rows(tool.run("ps", COLUMNS="40"))
    assert row[:2] + row[3:] == [live, "running", "2.40 EUR/h", "2 x NVIDIA_L4_1", MODEL]
    assert [row[:2] for row in rows(tool.run("ps", "-a"))] == [[live, "running"], [stopped, "stopped"]]
    assert tool.run("ps", "-q").stdout == f"{live}\n"


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (80, "at 20%  [0-9]{1,2}s +16.80 EUR/h  Meta-Lla…uct-FP8"),
        (130, f"pending 20%  [0-9]{{1,2}} s +16.80 EUR/h  8 x NVIDIA_L40S_1  {LONGEST_MODEL}"),
    ],
)
def test_ps_takes_one_line_for_each(
    tool: Tool, emulator: FaultyEmulator, account: Client, columns: int, row: str
) -> None:
    account.instances.start(LONGEST_MODEL, hardware_type_id="NVIDIA_L40S_1", num_workers=8)
    emulator.fault("list", edit=edited(instance_id=A_LONG_ID, status="pending", workers=[step(1)], base_url=None))
    _, terminal = tool.show("ps", columns=columns)
    (shown,) = [line.rstrip() for line in terminal.lines() if line.strip()][1:]
    assert re.fullmatch(f"{A_LONG_ID}  {row}", shown), shown


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "0s"), (0, "0s"), (119.9, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"), (10**8, "1157d"),
    ],
)  # fmt: skip
def test_a_brief_duration_is_short_and_never_looks_shorter_than_a_shorter_one(seconds: float, told: str) -> None:
    assert brief_duration(seconds) == told


def test_ps_overlooks_nothing_that_it_can_t_read(tool: Tool, emulator: FaultyEmulator, account: Client) -> None:
    instance = account.instances.start(MODEL)
    emulator.fault("list", edit=edited(args={"num_workers": "two"}), times=None)
    for arguments, printed in (("-q",), f"{instance.instance_id}\n"), ((), f"{instance.instance_id}\tunreadable\t"):
        done = tool.run("ps", *arguments)
        assert (done.returncode, done.stdout.startswith(printed)) == (1, True)
        assert done.stderr.startswith("warning: an item of a list cannot be read: instances[0].")
    _, terminal = tool.show("ps", columns=40)
    assert f"{instance.instance_id}\r\n  state unreadable" in terminal.shown


def test_ps_goes_on_without_prices(tool: Tool, emulator: FaultyEmulator, account: Client) -> None:
    account.instances.start(MODEL)
    emulator.fault("hardware_types", 503, times=None)
    done = tool.run("ps", hurried=True)
    assert (done.returncode, done.stderr, rows(done)[0][3]) == (0, "", "-")


def test_show_has_every_worker_and_the_address(tool: Tool, emulator: FaultyEmulator, account: Client) -> None:
    instance = account.instances.start(MODEL, num_workers=2).wait_until_running()
    emulator.fault("get", edit=edited(workers=[step(5, description="Running"), step(2)]))
    shown = tool.run("show", instance.instance_id).stdout
    assert f"base_url  {instance.base_url}\n" in shown
    assert re.search(r"^came up   [0-9-]{10} [0-9:]{8} \([0-9]+ s ago\)$", shown, re.MULTILINE), shown
    assert shown.endswith("worker 1  5/5 Running\nworker 2  2/5 Loading\n")


def test_show_tells_what_there_is_beside_what_there_is_not(tool: Tool, account: Client) -> None:
    instance = account.instances.start(MODEL)
    done = tool.run("show", "--json", "no-such-id", instance.instance_id)
    assert [each["instance_id"] for each in json.loads(done.stdout)] == [instance.instance_id]
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_start_prints_the_id_alone(tool: Tool, emulator: FaultyEmulator) -> None:
    done = tool.run("start", MODEL, "--num-workers", "2", "--hardware-type", "NVIDIA_L40S_1")
    (instance_id,) = emulator.books().instances
    assert done.stdout == f"{instance_id}\n"
    assert done.stderr == f"started, at most 4.20 EUR/h; stop it with: inferlease stop {instance_id}\n"


def test_a_person_is_shown_the_id_and_how_to_stop_it_once(tool: Tool, emulator: FaultyEmulator) -> None:
    code, terminal = tool.show("start", MODEL, "--wait")
    (instance_id,) = emulator.books().instances
    shown = [line for line in terminal.lines() if instance_id in line and "/v1" not in line]
    assert (code, shown) == (0, [instance_id, f"inferlease stop {instance_id}"])


def test_start_waits_on_demand(tool: Tool, emulator: FaultyEmulator) -> None:
    done = tool.run("start", MODEL, "--wait")
    assert done.stderr.splitlines()[1].startswith("usable after ")
    started = json.loads(tool.run("start", MODEL, "--wait", "--json").stdout)
    assert started["instance_status"]["status"] == "running"
    assert done.stderr.splitlines()[1].split(" at ")[1].startswith("http://127.0.0.1:")


@emulated(seconds_per_step=60.0)
def test_a_wait_that_is_over_tells_how_to_go_on(tool: Tool, emulator: FaultyEmulator) -> None:
    done = tool.run("start", MODEL, "--wait", "--timeout", "0.3")
    (instance_id,) = emulator.books().still_billed
    assert (done.returncode, done.stdout) == (1, f"{instance_id}\n")
    said = done.stderr.splitlines()[1]
    assert said.startswith(f"error: {instance_id}: it is not usable after 0.3 s")
    ways_out = f"inferlease watch --until usable {instance_id}, or to stop it: inferlease stop {instance_id}"
    assert said.endswith(f"; to go on waiting: {ways_out}")


@pytest.mark.asyncio
async def test_the_id_is_told_before_the_price_is_asked_for_in_vain(
    emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed, said = "", list[str]()

    async def never(_: object) -> None:
        nonlocal printed
        printed = capsys.readouterr().out
        await asyncio.Event().wait()

    monkeypatch.setattr(_upcoming, "_PRICE_PATIENCE", 0.05)
    monkeypatch.setattr(_upcoming, "prices", never)
    terminal, interrupts = SimpleNamespace(say=said.append), SimpleNamespace()
    async with emulator.client() as client:
        instance = await client.instances.start(MODEL)
        upcoming = _upcoming.Upcoming(None, wait=False, timeout=1.0, stall_timeout=None)
        await upcoming.follow(client, [instance], cast("Terminal", terminal), cast("Interrupts", interrupts))
    stop = f"inferlease stop {instance.instance_id}"
    assert printed == f"{instance.instance_id}\n"
    assert said == [f"started, price unknown; stop it with: {stop}"]


@pytest.mark.parametrize(("option", "printed"), [("--json", ""), ("-q", "{id}\n")])
def test_a_wait_that_fails_for_good_tells_what_is_billed(
    tool: Tool, emulator: FaultyEmulator, option: str, printed: str
) -> None:
    emulator.fault("get", 401, times=None)
    done = tool.run("start", MODEL, "--wait", option)
    (instance_id,) = emulator.books().still_billed
    billed, error = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, printed.format(id=instance_id))
    assert billed == f"still billed: {instance_id}; stop with: inferlease stop {instance_id}"
    assert error.startswith("error: ")
    assert "401" in error


def test_a_restart_after_which_credentials_are_refused_tells_what_is_billed(
    tool: Tool, emulator: FaultyEmulator, account: Client
) -> None:
    ids = [account.instances.start(MODEL).stop().instance_id for _ in range(2)]
    emulator.fault("restart", 401, handled=False)  # of one of both
    emulator.fault("token", edit=lambda content: content)
    emulator.fault("token", 401, times=None)
    done = tool.run("restart", "-y", *ids)
    (instance_id,) = emulator.books().still_billed
    billed, error = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert billed == f"still billed: {instance_id}; stop with: inferlease stop {instance_id}"
    assert error.startswith("error: the client id and secret were not accepted")


def test_a_start_that_is_interrupted_tells_what_became_of_it(tool: Tool, emulator: FaultyEmulator) -> None:
    with emulator.hold("start", "unanswered") as hold:
        terminal = tool.start_at_terminal("start", LONGEST_MODEL)
        hold.wait_arrived(20)
        terminal.type("\x03")
        terminal.read_until("waiting for the answer")
        hold.release()
        assert terminal.wait() == 130
    (instance_id,) = emulator.books().instances
    assert [line for line in terminal.lines() if line][-3:] == [
        "waiting for the answer to the start of",
        f"{LONGEST_MODEL}, to stop it",
        f"{instance_id} is stopped",
    ]
    assert emulator.books().still_billed == []


@emulated(seconds_per_step=60.0)
def test_a_wait_that_is_interrupted_tells_what_is_billed(tool: Tool, emulator: FaultyEmulator) -> None:
    start = tool.start("start", MODEL, "--wait")
    read_until(start.stdout, "instance-")
    start.send_signal(signal.SIGINT)
    code, said = ended(start)
    (instance_id,) = emulator.books().still_billed
    assert code == 130
    told = f"still billed: {instance_id}; stop with: inferlease stop {instance_id}"
    assert said.splitlines()[-1] == f"SIGINT: ending; {told}"


def test_a_start_whose_id_nobody_reads_tells_it(tool: Tool, emulator: FaultyEmulator) -> None:
    start = tool.start("start", "--quiet", MODEL)
    assert start.stdout is not None
    start.stdout.close()
    start.stdout = None
    assert start.stderr is not None
    said = start.stderr.read()
    (instance_id,) = emulator.books().still_billed
    assert (start.wait(), said) == (
        141,
        f"still billed: {instance_id}; stop with: inferlease stop {instance_id}\n",
    )


def test_restart_starts_what_is_stopped(tool: Tool, emulator: FaultyEmulator, account: Client) -> None:
    ids = [account.instances.start(MODEL).stop().instance_id for _ in range(2)]
    done = tool.run("restart", "--yes", "--wait", *ids)
    assert (done.returncode, done.stdout.splitlines()) == (0, ids)
    assert sorted(emulator.books().still_billed) == sorted(ids)
    assert [instance.is_usable for instance in account.instances.list()] == [True, True]


def test_restart_says_of_what_runs_that_it_did_already(tool: Tool, account: Client) -> None:
    instance_id = account.instances.start(MODEL).instance_id
    done = tool.run("restart", instance_id)
    assert (done.returncode, done.stdout) == (0, f"{instance_id}\n")
    assert done.stderr == f"runs already, at most 1.20 EUR/h; stop it with: inferlease stop {instance_id}\n"


def test_rm_refuses_what_runs_and_says_how(tool: Tool, account: Client) -> None:
    instance = account.instances.start(MODEL)
    done = tool.run("rm", instance.instance_id)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {instance.instance_id}: it is {instance.instance_status.status}, and only what is stopped is deleted: "
        f"inferlease stop {instance.instance_id}, or --force\n"
    )
    assert len(account.instances.list()) == 1


@emulated(stop_delay=0.3)
def test_rm_stops_first_on_demand(tool: Tool, emulator: FaultyEmulator, account: Client) -> None:
    instance = account.instances.start(MODEL)
    done = tool.run("rm", "--force", instance.instance_id)
    assert (done.returncode, done.stderr.startswith(f"{instance.instance_id}: deleted")) == (0, True)
    assert account.instances.list() == []
    assert emulator.books().still_billed == []


@pytest.mark.asyncio
async def test_rm_finds_what_is_gone_as_stop_does(emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """By lists, where a server answers 400 instead of 404."""
    monkeypatch.setattr(_lookup, "LIST_INTERVAL", 0.0)
    emulator.fault("get", 400, times=None)
    async with emulator.client() as client:
        remembered = Remembered(client)
        with pytest.raises(InferleaseError, match="there is no such instance, and nothing was deleted"):
            await _rm._removed(client, "instance-unknown", remembered, force=False, timeout=1.0)
        listed = await client.instances.start(MODEL)
        with pytest.raises(APIError, match="400"):
            await _rm._removed(client, listed.instance_id, remembered, force=True, timeout=1.0)


@emulated(seconds_per_step=0.2)
def test_watch_tells_each_change_until_the_stop(tool: Tool, account: Client) -> None:
    instance = account.instances.start(MODEL)
    watch = tool.start("watch", instance.instance_id)
    seen = read_until(watch.stdout, "running").splitlines()
    assert [line.split("\t")[0] for line in seen] == [instance.instance_id] * len(seen)
    instance.stop()
    assert read_until(watch.stdout, "stopped")
    assert ended(watch) == (0, "")


@emulated(seconds_per_step=60.0)
def test_watch_until_usable_fails_if_it_stops_before(tool: Tool, account: Client) -> None:
    instance = account.instances.start(MODEL)
    watch = tool.start("watch", "--until", "usable", instance.instance_id)
    read_until(watch.stdout, "pending")
    instance.stop()
    assert ended(watch) == (1, f"error: {instance.instance_id}: it stopped before it was usable\n")


@emulated(seconds_per_step=60.0)
def test_a_signal_ends_a_watch_without_a_word(tool: Tool, account: Client) -> None:
    watch = tool.start("watch", "--json", account.instances.start(MODEL).instance_id)
    (line,) = read_until(watch.stdout, "pending").splitlines()
    assert json.loads(line)["state"] == "pending"
    watch.send_signal(signal.SIGINT)
    assert ended(watch) == (130, "")


@emulated(seconds_per_step=60.0)
def test_a_watch_ends_with_its_reader(tool: Tool, account: Client) -> None:
    watch = tool.start("watch", account.instances.start(MODEL).instance_id)
    read_until(watch.stdout, "pending")
    assert watch.stdout is not None
    watch.stdout.close()
    watch.stdout = None
    assert ended(watch) == (141, "")


@emulated(seconds_per_step=0.2)
def test_a_person_who_watches_sees_a_bar_for_each_worker_of_each(tool: Tool, account: Client) -> None:
    ids = [account.instances.start(MODEL, num_workers=2).instance_id for _ in range(2)]
    watch = tool.start_at_terminal("watch", "--until", "usable", *ids)
    assert watch.wait() == 0
    bars = {line.partition(" ━")[0] for line in watch.lines() if " ━" in line}
    assert {f"{instance_id} {number}" for instance_id in ids for number in (1, 2)} <= bars
    assert all(f"{instance_id}: running" in watch.shown for instance_id in ids)
    assert "Ctrl-C ends the watch" not in watch.shown


def test_a_watch_of_what_there_is_not_says_nothing_but_that(tool: Tool) -> None:
    code, terminal = tool.show("watch", "nope", columns=200)
    said = [line for line in terminal.lines() if line.strip() and not line.startswith("looking")]
    assert (code, [line.partition(";")[0] for line in said]) == (1, ["error: nope: there is no such instance"])


def test_a_person_is_told_how_a_watch_ends(tool: Tool, account: Client) -> None:
    watch = tool.start_at_terminal("watch", account.instances.start(MODEL).instance_id)
    watch.read_until("until it stops; Ctrl-C ends the watch")
    watch.read_until(": running")
    watch.type("\x03")
    assert watch.wait() == 130
