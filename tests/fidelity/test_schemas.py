"""What the document's schemas allow the library reads, and what they forbid it refuses."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import extend
from schemathesis.generation import GenerationMode

from inferlease import Client
from inferlease._auth import decode_token
from inferlease._convert import decode, decode_list
from inferlease._lookup import decode_ids
from inferlease._protocol import member, parse_json
from inferlease.emulator.schemas import ANSWERS, COMPONENTS
from inferlease.errors import DecodeError
from inferlease.objects import Balance, InstanceState, ModelDetail
from tests.fidelity.account import patient
from tests.fuzz.answers import DOCUMENTS, MODEL_ID
from tests.raw_server import TOKEN_CALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inferlease import Listing

CLIENT = Client()
LOOKUP, CONVERTER = CLIENT._core.lookup, CLIENT.converter


def whole(listing: Listing[Any]) -> Listing[Any]:
    """A listing all of whose items could be read."""
    if listing.invalid:
        raise listing.invalid[0].error
    return listing


READERS: dict[str, Callable[[object], object]] = {
    "token": decode_token,
    "balance": lambda payload: decode(CONVERTER, payload, Balance, "balance"),
    "list": lambda payload: whole(
        decode_list(CONVERTER, member(payload, "instances"), InstanceState, "instances", "instance_id", warned=set())
    ),
    **dict.fromkeys(("get", "start", "restart", "stop"), LOOKUP.decode_instance),
    **dict.fromkeys(("stop_all", "delete_all"), lambda payload: decode_ids(CONVERTER, payload)),
    "models": lambda payload: whole(CLIENT.models._decode(payload)),
    "model": lambda payload: decode(CONVERTER, member(payload, "model"), ModelDetail, "model"),
    **dict.fromkeys(("hardware_types", "available"), lambda payload: whole(CLIENT._core.prices.decode_types(payload))),
}
"""How the library reads each answer. That to a deletion it does not look at."""


def is_read(reader: Callable[[object], object], document: object) -> bool:
    try:
        reader(parse_json(json.dumps(document).encode()))
    except DecodeError:
        return False
    return True


GENERATED = schemathesis.openapi.from_dict(
    {
        "openapi": "3.1.0",
        "info": {
            "title": "Each answer as the body of a request: for those there are generators",
            "version": "1",
        },
        "paths": {
            f"/{name}": {
                "post": {
                    "requestBody": {"required": True, "content": {"application/json": {"schema": answer}}},
                    "responses": {"200": {"description": "Read."}},
                }
            }
            for name, answer in ANSWERS.items()
        },
        "components": {"schemas": COMPONENTS},
    }
)


def documents(name: str, mode: GenerationMode) -> st.SearchStrategy[Any]:
    """What the schema of an answer allows, or what it forbids."""
    cases = GENERATED[f"/{name}"]["POST"].as_strategy(generation_mode=mode)
    return cases.map(lambda case: case.body).filter(is_json)


def is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:  # a generator of wrong requests also makes bodies that are no JSON
        return False
    return True


EACH = pytest.mark.parametrize("name", READERS)

# As the decoder has it, 2.0 is no integer; to a JSON schema alone it is.
Strict = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)


def validator_of(name: str) -> Any:
    return Strict({**ANSWERS[name], "components": {"schemas": COMPONENTS}})


def test_every_answer_that_is_looked_at_has_a_schema_and_a_reader() -> None:
    assert set(ANSWERS) - set(READERS) == {"delete"}
    assert ANSWERS["delete"] == {}


@EACH
def test_what_a_schema_allows_is_read(name: str) -> None:
    validator = validator_of(name)

    @given(document=documents(name, GenerationMode.POSITIVE).filter(validator.is_valid))
    @patient
    def check(document: object) -> None:
        READERS[name](parse_json(json.dumps(document).encode()))

    check()


@EACH
def test_what_a_schema_forbids_is_refused(name: str) -> None:
    @given(document=documents(name, GenerationMode.NEGATIVE))
    @patient
    def check(document: object) -> None:
        assert not is_read(READERS[name], document)

    check()


def places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where something of a document can be replaced: everywhere but at its root."""
    if isinstance(document, dict | list):
        for step in document if isinstance(document, dict) else range(len(document)):
            yield (*path, step)
            yield from places(document[step], (*path, step))


MISSING = object()
WRONG: list[Any] = [
    MISSING, None, True, 0, -1, 2.5, 2.0, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, "", "5", "a/b", "Delete-All",
    "a..b", [], [None], [5], ["text"], {}, {"text": None}, {"text": {}}, {"params": []}, {"params": {}},
]  # fmt: skip

_MODEL = {"model_id": "org--model", "model_name": None, "size": 1}
_CONFIGS = {"NVIDIA_L4_1": {"params": {"a": 1}, "requirements": None}, "NVIDIA_L40S_1": None}
SAMPLES: dict[str, list[Any]] = {
    "token": [DOCUMENTS[TOKEN_CALL]],
    "balance": [DOCUMENTS["GET /user/balance"]],
    "list": [DOCUMENTS["GET /instances/"]],
    **{
        name: [{"instance": DOCUMENTS["GET /instances/i-1"]["instance"]}]
        for name in ("get", "start", "restart", "stop")
    },
    **{name: [{"instance_ids": ["i-7"]}, {"message": "None."}] for name in ("stop_all", "delete_all")},
    "models": [
        DOCUMENTS["GET /models/"],
        {"models": [_MODEL | {"hardware_configs": ["NVIDIA_L4_1"], "hardware_info": {}}]},
    ],
    "model": [
        DOCUMENTS[f"GET /models/{MODEL_ID}"],
        {"model": _MODEL | {"hardware_configs": ["NVIDIA_L4_1"], "configs": _CONFIGS}},
        {"model": _MODEL | {"hardware_info": {"hardware_configs": {"NVIDIA_L4_1": 1}}, "configs": _CONFIGS}},
        {"model": _MODEL | {"hardware_configs": _CONFIGS, "configs": 5, "hardware_info": 5}},
    ],
    **{name: [DOCUMENTS["GET /hardware-types/"]] for name in ("hardware_types", "available")},
}


def changed(document: Any, path: tuple[str | int, ...], wrong: Any) -> Any:
    made = copy.deepcopy(document)
    *way, last = path
    parent = made
    for step in way:
        parent = parent[step]
    if wrong is MISSING:
        del parent[last]
    else:
        parent[last] = wrong
    return made


@EACH
def test_with_one_thing_changed_the_schema_and_the_library_judge_alike(name: str) -> None:
    validator, seen = validator_of(name), Counter[bool]()
    for document in SAMPLES[name]:
        assert validator.is_valid(document)
        assert is_read(READERS[name], document)
        for path in places(document):
            for wrong in WRONG:
                if path[-1] in {"started_at", "stopped_at"} and isinstance(wrong, str):
                    continue  # the validator does not look at formats
                made = changed(document, path, wrong)
                is_allowed = validator.is_valid(made)
                assert is_read(READERS[name], made) == is_allowed, (path, wrong)
                seen[is_allowed] += 1
    assert seen[True]
    assert seen[False]
