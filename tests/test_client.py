"""The client's own life: entered or not, closed or not, on one loop or several."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import Client, ConfigurationError, InvalidArgumentError
from inferlease.objects import InstanceArgs
from inferlease.sync import Client as SyncClient

if TYPE_CHECKING:
    from inferlease.emulator import Emulator
    from tests.worlds import Api

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.asyncio
async def test_it_works_without_being_entered(emulator: Emulator, either: Api) -> None:
    client = either.connect(emulator)
    assert (await client.account.balance()).currency == "EUR"
    await client.close()


@pytest.mark.asyncio
async def test_closing_it_twice_is_fine(emulator: Emulator, either: Api) -> None:
    client = either.connect(emulator)
    await client.account.balance()
    await client.close()
    await client.close()


@pytest.mark.asyncio
async def test_closing_one_that_was_never_used_is_fine() -> None:
    await Client("id", "secret").close()


@pytest.mark.asyncio
async def test_never_closing_it_is_a_resource_warning(emulator: Emulator, either: Api) -> None:
    client = either.connect(emulator)
    await client.account.balance()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    assert "a Client was never closed" in {str(warning.message) for warning in caught}


def test_entered_by_with_the_asynchronous_ones_say_what_to_do() -> None:
    for made in (Client(), Client().lease(MODEL)):
        said = rf"this {type(made).__name__} is asynchronous: enter it by `async with`, .*inferlease\.sync$"
        with pytest.raises(TypeError, match=said), made:  # type: ignore[attr-defined]
            raise AssertionError("it was entered")


@pytest.mark.asyncio
async def test_entered_by_async_with_the_synchronous_ones_say_what_to_do() -> None:
    for made in (SyncClient(), SyncClient().lease(MODEL)):
        with pytest.raises(TypeError, match=f"this {type(made).__name__} is synchronous: enter it by `with`, "):
            async with made:  # type: ignore[attr-defined]
                raise AssertionError("it was entered")


@pytest.mark.parametrize("cls", [Client, SyncClient])
def test_it_is_shown_by_its_address_and_without_a_secret(cls: type[Client | SyncClient]) -> None:
    client = cls("id", "s3cret", base_url="https://host.example/api/v1", inference_key="s3cret")
    assert repr(client) == "<Client of https://host.example/api/v1>"
    lease = client.lease("org/model", label="s3cret")
    assert repr(lease) == "<Lease of 'org/model', not acquired>"


@pytest.mark.asyncio
async def test_what_it_has_leased_is_shown_in_its_lease(emulator: Emulator, either: Api) -> None:
    client = either.connect(emulator)
    lease = client.lease(MODEL)
    instance = await lease.acquire()
    assert repr(lease) == f"<Lease of {instance!r}>"
    await lease.release()
    assert "stopped" in repr(lease)
    await client.close()
    assert repr(client) == f"<Client of {emulator.base_url}, closed>"


def test_it_works_on_one_loop_after_another(emulator: Emulator) -> None:
    client = emulator.client(poll_interval=0.02)

    async def lease() -> None:
        async with client.lease(MODEL):
            pass

    async def last() -> None:
        await lease()
        await client.close()

    with warnings.catch_warnings():
        # The connections of a loop that was closed under them are nobody's any more.
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(lease())
        asyncio.run(last())
        gc.collect()
    assert emulator.books().starts == 2
    assert emulator.books().still_billed == []


@pytest.mark.asyncio
async def test_no_connection_or_task_is_left_behind(emulator: Emulator, either: Api) -> None:
    before = asyncio.all_tasks()
    async with either.connect(emulator, poll_interval=0.02) as client, client.lease(MODEL) as instance:
        await instance.refresh()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert client._transport.is_open is False


@pytest.mark.asyncio
async def test_a_hook_on_its_converter_is_seen_by_get_and_list(emulator: Emulator, client: Client) -> None:
    def shout(raw: dict[str, Any], _: type) -> InstanceArgs:
        return InstanceArgs(model_id=raw["model_id"].upper())

    instance = await client.instances.start(MODEL)
    client.converter.register_structure_hook(InstanceArgs, shout)
    (listed,) = await client.instances.list()
    assert listed.instance_args.model_id == "META-LLAMA--LLAMA-3.1-8B-INSTRUCT"
    assert (await client.instances.get(instance.instance_id)).instance_args == listed.instance_args


@pytest.mark.parametrize(
    "arguments",
    [{"timeout": 0}, {"timeout": float("inf")}, {"timeout": True}, {"poll_interval": -1}, {"poll_interval": "1"}],
)
def test_bad_durations_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="is not a positive number of seconds"):
        Client(**arguments)


def test_missing_credentials_are_no_error_yet() -> None:
    Client()


@pytest.mark.asyncio
async def test_arguments_win_over_the_environment(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, either: Api
) -> None:
    monkeypatch.setenv("CORTECS_API_BASE_URL", "https://elsewhere.invalid/api/v1")
    monkeypatch.setenv("CORTECS_CLIENT_ID", "somebody")
    monkeypatch.setenv("CORTECS_CLIENT_SECRET", "else")
    async with either.connect(emulator) as client:
        assert (await client.account.balance()).currency == "EUR"


@pytest.mark.asyncio
async def test_the_environment_configures_it(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    async with Client() as client:
        assert (await client.account.balance()).currency == "EUR"


@pytest.mark.asyncio
async def test_without_credentials_the_first_call_that_needs_them_says_which(emulator: Emulator) -> None:
    async with Client(base_url=emulator.base_url) as client:
        assert await client.models.list()
        with pytest.raises(ConfigurationError, match="CORTECS_CLIENT_ID"):
            await client.account.balance()
