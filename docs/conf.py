"""How sphinx makes the documentation: `nox -s docs`."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

from sphinx.ext.napoleon import Config, GoogleDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Inferlease"
author = "the Inferlease contributors"
release = version = version_of("inferlease")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
default_role = "code"  # docstrings are written with single backticks
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!inferlease\.).*"),  # other packages
    (r"py:.*", r"inferlease\.(.*\.)?[A-Z]"),  # type variables
    (r"py:.*", r"inferlease\.(.*\.)?_.*"),  # what is not ours to promise
]

smartquotes = False  # the reference of the commands has lines to copy

html_theme = "furo"
html_title = f"Inferlease {release}"
html_show_copyright = False
html_show_sphinx = False

myst_heading_anchors = 4  # as on GitHub, where these pages are read too

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 100

_GOOGLE_STYLE = Config(napoleon_use_ivar=True, napoleon_attr_annotations=False)
_EXAMPLE = re.compile(r"^( *)Example:$")


def _read_google_style(app: Sphinx, what: str, *described: Any) -> None:
    """What napoleon does as an extension, with two differences.

    That one takes the code of an example for prose, and the docstring of an attribute, up to a colon, for its type.
    """
    *about, lines = described
    text = [line for each in lines for line in _EXAMPLE.sub(r"\1Example::\n", each).split("\n")]
    kind = "method" if what in {"attribute", "property"} else what
    lines[:] = GoogleDocstring(text, _GOOGLE_STYLE, app, kind, *about).lines()


def _show_factories(_app: Sphinx, *described: Any) -> tuple[str | None, str | None]:
    """attrs has a sentinel where it makes a default anew each time."""
    *_, signature, returned = described
    return (signature.replace("NOTHING", "...") if signature else signature), returned


def _keep_brackets(_app: Sphinx, context: Any, lines: list[str]) -> None:
    """sphinx-click takes a bracket at either end of a metavar for one around it."""
    for metavar in [option.metavar for option in context.command.params if option.metavar]:
        lines[:] = [line.replace(f"<{metavar.strip('<[{($>]})')}>", f"<{metavar}>") for line in lines]


def setup(app: Sphinx) -> None:
    """Called by sphinx."""
    app.connect("autodoc-process-docstring", _read_google_style)
    app.connect("autodoc-process-signature", _show_factories)
    app.connect("sphinx-click-process-options", _keep_brackets)
