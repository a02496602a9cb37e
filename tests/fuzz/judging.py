"""What may come out of a call, whatever the server answered."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

from inferlease import Client, InferleaseError, InstanceState
from tests.raw_server import SECRET, TOKEN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

KEY = "k3y-of-the-test"
LONGEST_MESSAGE = 3000


class Judge(logging.Handler):
    """Holds what a call returns, raises and logs to the same rules.

    Attributes:
        secrets: What must not be shown. A server can't echo what it was not sent yet.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.secrets: tuple[str, ...] = (SECRET, TOKEN, KEY)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    async def hear(self, client: Client, call: Awaitable[Any]) -> str:
        """Await `call`: valid data, or an InferleaseError fit to print. Returns which, by its type."""
        self._lines.clear()
        try:
            value = await call
        except InferleaseError as error:
            self._judge_error(error)
            outcome = type(error).__name__
        else:
            self._judge_value(client, value)
            outcome = "data"
        for line in self._lines:
            self._assert_is_fit_to_print(line)
        return outcome

    def _assert_is_fit_to_print(self, text: str) -> None:
        """One line that a terminal or log can show, of a bounded length and without a secret."""
        assert text.isprintable(), text[:500]
        assert len(text) <= LONGEST_MESSAGE
        self._assert_has_no_secret(text)

    def _assert_has_no_secret(self, text: str) -> None:
        for secret in self.secrets:
            assert secret not in text, text[:500]

    def _judge_error(self, error: InferleaseError) -> None:
        """Typed, told in one line, without secrets wherever a traceback would print them, and picklable."""
        assert str(error)
        self._assert_is_fit_to_print(str(error))
        for known in (error.request_id, error.instance_id):
            assert known is None or known.isprintable()
        for related in _chain(error):
            self._assert_has_no_secret(f"{related!s} {related!r}")
            for note in getattr(related, "__notes__", ()):
                self._assert_is_fit_to_print(note)
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (just pickled)
        assert (type(copy), str(copy)) == (type(error), str(error))

    def _judge_value(self, client: Client, value: Any) -> None:
        """Data that can be shown, compared, pickled, written as JSON would have it, and read back the same."""
        assert repr(value)
        for item in value if isinstance(value, list) else [value]:
            if item is None or type(item) is str:
                continue
            cls = InstanceState if isinstance(item, InstanceState) else type(item)
            assert client.converter.structure(client.converter.unstructure(item), cls) == item
            assert pickle.loads(pickle.dumps(item)) == item  # noqa: S301 (just pickled)
            if isinstance(item, InstanceState):
                assert repr(item).isprintable()
                assert item.progress is None or 0 <= item.progress <= 1
        for bad in getattr(value, "invalid", ()):
            assert bad.id is None or bad.id.isprintable()
            self._judge_error(bad.error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        related = waiting.pop()
        if related is not None and id(related) not in seen:
            seen.add(id(related))
            yield related
            waiting += [related.__cause__, related.__context__]
