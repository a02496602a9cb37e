"""The generated modules are those that the generator makes of the async ones, and it knows what it does not know."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import inferlease
from inferlease._tools.gen_sync import generate, stale

PACKAGE = Path(inferlease.__file__).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package that may be edited."""
    package = tmp_path / "inferlease"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "emulator", "cli"))
    return package


def edit(package: Path, name: str, old: str, new: str) -> None:
    path = package / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def run_generator(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inferlease._tools.gen_sync", *arguments],
        cwd=package.parent,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def test_what_is_checked_in_is_what_would_be_generated() -> None:
    assert stale(PACKAGE) == []


def test_the_check_passes_where_nothing_is_stale(copy: Path) -> None:
    done = run_generator(copy, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_fails_where_an_async_module_was_edited(copy: Path) -> None:
    edit(copy, "account.py", "What is left on the account.", "What is still there.")
    done = run_generator(copy, "--check")
    assert done.returncode == 1
    assert done.stderr.startswith("inferlease/sync/account.py is stale: run `python -m inferlease._tools.gen_sync`")
    assert "still there" not in (copy / "sync" / "account.py").read_text(encoding="utf-8")


def test_the_check_fails_where_a_generated_module_was_edited(copy: Path) -> None:
    (copy / "sync" / "models.py").write_text("", encoding="utf-8")
    assert "models.py is stale" in run_generator(copy, "--check").stderr


@pytest.mark.parametrize("name", ["extra.py", "lease.py"])
def test_the_check_fails_where_a_file_is_too_many_or_missing(copy: Path, name: str) -> None:
    path = copy / "sync" / name
    if path.exists():
        path.unlink()
    else:
        path.touch()
    assert f"{name} is stale" in run_generator(copy, "--check").stderr


def test_generating_mends_all_of_that(copy: Path) -> None:
    edit(copy, "account.py", "What is left on the account.", "What is still there.")
    (copy / "sync" / "extra.py").touch()
    (copy / "sync" / "lease.py").unlink()
    assert run_generator(copy).returncode == 0
    assert stale(copy) == []
    assert "What is still there." in (copy / "sync" / "account.py").read_text(encoding="utf-8")


def test_every_generated_module_says_where_it_comes_from() -> None:
    for name, text in generate(PACKAGE).items():
        head = text.splitlines()[0]
        assert head == f"# Generated from inferlease/{name} by `python -m inferlease._tools.gen_sync`: do not edit."


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("    async def more(self, **ids: str) -> None: ...\n", "the signature of more"),
        ("    async def more(self, **options: str) -> None: ...\n", "the signature of more"),
        ("    async def more(self):\n        pass\n", "the signature of more"),
        ("    @staticmethod\n    def more() -> None: ...\n", "decorators ['staticmethod'] of more"),
        ("    async def more(self) -> list[Account]: ...\n", "no rule for the type list[Account]"),
        ("    async def more(self) -> Awaitable[int]: ...\n", "no rule for the type Awaitable[int]"),
        ("    async def more(self, on: Callable[[], None]) -> None: ...\n", "no rule for the type Callable"),
        ("    async def more(self) -> Unheard: ...\n", "where Unheard comes from is not known"),
        (
            '    async def more(self) -> None:\n        """Call it from a coroutine."""\n',
            "a docstring says 'coroutine'",
        ),
        ("    async def more(self, other: Instance) -> None: ...\n", "no rule for the type Instance"),
        ("    async def more(self, on: Hook) -> None: ...\n", "no rule for the type Hook"),
        ("    async def more(self) -> AsyncIterator[Instance]:\n        yield\n", "no rule for the type Instance"),
        ("    def more(self) -> Self: ...\n", "no rule for the type Self"),
        ("    def __len__(self) -> int: ...\n", "no rule for __len__"),
        ("    limit = 3\n", "a Assign in class Account"),
        ("    class Inner: ...\n", "a ClassDef in class Account"),
    ],
)
def test_a_construct_that_it_does_not_know_is_an_error(copy: Path, new: str, said: str) -> None:
    imports = "from inferlease.instances import Awaitable, AsyncIterator, Callable, Hook, Instance, Self\n"
    edit(copy, "account.py", "from ._core", f"{imports}from ._core")
    edit(copy, "account.py", "    async def balance(", f"{new}\n    async def balance(")
    done = run_generator(copy)
    assert done.returncode == 2
    assert done.stderr.startswith("gen_sync: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_only_checkers_import_is_imported_for_them_only(copy: Path) -> None:
    text = (copy / "sync" / "instances.py").read_text(encoding="utf-8")
    assert "\nif TYPE_CHECKING:\n    from openai import OpenAI\n" in text
    assert text.count("import OpenAI") == 1


def test_a_class_that_has_a_twin_takes_no_arguments(copy: Path) -> None:
    edit(copy, "instances.py", "    def openai(self) ->", "    def openai(self, name: str) ->")
    assert "no rule for the type AsyncOpenAI" in run_generator(copy).stderr


def test_a_public_attribute_of_a_client_without_a_type_is_an_error(copy: Path) -> None:
    edit(copy, "client.py", "        self.models: Models = Models(", "        self.models = Models(")
    assert "models has no type" in run_generator(copy).stderr


@pytest.mark.parametrize("line", ["class Account(Base):", "@final\nclass Account:"])
def test_a_base_or_decorator_that_it_does_not_know_is_an_error(copy: Path, line: str) -> None:
    edit(copy, "account.py", "class Account:", line)
    assert "of Account" in run_generator(copy).stderr


def test_a_default_that_is_not_ascii_stands_as_it_is(copy: Path) -> None:
    new = '    async def more(self, sign: str = "€") -> None: ...\n'
    edit(copy, "account.py", "    async def balance(", f"{new}\n    async def balance(")
    assert run_generator(copy).returncode == 0
    assert 'def more(self, sign: str = "€") -> None:\n' in (copy / "sync" / "account.py").read_text(encoding="utf-8")
