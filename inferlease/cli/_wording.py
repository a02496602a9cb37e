"""Messages as they are read at a shell: for the arguments that the library names there are options and variables."""

from __future__ import annotations

import re

from inferlease.errors import GUARD_GOES_ON

__all__ = ["at_shell", "hide_stop_hints", "remember_model"]

# Not what is quoted, or part of a path into JSON.
_ARGUMENT = r"(?<![\w.'\"`]){}(?!\w)"
_STOP_HINT = r"; stop it with: inferlease stop [^\s;)]+"

_words: dict[str, str] = {
    r", or pass [a-z_ ]+ to Client\(\)": "",
    r"ledger=PATH or |ledger and (?=INFERLEASE_STATE_DIR)": "",
    r"^base_url\b": "CORTECS_API_BASE_URL",
    r"(?<=check the network and )base_url\b": "the address in CORTECS_API_BASE_URL",
    r"(?<=to wait longer, raise )timeout\b": "--timeout",
    r"(?<=to wait longer, raise )stall_timeout\b": "--stall-timeout",
    _ARGUMENT.format("hardware_type_id"): "--hardware-type",
    _ARGUMENT.format("label(?==)"): "--label",
} | {
    _ARGUMENT.format(name): "--" + name.replace("_", "-")
    for name in ("billing_interval", "context_length", "max_cost", "max_duration", "min_balance", "num_workers")
}


def at_shell(message: str) -> str:
    """`message`, with the options and variables for the arguments that it names, and models as they were typed."""
    for pattern, words in _words.items():
        message = re.sub(pattern, words, message)
    return message


def remember_model(typed: str) -> str:
    """Have a model be called what it was typed as, not by its id; returns what was typed."""
    if "/" in typed:
        model_id = re.escape(typed.replace("/", "--"))
        _words[rf"(?<![\w.-]){model_id}(?![\w-]|\.\w)"] = typed.replace("\\", r"\\")
    return typed


def hide_stop_hints() -> None:
    """Leave out how an instance is stopped by hand, or later on: its emulator ends with this command."""
    _words[_STOP_HINT] = ""
    _words[re.escape(GUARD_GOES_ON)] = "; it ends with its emulator"
