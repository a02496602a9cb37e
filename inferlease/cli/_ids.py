"""Ids of instances: named or piped in, and the question before more than one is acted upon."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeGuard, TypeVar

import click
from click.exceptions import Exit

from inferlease import AuthenticationError, ConfigurationError, InferleaseError
from inferlease._printing import printable
from inferlease.cli._advice import Goal, with_advice
from inferlease.cli._completion import complete_instances
from inferlease.cli._lines import for_stream
from inferlease.cli._terminal import Terminal

__all__ = ["confirm", "distinct", "each", "id_arguments", "yes_option"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def id_arguments(complete: Any = complete_instances) -> Callable[[F], F]:
    """The argument `ID...` of a command; what it is given is to go through `distinct`."""
    return click.argument("instance_ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete)


# Errors that are the same for every instance: they are told once.
_OF_ALL = (AuthenticationError, ConfigurationError)

yes_option = click.option("-y", "--yes", is_flag=True, help="Don't ask before more than one instance is acted upon.")


def distinct(instance_ids: Sequence[str]) -> list[str]:
    """Each id once, in their order; `-` stands for those that stdin has, one a line.

    Raises:
        UsageError: A line of stdin is no id.
    """
    found: dict[str, None] = {}
    for instance_id in instance_ids:
        found |= dict.fromkeys(_piped() if instance_id == "-" else [instance_id])
    return list(found)


def _piped() -> list[str]:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed: there are no ids to read")
    lines = [line.strip() for line in sys.stdin.buffer.read().decode(errors="replace").splitlines()]
    for number, line in enumerate(lines, 1):
        if len(line.split()) > 1:
            raise click.UsageError(
                f"line {number} of stdin is no id: {printable(line, 40)!r}; only ids are listed by: inferlease ps -q"
            )
    return [line for line in lines if line]


def confirm(what: str, instance_ids: Sequence[str], *, yes: bool) -> None:
    """Ask whether to do `what` to all of several instances.

    Raises:
        ClickException: The answer is no.
        UsageError: There is no terminal to ask at.
    """
    if yes or len(instance_ids) < 2:
        return
    answer = _ask(f"{what} {len(instance_ids)} instances: {printable(', '.join(instance_ids))}? [y/N]")
    if answer is None:
        raise click.UsageError(
            f"{len(instance_ids)} instances are named, and there is no terminal to ask at: -y answers yes"
        )
    if answer.strip().lower() not in ("y", "yes"):
        raise click.ClickException("not confirmed: nothing was done")


def _ask(question: str) -> str | None:
    """What a person answers; `None` if there is nobody, or this process is not the one that the person talks to."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    try:
        # Not stdin: the ids may come from there.
        with open("/dev/tty", encoding="utf-8", errors="replace") as terminal:  # noqa: PTH123 - it is no file
            if os.tcgetpgrp(terminal.fileno()) != os.getpgrp():
                return None
            sys.stderr.write(for_stream(question, sys.stderr) + " ")
            sys.stderr.flush()
            answer = terminal.readline()
            if not answer:  # Ctrl-D leaves the cursor where it is
                sys.stderr.write("\n")
            return answer
    except OSError:
        return None


async def each(
    instance_ids: Sequence[str],
    act: Callable[[str], Awaitable[T]],
    terminal: Terminal,
    *,
    goal: Goal | None = None,
) -> tuple[list[T], int]:
    """Do `act` with all at the same time: what came of those that succeeded, and the exit code.

    What one fails of is told with its id, and keeps no other from being done. `goal` is what `act` waits for.

    Raises:
        ConfigurationError: There are no credentials, so that none succeeds.
        AuthenticationError: They were not accepted.
        Exception: What nobody foresaw, once all others are done; at once if stdout can't be written.
    """
    succeeded: dict[str, T] = {}

    async def attempt(instance_id: str) -> Exception | None:
        try:
            succeeded[instance_id] = await act(instance_id)
        except (Exit, click.ClickException):
            raise
        except Exception as error:  # noqa: BLE001 - it is raised below
            if _is_its_own(error):
                told = re.sub(rf"^instance {re.escape(instance_id)} ", "it ", with_advice(error, goal))
                told = told.replace(
                    f"there is no instance {printable(instance_id, 80)};", "there is no such instance;", 1
                )
                terminal.say(f"error: {printable(instance_id, 80)}: {told}")
            return error
        return None

    errors = await asyncio.gather(*map(attempt, instance_ids))
    for error in errors:
        if error is not None and not _is_its_own(error):
            raise error
    return [succeeded[instance_id] for instance_id in instance_ids if instance_id in succeeded], int(any(errors))


def _is_its_own(error: Exception) -> TypeGuard[InferleaseError]:
    """Whether it is an error of one instance, which says nothing of the others."""
    return isinstance(error, InferleaseError) and not isinstance(error, _OF_ALL)
