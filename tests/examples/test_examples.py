"""Each example does what it says, as a user would start it, and leaves nothing that is billed."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import nbclient
import nbformat
import openai
import pytest

from inferlease.emulator import expected_answer
from tests.emulator.support import until
from tests.processes import environment, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from inferlease import Client
    from tests.faults import FaultyEmulator

EXAMPLES = Path(__file__).parents[2] / "examples"
SQUARES = [expected_answer(f"What is {number} squared?") for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the examples, which may write beside themselves."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples"))


def run(emulator: FaultyEmulator, program: Path, stdin: str = "") -> list[str]:
    """The lines that a program prints."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", program],
        input=stdin,
        env=environment(emulator),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def test_async_app(emulator: FaultyEmulator) -> None:
    said = run(emulator, EXAMPLES / "async_app.py")
    assert [line for line in said if line in SQUARES] == SQUARES[:20]
    assert said[0].startswith("pending: ")
    assert said[-1].startswith("at most ")
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


def test_sync_script(emulator: FaultyEmulator) -> None:
    said = run(emulator, EXAMPLES / "sync_script.py", "Say hello.\n\nSay goodbye.\n")
    assert said == [expected_answer("Say hello."), expected_answer("Say goodbye.")]
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


def test_sync_script_tells_an_error_in_one_line(emulator: FaultyEmulator) -> None:
    emulator.fault("start", 402, handled=False)
    with pytest.raises(AssertionError, match=r"error: .*402"):
        run(emulator, EXAMPLES / "sync_script.py", "Say hello.\n")


def test_notebook(emulator: FaultyEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(emulator).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=40, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = json.dumps([cell.get("outputs") for cell in notebook.cells])
    assert expected_answer("Say hello.") in shown
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


def test_notebook_is_kept_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4).cells if "outputs" in cell]
    assert cells
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None] == []


def test_fastapi_app(emulator: FaultyEmulator, folder: Path) -> None:
    with serving(emulator, folder, "uvicorn", "--fd", "FD", "fastapi_app:app") as url:
        body = json.dumps({"text": "Say hello."}).encode()
        question = Request(url + "ask", body, {"Content-Type": "application/json"})  # noqa: S310 - the server's own
        with urlopen(question, timeout=30) as response:  # noqa: S310 - as above
            assert json.load(response) == {"text": expected_answer("Say hello.")}
        assert len(emulator.books().still_billed) == 1
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


def test_prefork(emulator: FaultyEmulator, folder: Path) -> None:
    with serving(emulator, folder / "prefork", "gunicorn", "--workers", "2", "--bind", "fd://FD", "application") as url:
        for question in ("Say hello.", "Say goodbye."):
            with urlopen(f"{url}?{urlencode({'q': question})}", timeout=30) as response:  # noqa: S310 - the server's own
                assert response.read().decode() == expected_answer(question)
    assert 1 <= emulator.books().starts <= 2  # the second worker may have been ended before its lease
    assert emulator.books().still_billed == []


def test_celery_task(emulator: FaultyEmulator, folder: Path) -> None:
    calling = "import tasks; print(*tasks.answer.delay(['Say hello.', 'Say goodbye.']).get(timeout=45), sep='\\n')"
    celery = [sys.executable, "-m", "celery", "--app", "tasks", "worker", "--concurrency", "1", "--without-mingle"]
    here = {"cwd": folder / "celery_tasks", "env": environment(emulator), "text": True}
    worker = subprocess.Popen(celery, stderr=subprocess.DEVNULL, start_new_session=True, **here)
    try:
        answers = subprocess.check_output([sys.executable, "-c", calling], timeout=50, **here)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)  # its own end takes seconds, with nothing to do
        worker.wait()
    assert answers.splitlines() == [expected_answer("Say hello."), expected_answer("Say goodbye.")]
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


def test_shared_instance(emulator: FaultyEmulator) -> None:
    assert run(emulator, EXAMPLES / "shared_instance.py") == SQUARES
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`shared_instance.py` as a module, which gives an instance up soon."""
    monkeypatch.syspath_prepend(EXAMPLES)
    module = importlib.import_module("shared_instance")
    monkeypatch.setattr(module, "IDLE", 0.05)
    return module


@asynccontextmanager
async def served(client: Client, worker: ModuleType) -> AsyncIterator[asyncio.Queue[Any]]:
    jobs: asyncio.Queue[Any] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:  # what ends the worker ends the test
        task = group.create_task(worker.serve(client, jobs))
        yield jobs
        task.cancel()


@pytest.mark.asyncio
@pytest.mark.async_only(reason="the example is one for asyncio")
@pytest.mark.may_block(reason="what the openai package imports with its first client reads files")
@pytest.mark.usefixtures("world")
async def test_shared_instance_is_given_up_while_there_is_nothing_to_do(
    client: Client, emulator: FaultyEmulator, worker: ModuleType
) -> None:
    async with served(client, worker) as jobs:
        assert emulator.books().starts == 0
        for wave in (1, 2):
            answers = await asyncio.gather(*(worker.ask(jobs, f"What is {number} squared?") for number in range(40)))
            assert answers == SQUARES
            assert emulator.books().starts == wave
            await until(lambda: not emulator.books().still_billed)


@pytest.mark.asyncio
@pytest.mark.async_only(reason="the example is one for asyncio")
@pytest.mark.may_block(reason="what the openai package imports with its first client reads files")
@pytest.mark.usefixtures("world")
async def test_shared_instance_takes_jobs_while_one_takes_longer_than_it_may_be_idle(
    client: Client, emulator: FaultyEmulator, worker: ModuleType
) -> None:
    async with served(client, worker) as jobs:
        with emulator.hold("inference", "before", skip=1) as hold:  # after the probe
            slow = asyncio.create_task(worker.ask(jobs, "Say hello."))
            await hold.arrived_async(20)
            await asyncio.sleep(4 * worker.IDLE)
            assert await worker.ask(jobs, "Say goodbye.") == expected_answer("Say goodbye.")
        assert await slow == expected_answer("Say hello.")
        assert emulator.books().starts == 1


@pytest.mark.asyncio
@pytest.mark.async_only(reason="the example is one for asyncio")
@pytest.mark.may_block(reason="what the openai package imports with its first client reads files")
@pytest.mark.usefixtures("world")
async def test_shared_instance_tells_a_job_its_own_error_only(
    client: Client, emulator: FaultyEmulator, worker: ModuleType
) -> None:
    async with served(client, worker) as jobs:
        assert await worker.ask(jobs, "Say hello.") == expected_answer("Say hello.")
        emulator.fault("inference", 400, handled=False)
        with pytest.raises(openai.BadRequestError):
            await worker.ask(jobs, "Say hello.")
        assert await worker.ask(jobs, "Say hello.") == expected_answer("Say hello.")
        assert emulator.books().starts == 1
    assert emulator.books().still_billed == []
