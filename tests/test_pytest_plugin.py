"""The fixtures for users' own tests, as a suite of theirs sees them."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from inferlease.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable

    Suite = Callable[..., pytest.RunResult]

HEAD = """
import asyncio, sys, time
import pytest

MODEL = "meta-llama/Llama-3.1-8B-Instruct"

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""

runs_loops = pytest.mark.parametrize("runner", ["asyncio", "anyio"])


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Have all of the package imported here: what a suite within this process imports is forgotten with it."""
    with Emulator(seconds_per_step=0.0) as emulator, emulator.sync_client() as client:
        client.instances.list()


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    """Runs the tests of a text, with warnings as errors, in this process or in one of its own."""

    def run(text: str, *arguments: str, ini: str = "", in_process: bool = True) -> pytest.RunResult:
        pytester.makeini(f"[pytest]\nfilterwarnings = error\naddopts = --strict-markers --strict-config\n{ini}\n")
        pytester.makepyfile(test_suite=HEAD + text)
        # A plugin of event loops warns of what nobody has configured.
        flags = ("-W", "ignore::pytest.PytestDeprecationWarning", *arguments)
        return pytester.runpytest_inprocess(*flags) if in_process else pytester.runpytest_subprocess(*flags)

    return run


def test_pytest_finds_the_plugin() -> None:
    """Not so in an environment that was installed before there was one: install it again."""
    (found,) = (entry for entry in entry_points(group="pytest11") if entry.value == "inferlease.pytest_plugin")
    assert found.name == "inferlease"


def test_loading_the_plugin_imports_no_dependency(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others import anyio
    found = suite(
        """
def test_nothing(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("inferlease")
    assert {"aiohttp", "attrs", "attr", "cattrs", "anyio", "orjson"} & set(sys.modules) == set()
    assert {name for name in sys.modules if name.startswith("inferlease.")} == {"inferlease.pytest_plugin"}
""",
        "-p",
        "inferlease",
        in_process=False,
    )
    found.assert_outcomes(passed=1)


def test_a_suite_without_a_plugin_for_event_loops_is_served(suite: Suite) -> None:
    found = suite(
        """
def test_sync(inferlease_sync_client, no_leaks):
    with inferlease_sync_client.lease(MODEL):
        pass

def test_async(inferlease_client, no_leaks):
    async def main():
        async with inferlease_client.lease(MODEL):
            pass
    asyncio.run(main())
""",
        "-p",
        "no:asyncio",
        "-p",
        "no:anyio",
        in_process=False,
    )
    found.assert_outcomes(passed=2)


@runs_loops
def test_an_async_client_need_not_be_closed(suite: Suite, runner: str) -> None:
    found = suite(f"""
@pytest.mark.{runner}
async def test_reads(inferlease_client):
    assert await inferlease_client.instances.list() == []
""")
    found.assert_outcomes(passed=1)


def test_an_async_client_is_closed_in_a_loop_that_goes_on(suite: Suite) -> None:
    found = suite("""
@pytest.mark.asyncio(loop_scope="module")
async def test_reads(inferlease_client):
    await inferlease_client.instances.list()
    global transport
    transport = inferlease_client._transport

@pytest.mark.asyncio(loop_scope="module")
async def test_later():
    assert not transport.is_open
""")
    found.assert_outcomes(passed=2)


def test_an_async_client_may_be_entered(suite: Suite) -> None:
    found = suite("""
@pytest.mark.asyncio
async def test_enters(inferlease_client):
    async with inferlease_client as client:
        assert await client.instances.list() == []
""")
    found.assert_outcomes(passed=1)


def test_an_async_fixture_may_use_the_client_until_its_end(suite: Suite) -> None:
    found = suite("""
import pytest_asyncio

@pytest_asyncio.fixture
async def instance(inferlease_client):
    started = await inferlease_client.instances.start(MODEL)
    yield started
    await started.stop()

@pytest.mark.asyncio
async def test_uses_it(instance, no_leaks):
    await instance.wait_until_running()
""")
    found.assert_outcomes(passed=1)


def test_options_come_from_a_fixture(suite: Suite) -> None:
    found = suite("""
@pytest.fixture
def inferlease_emulator_options():
    return {"balance": 2.0}

def test_balance(inferlease_emulator):
    assert inferlease_emulator.books().balance == 2.0
""")
    found.assert_outcomes(passed=1)


def test_options_of_the_nearest_marker_come_first(suite: Suite) -> None:
    found = suite("""
pytestmark = pytest.mark.inferlease_emulator(balance=3.0)

@pytest.fixture
def inferlease_emulator_options():
    return {"balance": 2.0}

def test_of_the_module(inferlease_emulator):
    assert inferlease_emulator.books().balance == 3.0

@pytest.mark.inferlease_emulator(balance=4.0)
def test_of_its_own(inferlease_emulator):
    assert inferlease_emulator.books().balance == 4.0
""")
    found.assert_outcomes(passed=2)


def test_a_marker_without_keywords_is_refused(suite: Suite) -> None:
    found = suite("""
@pytest.mark.inferlease_emulator(0.5)
def test_options(inferlease_emulator): ...
""")
    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines(["*the marker inferlease_emulator takes keywords only*"])


@pytest.mark.parametrize("client", ["inferlease_client", "inferlease_sync_client"])
def test_clients_take_options(suite: Suite, client: str) -> None:
    found = suite(f"""
from inferlease import InvalidArgumentError

@pytest.fixture
def inferlease_client_options():
    return {{"timeout": -1}}

def test_options(request):
    with pytest.raises(InvalidArgumentError, match="timeout"):
        request.getfixturevalue("{client}")
""")
    found.assert_outcomes(passed=1)


@runs_loops
def test_a_leak_of_an_async_test_fails_it(suite: Suite, runner: str) -> None:
    found = suite(f"""
@pytest.mark.{runner}
async def test_leaks(inferlease_client, no_leaks):
    await inferlease_client.instances.start(MODEL)
""")
    found.assert_outcomes(passed=1, errors=1)


def test_a_leak_of_a_sync_test_fails_it_and_is_told(suite: Suite) -> None:
    found = suite("""
def test_leaks(inferlease_sync_client, no_leaks):
    inferlease_sync_client.instances.start(MODEL)
    time.sleep(0.3)
""")
    found.assert_outcomes(passed=1, errors=1)
    found.stdout.re_match_lines(
        [
            "1 instance was still billed at the end of the test:",
            r"  instance-\w+: \S+8B-Instruct on \w+, started (0\.[3-9]|\d+\.\d) s ago by test_suite\.py::test_leaks$",
            r"`with client\.lease\(\.\.\.\)`, or `async with`, stops its instance",
        ],
        consecutive=True,
    )


def test_without_no_leaks_a_leak_is_nobodys_business(suite: Suite) -> None:
    found = suite("""
def test_leaks(inferlease_sync_client):
    inferlease_sync_client.instances.start(MODEL)
""")
    found.assert_outcomes(passed=1)


def test_an_ini_option_asks_for_it_in_every_test(suite: Suite) -> None:
    found = suite(
        """
def test_leaks(inferlease_sync_client):
    inferlease_sync_client.instances.start(MODEL)

def test_has_no_emulator(): ...
""",
        ini="inferlease_no_leaks = true",
    )
    found.assert_outcomes(passed=2, errors=1)


def test_a_lease_that_only_the_end_of_the_client_releases_is_a_leak(suite: Suite) -> None:
    found = suite("""
LEASES = []

@pytest.mark.asyncio
async def test_leaks(inferlease_client, no_leaks):
    LEASES.append(inferlease_client.lease(MODEL))
    await LEASES[0].acquire()
""")
    found.assert_outcomes(passed=1, errors=1)
    found.stdout.fnmatch_lines(["*; its lease ended only when the fixture closed the client"])


@pytest.mark.parametrize("arguments", ["instance, no_leaks", "no_leaks, instance"])
def test_what_a_fixture_stops_at_its_end_is_no_leak(suite: Suite, arguments: str) -> None:
    found = suite(f"""
@pytest.fixture
def instance(inferlease_sync_client):
    with inferlease_sync_client.lease(MODEL) as instance:
        yield instance

def test_uses_it({arguments}): ...
""")
    found.assert_outcomes(passed=1)


def test_a_release_that_is_under_way_is_no_leak(suite: Suite) -> None:
    found = suite("""
@pytest.mark.asyncio
@pytest.mark.inferlease_emulator(seconds_per_step=60, stop_delay=0.3)
async def test_cancels(inferlease_emulator, inferlease_client, no_leaks):
    entering = asyncio.create_task(inferlease_client.lease(MODEL).acquire())
    while not inferlease_emulator.books().starts:
        await asyncio.sleep(0.01)
    for _ in range(2):  # the second one leaves the wait for the release
        entering.cancel()
        await asyncio.sleep(0.05)
""")
    found.assert_outcomes(passed=1)


def test_a_stop_that_nobody_has_seen_happen_is_a_leak(suite: Suite) -> None:
    found = suite("""
@pytest.mark.inferlease_emulator(stop_delay=60)
def test_leaks(inferlease_sync_client, no_leaks):
    inferlease_sync_client.instances.start(MODEL).stop()
""")
    found.assert_outcomes(passed=1, errors=1)
    found.stdout.fnmatch_lines(["*; asked to stop 0.? s ago, not stopped yet"])


def test_an_emulator_that_tests_share_is_judged_by_what_each_has_started(suite: Suite) -> None:
    found = suite("""
from inferlease.emulator import Emulator

@pytest.fixture(scope="module")
def inferlease_emulator():
    with Emulator(seconds_per_step=0.01) as emulator:
        yield emulator

@pytest.mark.usefixtures("no_leaks")
def test_leaks(inferlease_sync_client):
    inferlease_sync_client.instances.start(MODEL)

@pytest.mark.usefixtures("no_leaks")
def test_is_clean(inferlease_sync_client):
    with inferlease_sync_client.lease(MODEL):
        pass
""")
    found.assert_outcomes(passed=2, errors=1)
    found.stdout.fnmatch_lines(["*ERROR at teardown of test_leaks*", "*started * s ago by test_suite.py::test_leaks"])


def test_a_fault_of_the_test_does_not_keep_its_end_waiting(suite: Suite) -> None:
    found = suite("""
from inferlease.emulator import Fault

LEASES = []

@pytest.mark.inferlease_emulator(faults=[Fault("status_503", "stop")])
def test_never_stops(inferlease_sync_client):
    LEASES.append(inferlease_sync_client.lease(MODEL, release_timeout=1.0))
    LEASES[0].acquire()
""")
    found.assert_outcomes(passed=1)
