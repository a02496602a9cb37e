"""Completion in bash, for which a colon ends a word."""

from __future__ import annotations

from click.shell_completion import BashComplete, CompletionItem

__all__ = ["ColonComplete"]


class ColonComplete(BashComplete):
    """Words with a colon are completed too.

    With a colon in `COMP_WORDBREAKS`, as by default, `a:b` arrives as the words `a`, `:` and `b`, and what is completed
    takes the place of the last one.
    """

    _split_off = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        joined: list[str] = []
        for word in (*args, incomplete):
            if joined and (word == ":" or joined[-1].endswith(":")):
                joined[-1] += word
            else:
                joined.append(word)
        whole = joined.pop()
        self._split_off = whole.removesuffix(incomplete) if incomplete != ":" else whole
        return joined, whole

    def format_completion(self, item: CompletionItem[str]) -> str:
        item.value = item.value.removeprefix(self._split_off)
        return super().format_completion(item)
