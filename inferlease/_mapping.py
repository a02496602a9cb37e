"""Objects that also read as the mapping they were on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from attrs import field, frozen

# Levels of what is kept as it came.
DEEPEST = 100


def is_deep(value: object) -> bool:
    """Whether `value`, as JSON, is nested so deep that comparing, showing or pickling it might fail."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


@frozen(slots=False, eq=False, repr=False)
class TypedMapping(Mapping[str, Any]):
    """An attrs object that also reads as the mapping it was on the wire.

    The declared keys come first and are always there, `None` where unknown; unknown keys follow, as they
    were. Equal to any mapping of the same items.
    """

    _extra: dict[str, Any] = field(factory=dict[str, Any], kw_only=True)

    def _declared(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_extra"}

    def _plain(self) -> dict[str, Any]:
        declared = self._declared()
        return {**declared, **self._extra, **declared}  # the order of the first, the values of the last

    def __getitem__(self, key: str) -> Any:
        return self._plain()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._plain())

    def __len__(self) -> int:
        return len(self._plain())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypedMapping):
            return self._plain() == other._plain()
        if isinstance(other, Mapping):
            return self._plain() == dict(cast("Mapping[object, object]", other))
        return NotImplemented

    def __repr__(self) -> str:
        shown = self._declared() | ({"extra": self._extra} if self._extra else {})
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
