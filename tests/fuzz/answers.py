"""What a server may answer: right documents, documents with a few things wrong, any JSON, any bytes, any header."""

from __future__ import annotations

import copy
import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.raw_server import SECRET, TOKEN, TOKEN_CALL, instance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn, SearchStrategy

Path: TypeAlias = tuple[str | int, ...]

MODEL, MODEL_ID, HARDWARE = "org/model", "org--model", "NVIDIA_L4_1"

_PROGRESS = {"current_step": 3, "num_steps": 5, "description": "Loading"}
_RUNNING = instance(
    "i-1",
    "running",
    base_url="https://i-1.invalid/v1",
    worker_statuses=[{"init_progress": _PROGRESS}, {"init_progress": None}],
    instance_status={"status": "running", "started_at": "2026-01-02T03:04:05.678Z", "stopped_at": None},
)
_PREVIEW = {
    "model_id": MODEL_ID,
    "model_name": MODEL_ID,
    "hf_name": MODEL,
    "instant_provisioned": True,
    "creator": {"name": "org", "url": "https://org.invalid"},
    "description": "A model.",
    "screen_name": "Model",
    "size": 8030000000,
    "hardware_info": {"hardware_configs": [HARDWARE]},
}
_DETAIL = _PREVIEW | {
    "recommended_config": HARDWARE,
    "hardware_configs": {HARDWARE: {"params": {"--max-model-len": 16000}, "requirements": {}}},
}
_TYPES = [
    {
        "hardware_type_id": HARDWARE,
        "price_info": {"price_per_hour": 1.2, "price_per_minute": 0.02, "currency": "EUR"},
        "hardware_info": {"gpu_type": "NVIDIA L4", "num_gpus": 1, "gpu_ram_gb": 24},
    }
]

DOCUMENTS: dict[str, Any] = {
    TOKEN_CALL: {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600},
    "GET /user/balance": {"current_balance": 12.5, "currency": "EUR"},
    "GET /instances/": {"instances": [instance("i-7", "stopped"), instance("i-8", "running")]},
    "GET /instances/i-1": {"instance": _RUNNING},
    "POST /instances/start": {"message": "ok", "instance": instance("i-1")},
    "POST /instances/restart": {"message": "ok", "instance": instance("i-1")},
    "POST /instances/stop": {"message": "ok", "instance": instance("i-1", "stopped")},
    "POST /instances/stop-all": {"message": "ok", "instance_ids": ["i-8"]},
    "DELETE /instances/i-1": {"instance_id": "i-1"},
    "DELETE /instances/delete-all?force_deletion=false": {"instance_ids": ["i-7"]},
    "GET /models/": {"models": [_PREVIEW]},
    f"GET /models/{MODEL_ID}": {"model": _DETAIL},
    "GET /hardware-types/": {"hardware_types": _TYPES},
    "GET /hardware-types/available": {"hardware_types": _TYPES},
}
"""The right answer to every call, of an account with one stopped and one running instance beside `i-1`."""


def fuzzed(share: float = 1.0) -> settings:
    """Settings with `share` of the examples that the profile has for each test."""
    return settings(
        max_examples=max(1, round(settings.default.max_examples * share)),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# ---- JSON -------------------------------------------------------------------------------------------

DEEP = "@deep@"
"""Stands for a list nested as deep as the parser allows: no encoder would write it."""
_DEPTH = 1000

ODD_STRINGS = (
    "", " ", "\0", "\n", "a\r\nb: c", "\x1b[31mred", "\u202egnp", "\u2028", "\ud800", "é" * 300, "x" * 5000,
    "..", "../models", "%2e%2e", "a/b", "a?b", "delete-all", "stop-all", "i-1", "i-8", "None", "true", "5", "nan",
    "org--a--b", "running", "stopped", "hibernating", "http://", "http://[", "https://x:99999", "http://127.0.0.1:1",
    "https://\n", "2026-01-02", "2026-01-02T03:04:05", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
    "2026-W01-1T00", "2026-01-02T25:00:00Z", DEEP,
)  # fmt: skip
ECHOES = (SECRET, TOKEN, f"Bearer {TOKEN} {SECRET}", "x" * 280 + TOKEN)
"""What a server may say in messages, headers and pages; as data, it would be shown like any other."""
ODD_NUMBERS = (
    0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400, 0.0, -0.0, 0.5, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"),
)  # fmt: skip

strings = st.one_of(st.sampled_from(ODD_STRINGS), st.text(max_size=20))
numbers = st.one_of(st.sampled_from(ODD_NUMBERS), st.integers(), st.floats())
leaves = st.one_of(st.none(), st.booleans(), strings, numbers)
any_json = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=10,
)


def encode(value: object) -> bytes:
    """As JSON, or as near to it as `value` allows."""
    text = json.dumps(value).encode()
    return text.replace(json.dumps(DEEP).encode(), b"[" * _DEPTH + b"]" * _DEPTH)


def _places(value: object, path: Path = ()) -> Iterator[Path]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _container(document: Any, path: Path) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


@st.composite
def nearly(draw: DrawFn, document: Any) -> object:
    """`document` with one to three edits: a value replaced, a key missing, one too many, an item twice."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_places(document))))
        if not path:
            document = draw(any_json) if draw(st.integers(0, 9)) == 0 else document
            continue
        parent, key = _container(document, path), path[-1]
        edit = draw(st.sampled_from(["replace", "replace", "replace", "delete", "add", "twice"]))
        if edit == "replace":
            parent[key] = draw(any_json)
        elif edit == "delete":
            del parent[key]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]) if edit == "twice" else draw(any_json))
        else:
            parent[draw(strings)] = parent[key] if edit == "twice" else draw(any_json)
    return document


def bodies(call: str) -> SearchStrategy[bytes]:
    """Bodies of an answer to `call`: mostly nearly right."""
    document = DOCUMENTS[call]
    message = st.fixed_dictionaries({"message": st.sampled_from(ECHOES) | any_json})
    right = encode(document)
    return st.one_of(
        nearly(document).map(encode),
        nearly(document).map(encode),
        st.just(right),
        (message | any_json).map(encode),
        st.integers(0, len(right)).map(lambda end: right[:end]),
        st.binary(max_size=200),
        (strings | st.sampled_from(ECHOES)).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.sampled_from(
            [b"", b"<html>", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 2000, b"9" * 5000, b" " * 30_000]
        ),
    )


# ---- the rest of an answer --------------------------------------------------------------------------

statuses = st.one_of(
    st.just(200),
    st.just(200),
    st.sampled_from([200, 201, 202, 204, 206, 300, 301, 304, 307, 400, 401, 402, 403, 404, 407, 408, 409, 410, 418]),
    st.sampled_from([422, 425, 429, 451, 500, 501, 502, 503, 504, 507, 520, 599, 600, 999]),
    st.integers(200, 999),
)

_SPOKEN = {
    "Content-Type": (
        "application/json", "application/json; charset=utf-8", "APPLICATION/JSON;charset=\xff", "text/html", "",
        "application/problem+json", "application/json, text/html", ";", "/", "text/plain; charset=utf-7", TOKEN,
    ),
    "Retry-After": (
        "0", "1", "60", "nan", "inf", "-5", "1_000", "\u0663", "9" * 5000, "1.5", "+1", " 0 ", TOKEN, "0x1", "soon", "",
        "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 2037 00:00:00", "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 01 Jan 0001 00:00:00 +2359", "Mon, 99 Foo 99999 99:99:99 +9999", "1 Jan 70 0:0 EST", "0 Jan 0",
    ),
    "X-Request-Id": ("r-1", "", "\x1b[31m", "\x00", "r" * 5000, TOKEN, SECRET, "\xff\xfe"),
    "Content-Encoding": ("gzip", "deflate", "br", "zstd", "identity", "compress", "", "gzip, gzip", "x"),
    "Location": ("https://elsewhere.invalid/", "/", "", "http://[", "\xff"),
    "Set-Cookie": ("a=b", ";;;", "=", "\xff=\xff", f"t={TOKEN}; Domain=.invalid"),
    "WWW-Authenticate": ("Bearer", "Digest realm=\"x\", nonce=\"y\"", "", TOKEN),
}  # fmt: skip


def _values(name: str) -> SearchStrategy[str]:
    return st.sampled_from(_SPOKEN[name]) | st.text(st.characters(max_codepoint=255), max_size=30)


headers = st.fixed_dictionaries({}, optional={name: _values(name) for name in _SPOKEN})


def compressed(coding: str, body: bytes) -> bytes:
    """`body` as a server would send it with that content coding, if it knows it."""
    if coding == "gzip":
        return gzip.compress(body, 1)
    return zlib.compress(body) if coding == "deflate" else body
