"""Development tasks: `nox` runs what a change must pass, `nox -l` lists everything."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import nox

nox.needs_version = ">=2026.4"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "typing_api", "docs", "tests"]

PYTHONS = ["3.11", "3.12", "3.13"]
PEERS = ["httpx", "requests", "cortecs-py==0.1.2", "pydantic", "msgspec"]
DEV = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
# What the fixtures of all tests need; and the tests that run with either major version of the package `openai`.
FIXTURES = ("aioresponses", "blockbuster", "hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")
OPENAI = ["tests/test_openai.py", "tests/emulator/test_inference.py"]
LANGCHAIN_TYPES = Path("tests/typing/langchain_models.py")


def fidelity(*names: str) -> list[str]:
    """The files of tests that need what only a session has; a plain run leaves out their folder."""
    return [f"tests/fidelity/test_{name}.py" for name in names]


def pinned(*names: str) -> list[str]:
    """The requirements of the `dev` extra that are for one of `names`."""
    return [line for line in DEV if re.split(r"[^\w-]", line)[0] in names]


def python_of(session: nox.Session) -> str:
    """The session's interpreter: pyright would take the one of `.venv`."""
    return str(Path(session.bin) / "python")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, and that the generated modules are what would be generated."""
    session.install(*pinned("ruff"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("python", "-m", "inferlease._tools.gen_sync", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, with mypy and pyright."""
    session.install("-e", ".[dev]", "pyright[nodejs]")
    session.run("mypy")
    session.run("pyright", "--pythonpath", python_of(session))


@nox.session
def typing_api(session: nox.Session) -> None:
    """Check a user's code against the package as it is installed, outside this folder."""
    session.install(".", *pinned("mypy"), "pyright[nodejs]")
    project, folder = Path.cwd(), Path(session.create_tmp())
    files = [path for path in (project / "tests" / "typing").glob("*.py") if path.name != LANGCHAIN_TYPES.name]
    copies = [Path(shutil.copy(path, folder)).name for path in files]
    session.chdir(folder)

    def check(*files: str) -> None:
        session.run("mypy", "--strict", *files)
        session.run("pyright", "--pythonpath", python_of(session), *files)
        session.run("pyright", "--pythonpath", python_of(session), "--verifytypes", "inferlease", "--ignoreexternal")

    # What an extra's types are made of is there in the second round only.
    check(*(name for name in copies if name != "openai_clients.py"))
    session.install(f"{project}[openai]")
    check(*copies)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation: no warning, and every link within it leads somewhere, to a file and an anchor."""
    session.install("-e", ".[docs]")
    pages = Path(session.create_tmp()) / "html"
    session.run("sphinx-build", "-W", "--keep-going", "-q", "docs", str(pages))
    # Curly quotes and en dashes, which a shell does not take: the reference of the commands is there to be copied.
    if typographic := set("\u201c\u201d\u2018\u2019\u2013") & set((pages / "cli.html").read_text(encoding="utf-8")):
        session.error(f"cli.html has {' '.join(sorted(typographic))}")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; an interpreter that is not installed is skipped, and nox says so."""
    session.install("-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def storms(session: nox.Session) -> None:
    """Run at full size what the tests run in short: many waiters, threads, forks and interrupts."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-m", "storm", "--storm=full", "-rP", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Run the loads of `docs/reliability.md` at full size, then beside them `cortecs-py`; or one load by its name."""
    session.install("-e", ".[dev]", "cortecs-py==0.1.2")
    if session.posargs:
        session.run("python", "-m", "tests.chaos.run", *session.posargs)
        return
    session.run("pytest", "tests/chaos", "--storm=full", "-rP")
    cortecs = ("--world", "cortecs")
    session.run("python", "-m", "tests.chaos.run", "ledger", "--seed", "1", *3 * cortecs)
    for load in ("cycles --seed 1", "foreign --seed 1", "kill", "signals --seed 1", "stop --releases 10"):
        session.run("python", "-m", "tests.chaos.run", *load.split(), *cortecs)


@nox.session
def clients(session: nox.Session) -> None:
    """Drive the emulator with clients that nobody here wrote: `cortecs-py`, `openai` 2, LangChain and its suite."""
    foreign = ("cortecs-py==0.1.2", "openai==2.*", "langchain-tests>=1.1")
    session.install("-e", ".[langchain]", *pinned(*FIXTURES, "mypy"), *foreign)
    session.run("mypy", "inferlease/integrations", str(LANGCHAIN_TYPES))
    session.run("pytest", "--asyncio-mode=auto", "--disable-recording", *OPENAI, *fidelity("cortecs_py", "langchain"))


@nox.session
def schemas(session: nox.Session) -> None:
    """Compare the emulator and the decoder with the OpenAPI document, 200 examples each; and `openai` 3 with both.

    The short form: `nox -s schemas -- --hypothesis-profile=documented-short`.
    """
    session.install("-e", ".", *pinned(*FIXTURES), "openai==3.*", "schemathesis==4.*", "jsonschema==4.*")
    profile = "--hypothesis-profile=documented"
    session.run("pytest", "-rP", "--timeout=600", profile, *OPENAI, *fidelity("openapi", "schemas"), *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Search for faults in rounds until the given number of seconds is over, by default ten minutes."""
    session.install("-e", ".[dev]")
    seconds = float(session.posargs[0]) if session.posargs else 600.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        session.run("pytest", "tests/fuzz", "--hypothesis-profile=fuzz", "--timeout=1800", *session.posargs[1:])


@nox.session
def mutants(session: nox.Session) -> None:
    """Change the modules that decide, one change at a time, and list what no test notices (`docs/mutants.md`)."""
    session.install("-e", ".[dev]", "mutmut==3.8.*")
    tree = Path(session.create_tmp()) / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("inferlease", "tests"):
        shutil.copytree(name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", tree)
    session.chdir(tree)
    session.run("mutmut", "run", *session.posargs)
    session.run("mutmut", "results")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the peers, which live in this session's environment only."""
    session.install(".[cli]", *PEERS)
    session.run("python", "benchmarks/run.py", *session.posargs)
