"""Names of models: `org/model` on Hugging Face, `org--model` in the API."""

from __future__ import annotations

import re

# Hugging Face's own rule for a part of a repository id. That a part neither starts nor ends with "-" is what
# makes the place of the separator in "a--b" certain.
_NAME_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")


def model_id_of(name: str) -> str:
    """The model id (`org--model`) of a model.

    Args:
        name: A Hugging Face name (`org/model`), or already a model id.

    Raises:
        ValueError: It is neither, or the place of the `/` would be ambiguous.
    """
    return "--".join(_name_parts(name))


def _name_parts(name: str) -> list[str]:
    parts = name.split("/") if "/" in name else name.split("--", 1)
    if len(parts) > 2 or any("--" in part or not _NAME_PART.fullmatch(part) for part in parts):
        shown = ascii(name if len(name) <= 100 else name[:100] + "...")
        raise ValueError(f"not a model name: {shown}; expected 'org/model' or 'org--model'")
    return parts


def shown_hf_name(model_id: str) -> str:
    """The Hugging Face name of whatever the server calls a model: shown, not refused."""
    return model_id.replace("--", "/", 1)
