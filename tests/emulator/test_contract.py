"""Every call of the provisioning API answers as documented, errors too."""

from __future__ import annotations

import pytest

from tests.emulator.support import CREDENTIALS, MODEL, Api, SetClock, serving


@pytest.mark.asyncio
async def test_a_token_is_issued_for_the_client_credentials(api: Api) -> None:
    answer = await api.call("POST", "/oauth2/token", CREDENTIALS)
    assert answer.status == 200
    assert set(answer.body) == {"access_token", "token_type", "expires_in"}
    assert (answer.body["token_type"], answer.body["expires_in"]) == ("Bearer", 3600)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "status"),
    [({"client_secret": "wrong"}, 401), ({"client_id": None}, 401), ({"grant_type": "password"}, 400)],
)
async def test_a_token_is_refused(api: Api, change: dict[str, object], status: int) -> None:
    answer = await api.call("POST", "/oauth2/token", CREDENTIALS | change)
    assert answer.status == status
    assert set(answer.body) == {"message"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/user/balance"),
        ("GET", "/instances/"),
        ("GET", "/instances/some"),
        ("POST", "/instances/start"),
        ("POST", "/instances/restart"),
        ("POST", "/instances/stop"),
        ("POST", "/instances/stop-all"),
        ("DELETE", "/instances/some"),
        ("DELETE", "/instances/delete-all"),
    ],
)
async def test_a_call_without_a_token_is_refused(api: Api, method: str, path: str) -> None:
    api.token = None
    answer = await api.call(method, path)
    assert (answer.status, set(answer.body)) == (401, {"message"})


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/models/", f"/models/{MODEL}", "/hardware-types/", "/hardware-types/available"])
async def test_the_catalogue_needs_no_token(api: Api, path: str) -> None:
    api.token = None
    assert (await api.call("GET", path)).status == 200


@pytest.mark.asyncio
async def test_a_token_that_was_never_issued_is_refused(api: Api) -> None:
    assert (await api.call("GET", "/user/balance", key="made-up")).status == 401


@pytest.mark.asyncio
async def test_a_token_expires(clock: SetClock) -> None:
    async with serving(token_lifetime=10.0) as api:
        clock.advance(9.9)
        assert (await api.call("GET", "/user/balance")).status == 200
        clock.advance(0.1)
        assert (await api.call("GET", "/user/balance")).status == 401


@pytest.mark.asyncio
async def test_revoked_tokens_are_refused_and_new_ones_accepted(api: Api) -> None:
    api.emulator.revoke_tokens()
    assert (await api.call("GET", "/user/balance")).status == 401
    await api.log_in()
    assert (await api.call("GET", "/user/balance")).status == 200


@pytest.mark.asyncio
async def test_a_start_resolves_every_default(api: Api) -> None:
    instance = await api.start(hardware_type_id=None, num_workers=None)
    assert instance["instance_args"] == {
        "model_id": MODEL,
        "hardware_type_id": "NVIDIA_L40S_1",
        "context_length": 16_384,
        "billing_interval": "per_minute",
        "num_workers": 1,
    }


@pytest.mark.asyncio
async def test_the_default_context_is_at_most_32000_tokens(api: Api) -> None:
    instance = await api.start("meta-llama--Llama-3.1-8B-Instruct", hardware_type_id="NVIDIA_H100_1")
    assert instance["instance_args"]["context_length"] == 32_000


@pytest.mark.asyncio
async def test_a_whole_number_may_be_written_as_a_fraction(api: Api) -> None:
    instance = await api.start(num_workers=2.0, context_length=9000.0)
    assert (instance["instance_args"]["num_workers"], instance["instance_args"]["context_length"]) == (2, 9000)
    assert len(instance["worker_statuses"]) == 2


@pytest.mark.asyncio
async def test_a_start_takes_every_argument(api: Api) -> None:
    arguments = {
        "model_id": "meta-llama--Llama-3.1-8B-Instruct",
        "hardware_type_id": "NVIDIA_L4_2",
        "context_length": 64_000,
        "billing_interval": "per_hour",
        "num_workers": 8,
    }
    answer = await api.call("POST", "/instances/start", arguments)
    assert answer.status == 200
    assert isinstance(answer.body["message"], str)
    assert answer.body["instance"]["instance_args"] == arguments
    assert len(answer.body["instance"]["worker_statuses"]) == 8


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model_id": "nobody--nothing"}, 404),
        ({"model_id": "microsoft/phi-4"}, 404),
        ({"model_id": None}, 400),
        ({"model_id": 7}, 400),
        ({"hardware_type_id": "NVIDIA_B200_1"}, 400),
        ({"hardware_type_id": "NVIDIA_L4_1"}, 400),
        ({"num_workers": 0}, 400),
        ({"num_workers": 9}, 400),
        ({"num_workers": "2"}, 400),
        ({"num_workers": True}, 400),
        ({"num_workers": 2.5}, 400),
        ({"context_length": 0}, 400),
        ({"context_length": 16_385}, 400),
        ({"billing_interval": "per_day"}, 400),
    ],
)
async def test_a_start_is_refused(api: Api, change: dict[str, object], status: int) -> None:
    answer = await api.call("POST", "/instances/start", {"model_id": MODEL} | change)
    assert (answer.status, set(answer.body)) == (status, {"message"})
    assert api.emulator.books().starts == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/oauth2/token", "/instances/start", "/instances/stop", "/instances/restart"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
async def test_a_body_that_is_no_object_is_refused(api: Api, path: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {api.token}"}
    async with api.session.post(api.emulator.base_url + path, data=body, headers=headers) as response:
        assert response.status == 400
        assert set(await response.json()) == {"message"}


@pytest.mark.asyncio
async def test_the_list_shows_every_instance_in_the_order_of_the_starts(api: Api) -> None:
    started = [(await api.start(num_workers=workers))["instance_id"] for workers in (1, 2)]
    listed = (await api.call("GET", "/instances/")).body["instances"]
    assert [instance["instance_id"] for instance in listed] == started
    assert [instance["instance_args"]["num_workers"] for instance in listed] == [1, 2]


@pytest.mark.asyncio
async def test_the_list_can_leave_out_num_workers_like_the_documented_sample() -> None:
    async with serving(list_num_workers=False) as api:
        started = await api.start(num_workers=2)
        (listed,) = (await api.call("GET", "/instances/")).body["instances"]
        assert set(started["instance_args"]) - set(listed["instance_args"]) == {"num_workers"}
        assert (await api.get(started["instance_id"]))["instance_args"]["num_workers"] == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/instances/unknown", None),
        ("DELETE", "/instances/unknown", None),
        ("POST", "/instances/stop", {"instance_id": "unknown"}),
        ("POST", "/instances/restart", {"instance_id": "unknown"}),
        ("GET", "/models/nobody--nothing", None),
        ("GET", "/no-such-call", None),
        ("GET", "/instances", None),
    ],
)
async def test_what_does_not_exist_is_404(api: Api, method: str, path: str, body: object) -> None:
    answer = await api.call(method, path, body)
    assert (answer.status, set(answer.body)) == (404, {"message"})


@pytest.mark.asyncio
async def test_a_stop_is_repeatable_and_keeps_the_first_time(clock: SetClock) -> None:
    async with serving() as api:
        instance_id = (await api.start())["instance_id"]
        first = await api.stop(instance_id)
        clock.advance(5.0)
        assert await api.stop(instance_id) == first


@pytest.mark.asyncio
async def test_only_a_stopped_instance_is_deleted(api: Api) -> None:
    instance_id = (await api.start())["instance_id"]
    refused = await api.call("DELETE", f"/instances/{instance_id}")
    assert (refused.status, set(refused.body)) == (400, {"message"})
    await api.stop(instance_id)
    assert (await api.call("DELETE", f"/instances/{instance_id}")).body == {"instance_id": instance_id}
    assert (await api.call("GET", f"/instances/{instance_id}")).status == 404
    assert (await api.call("GET", "/instances/")).body == {"instances": []}


@pytest.mark.asyncio
async def test_only_a_stopped_instance_is_restarted(api: Api) -> None:
    instance_id = (await api.start())["instance_id"]
    refused = await api.call("POST", "/instances/restart", {"instance_id": instance_id})
    assert (refused.status, set(refused.body)) == (400, {"message"})
    await api.stop(instance_id)
    answer = await api.call("POST", "/instances/restart", {"instance_id": instance_id})
    assert answer.status == 200
    assert answer.body["instance"]["instance_id"] == instance_id


@pytest.mark.asyncio
async def test_stop_all_stops_what_is_live(api: Api) -> None:
    stopped, live = (await api.start())["instance_id"], (await api.start())["instance_id"]
    await api.stop(stopped)
    answer = await api.call("POST", "/instances/stop-all")
    assert (answer.status, answer.body["instance_ids"]) == (200, [live])
    assert (await api.get(live))["instance_status"]["status"] == "stopped"


@pytest.mark.asyncio
async def test_stop_all_leaves_the_ids_out_when_nothing_was_live(api: Api) -> None:
    answer = await api.call("POST", "/instances/stop-all")
    assert (answer.status, set(answer.body)) == (200, {"message"})


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["", "?force_deletion=false", "?force_deletion=False"])
async def test_delete_all_deletes_what_is_stopped(api: Api, query: str) -> None:
    stopped, live = (await api.start())["instance_id"], (await api.start())["instance_id"]
    await api.stop(stopped)
    answer = await api.call("DELETE", f"/instances/delete-all{query}")
    assert answer.body == {"instance_ids": [stopped]}
    assert (await api.get(live))["instance_status"]["status"] == "running"


@pytest.mark.asyncio
@pytest.mark.parametrize("word", ["true", "True"])
async def test_a_forced_delete_all_ends_the_live_ones_too(word: str) -> None:
    async with serving(stop_delay=60.0) as api:
        instance_id = (await api.start())["instance_id"]
        answer = await api.call("DELETE", f"/instances/delete-all?force_deletion={word}")
        assert answer.body == {"instance_ids": [instance_id]}
        assert (await api.call("GET", "/instances/")).body == {"instances": []}
        assert api.emulator.books().still_billed == []


@pytest.mark.asyncio
async def test_delete_all_refuses_another_word_than_true_or_false(api: Api) -> None:
    answer = await api.call("DELETE", "/instances/delete-all?force_deletion=FALSE")
    assert (answer.status, set(answer.body)) == (400, {"message"})


@pytest.mark.asyncio
async def test_a_type_without_room_is_refused_and_not_available() -> None:
    async with serving(capacity={"NVIDIA_L40S_1": 1, "NVIDIA_H100_1": 0}) as api:

        async def available() -> set[str]:
            types = (await api.call("GET", "/hardware-types/available")).body["hardware_types"]
            return {hardware_type["hardware_type_id"] for hardware_type in types}

        assert "NVIDIA_H100_1" not in await available()
        assert "NVIDIA_L40S_1" in await available()
        instance_id = (await api.start())["instance_id"]
        assert "NVIDIA_L40S_1" not in await available()
        refused = await api.call("POST", "/instances/start", {"model_id": MODEL})
        assert (refused.status, set(refused.body)) == (400, {"message"})
        await api.stop(instance_id)
        assert "NVIDIA_L40S_1" in await available()
        await api.start()
        refused = await api.call("POST", "/instances/restart", {"instance_id": instance_id})
        assert refused.status == 400


@pytest.mark.asyncio
async def test_the_catalogue_has_models_of_many_sizes(api: Api) -> None:
    models = (await api.call("GET", "/models/")).body["models"]
    types = (await api.call("GET", "/hardware-types/")).body["hardware_types"]
    type_ids = {hardware_type["hardware_type_id"] for hardware_type in types}
    assert len({model["size"] for model in models}) >= 8
    for model in models:
        assert model["hf_name"].count("/") == 1
        assert "--" not in model["hf_name"]
        assert model["model_id"] == model["model_name"] == model["hf_name"].replace("/", "--")
        assert set(model["creator"]) == {"name", "url"}
        assert set(model["hardware_info"]["hardware_configs"]) <= type_ids


@pytest.mark.asyncio
async def test_a_model_in_detail_has_its_configs_as_a_map(api: Api) -> None:
    for preview in (await api.call("GET", "/models/")).body["models"]:
        detail = (await api.call("GET", f"/models/{preview['model_id']}")).body["model"]
        assert list(detail["hardware_configs"]) == preview["hardware_info"]["hardware_configs"]
        assert detail["recommended_config"] in detail["hardware_configs"]
        for config in detail["hardware_configs"].values():
            assert config["params"]["--max-model-len"] > 0
            assert config["requirements"] == {}


@pytest.mark.asyncio
async def test_hardware_has_consistent_prices(api: Api) -> None:
    types = (await api.call("GET", "/hardware-types/")).body["hardware_types"]
    assert {hardware_type["hardware_info"]["gpu_type"] for hardware_type in types} == {
        "NVIDIA L4",
        "NVIDIA L40S",
        "NVIDIA H100",
    }
    assert types[0] == {
        "hardware_type_id": "NVIDIA_L4_1",
        "price_info": {"price_per_hour": 1.2, "price_per_minute": 0.02, "currency": "EUR"},
        "hardware_info": {"gpu_type": "NVIDIA L4", "num_gpus": 1, "gpu_ram_gb": 24},
    }
    for hardware_type in types:
        price = hardware_type["price_info"]
        assert price["price_per_hour"] == pytest.approx(price["price_per_minute"] * 60)
        assert hardware_type["hardware_type_id"].endswith(f"_{hardware_type['hardware_info']['num_gpus']}")
