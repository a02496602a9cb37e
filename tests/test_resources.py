"""Models, hardware types and the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from inferlease import (
    AuthenticationError,
    Balance,
    Client,
    ConfigurationError,
    DecodeError,
    HardwareConfig,
    InvalidArgumentError,
    ModelDetail,
    ModelPreview,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
)
from inferlease.emulator.catalogue import HARDWARE_TYPES, MODELS
from tests.faults import MODEL, MODEL_ID, FaultyEmulator, emulated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from inferlease.emulator import Operation

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]


# ---- models -----------------------------------------------------------------------------------------


async def test_models_are_listed_as_previews(client: Client) -> None:
    models = await client.models.list()
    assert {model.model_id for model in models} == set(MODELS)
    assert {type(model) for model in models} == {ModelPreview}
    (model,) = [model for model in models if model.hf_name == MODEL]
    assert model.hardware_configs == ["NVIDIA_L4_1", "NVIDIA_L40S_1"]
    assert model.creator == {"name": "Alibaba Cloud", "url": "https://huggingface.co/Qwen"}


@pytest.mark.parametrize("name", [MODEL, MODEL_ID])
async def test_a_model_is_found_by_either_name(client: Client, emulator: FaultyEmulator, name: str) -> None:
    model = await client.models.get(name)
    assert type(model) is ModelDetail
    assert (model.model_id, model.hf_name, model.recommended_config) == (MODEL_ID, MODEL, "NVIDIA_L4_1")
    assert model.configs["NVIDIA_L4_1"] == HardwareConfig({"--max-model-len": 32_768}, {})
    assert [asked.path.rpartition("/")[2] for asked in emulator.asked("model")] == [MODEL_ID]


async def test_an_unknown_model_is_not_found(client: Client) -> None:
    with pytest.raises(NotFoundError, match="org--model"):
        await client.models.get("org/model")


@pytest.mark.parametrize("name", ["", "a/b/c", "a--b--c", "..", "a b", "../models", None, 7])
async def test_a_name_that_is_none_is_refused_unsent(client: Client, emulator: FaultyEmulator, name: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        await client.models.get(name)
    assert emulator.order == []


async def test_one_odd_model_does_not_cost_the_others(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("models", edit=lambda content: {"models": [{"size": "big"}, None, *content["models"]]})
    models = await client.models.list()
    assert len(models) == len(MODELS)
    assert [bad.error.path for bad in models.invalid] == ["models[0].model_id", "models[1]"]


# ---- hardware types ---------------------------------------------------------------------------------


async def test_hardware_types_have_prices_and_gpus(client: Client) -> None:
    types = {kind.hardware_type_id: kind for kind in await client.hardware_types.list()}
    assert set(types) == set(HARDWARE_TYPES)
    two = types["NVIDIA_H100_2"]
    assert two.price_info == {"price_per_hour": 7.2, "price_per_minute": 0.12, "currency": "EUR"}
    assert two.hardware_info == {"gpu_type": "NVIDIA H100", "num_gpus": 2, "gpu_ram_gb": 80}


@emulated(capacity={"NVIDIA_L4_1": 0, "NVIDIA_L40S_1": 1})
async def test_available_are_those_with_room(client: Client) -> None:
    available = {kind.hardware_type_id for kind in await client.hardware_types.list_available()}
    assert set(HARDWARE_TYPES) - available == {"NVIDIA_L4_1"}


async def test_one_odd_hardware_type_does_not_cost_the_others(client: Client, emulator: FaultyEmulator) -> None:
    bad = {"hardware_type_id": "X", "price_info": {"price_per_hour": "1.2"}}
    emulator.fault("available", edit=lambda content: {"hardware_types": [bad, *content["hardware_types"]]})
    types = await client.hardware_types.list_available()
    assert len(types) == len(HARDWARE_TYPES)
    assert [(bad.id, bad.error.path) for bad in types.invalid] == [("X", "hardware_types[0].price_info.price_per_hour")]


# ---- account ----------------------------------------------------------------------------------------


@emulated(balance=12.5)
async def test_the_balance_has_its_currency(client: Client) -> None:
    assert await client.account.balance() == Balance(12.5, "EUR")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"null", "balance"),
        (b"{}", "balance.current_balance"),
        (b'{"current_balance": "7", "currency": "EUR"}', "balance.current_balance"),
        (b'{"current_balance": true, "currency": "EUR"}', "balance.current_balance"),
        (b'{"current_balance": 7}', "balance.currency"),
    ],
)
async def test_an_unreadable_balance_names_the_place(
    client: Client, emulator: FaultyEmulator, body: bytes, path: str
) -> None:
    emulator.fault("balance", body=body)
    with pytest.raises(DecodeError) as caught:
        await client.account.balance()
    assert caught.value.path == path


# ---- all of them ------------------------------------------------------------------------------------

READS: dict[Operation, Callable[[Client], Awaitable[object]]] = {
    "models": lambda client: client.models.list(),
    "model": lambda client: client.models.get(MODEL),
    "hardware_types": lambda client: client.hardware_types.list(),
    "available": lambda client: client.hardware_types.list_available(),
    "balance": lambda client: client.account.balance(),
    "list": lambda client: client.instances.list(),
}
PUBLIC: set[Operation] = {"models", "model", "hardware_types", "available"}
EACH = pytest.mark.parametrize("operation", READS)


@pytest.mark.parametrize("operation", sorted(PUBLIC))
async def test_models_and_hardware_are_read_without_a_token(emulator: FaultyEmulator, operation: Operation) -> None:
    async with Client(base_url=emulator.base_url) as stranger:
        await READS[operation](stranger)
    assert [asked.authorization for asked in emulator.asked(operation)] == [None]
    assert "token" not in emulator.order


@pytest.mark.parametrize("operation", sorted(READS.keys() - PUBLIC))
async def test_the_account_is_not_read_without_credentials(emulator: FaultyEmulator, operation: Operation) -> None:
    async with Client(base_url=emulator.base_url) as stranger:
        with pytest.raises(ConfigurationError, match="CORTECS_CLIENT_ID"):
            await READS[operation](stranger)
    assert emulator.order == []


@pytest.mark.parametrize("operation", sorted(READS.keys() - PUBLIC))
async def test_the_account_is_not_read_with_wrong_credentials(emulator: FaultyEmulator, operation: Operation) -> None:
    async with emulator.client(client_secret="wrong") as stranger:
        with pytest.raises(AuthenticationError):
            await READS[operation](stranger)
    assert emulator.order == ["token"]


@EACH
@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 408}, {"status": 429}, {"lost": True}, {"body": b"<html>"}], ids=str
)
async def test_a_read_is_retried(
    client: Client, emulator: FaultyEmulator, operation: Operation, fault: dict[str, Any]
) -> None:
    emulator.fault(operation, **fault, times=2)
    await READS[operation](client)
    assert len(emulator.asked(operation)) == 3


@EACH
@pytest.mark.parametrize(
    ("fault", "error"),
    [({"status": 500}, ServerError), ({"body": b""}, DecodeError), ({"body": b'{"models": NaN}'}, DecodeError)],
    ids=["500", "empty", "NaN"],
)
async def test_a_read_that_never_succeeds_is_its_last_error(
    client: Client, emulator: FaultyEmulator, operation: Operation, fault: dict[str, Any], error: type[Exception]
) -> None:
    emulator.fault(operation, **fault, times=None)
    with pytest.raises(error):
        await READS[operation](client)
    assert len(emulator.asked(operation)) == 8


@EACH
@pytest.mark.parametrize("body", [b"null", b"[]", b"7"])
async def test_a_read_of_the_wrong_shape_is_a_decode_error_at_once(
    client: Client, emulator: FaultyEmulator, operation: Operation, body: bytes
) -> None:
    emulator.fault(operation, body=body)
    with pytest.raises(DecodeError):
        await READS[operation](client)
    assert len(emulator.asked(operation)) == 1


@EACH
async def test_a_refused_read_is_its_error_at_once(
    client: Client, emulator: FaultyEmulator, operation: Operation
) -> None:
    emulator.fault(operation, 403, body={"message": "not yours"})
    with pytest.raises(PermissionDeniedError, match="not yours"):
        await READS[operation](client)
    assert len(emulator.asked(operation)) == 1
