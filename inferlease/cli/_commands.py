"""The group of commands, and what becomes of their errors.

A command is imported when it is used: `--help` needs neither aiohttp nor rich.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import CompletionItem, add_completion_class

import inferlease
from inferlease.cli._advice import with_advice
from inferlease.cli._bash import ColonComplete
from inferlease.cli._lines import for_stream
from inferlease.cli._told import is_news
from inferlease.cli._wording import at_shell
from inferlease.errors import InferleaseError, InvalidArgumentError

__all__ = ["invoke"]

add_completion_class(ColonComplete)

COMMANDS = {
    "run": "Lease an instance, run a command with it, stop it again.",
    "start": "Start an instance that runs until you stop it.",
    "ps": "List the instances of the account.",
    "show": "Show all that is known of instances.",
    "watch": "Show what instances are doing, as it happens.",
    "stop": "Stop instances and wait until they are seen to be stopped.",
    "restart": "Start stopped instances again.",
    "rm": "Delete stopped instances.",
    "models": "List the models that can be served.",
    "hardware": "List hardware types, what is available, and prices.",
    "quote": "Tell what a model would cost, on each hardware type.",
    "balance": "Tell what is left on the account.",
    "costs": "Tell what leases have cost, by label, model, hardware or day.",
    "leases": "List the leases and starts that the ledger remembers.",
    "reap": "Find, and stop, what killed processes have left running.",
    "doctor": "Check credentials, keys, network, clock, ledger, orphans, balance.",
    "demo": "Lease an emulated instance and let it answer prompts.",
    "emulator": "Serve an emulator of the whole API.",
}
"""Each lives in the module of its name, with an underscore before it."""

EXIT_CODES = """
\b
Exit codes:
  0      done
  1      an error, told on stderr; or something may still be billed
  2      wrong usage, or several instances and nobody to ask
  126    the command of `run` can't be executed
  127    the command of `run` was not found
  128+n  ended by signal n, such as 130 after Ctrl-C
  141    whoever read stdout is gone
"""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"inferlease.cli._{cmd_name}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # The inherited one loads every command for its help.
        names = [CompletionItem(name, help=told) for name, told in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(inferlease.__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """Lease a dedicated LLM instance for as long as the work takes.

    Credentials come from CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET, the key for inference from
    INFERLEASE_INFERENCE_KEY; CORTECS_API_BASE_URL names another server.
    """


def invoke(arguments: list[str]) -> int:
    """Run the command that `arguments` name; returns the exit code. No exception leaves it."""
    stdout = sys.stdout
    try:
        code = commands.main(arguments, prog_name="inferlease", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        _complain(error.format_message())
        return error.exit_code
    except click.ClickException as error:
        _complain(f"error: {_with_help(error, arguments)}", *_notes(error))
        return error.exit_code
    except InferleaseError as error:
        told = [f"error: {with_advice(error)}"] if is_news(str(error)) else []
        _complain(*told, *_notes(error))
        return 2 if isinstance(error, InvalidArgumentError) else 1
    except SystemExit:
        if sys.stdout is stdout:
            raise  # of a completion
        return 141  # click has found that nobody reads stdout, as that of --help, and has put another in its place
    except click.Abort:  # Ctrl-C, before there was anything to release
        return 130
    except ModuleNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - a user gets one line whatever happens
        _complain(f"error: {type(error).__name__}: {error} ({_place(error)}); please report it", *_notes(error))
        return 1
    return code if isinstance(code, int) else 0


def _with_help(error: click.ClickException, arguments: Sequence[str]) -> str:
    """What it says, and of wrong usage what shows the right one."""
    said = error.format_message()
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return said
    if isinstance(error, click.MissingParameter) and error.ctx.info_name == "run" and "--" in arguments[:-1]:
        said = "Missing argument 'MODEL', which stands before --"
    if isinstance(error, click.NoSuchOption) and error.ctx.info_name == "run" and "--" not in arguments:
        said = f"{error.message.removesuffix('.')}: if it is one of COMMAND, put -- before COMMAND"
    return f"{said.removesuffix('.')} (see: {error.ctx.command_path} --help)"


def _notes(error: BaseException) -> list[str]:
    return [at_shell(note) for note in getattr(error, "__notes__", []) if is_news(note)]


def _place(error: BaseException) -> str:
    """The line that raised: what a report needs most of the traceback that is not shown."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else "unknown"


def _complain(*lines: str) -> None:
    if lines and sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(for_stream("\n".join(lines), sys.stderr) + "\n")
            sys.stderr.flush()
