"""The OpenAPI document of the provisioning API, as the emulator serves it at `/api/v1/openapi.json`."""

from inferlease.emulator.catalogue import BILLING_INTERVALS, MAX_WORKERS, MODELS, Model
from inferlease.emulator.provisioning import FORCE_WORDS
from inferlease.emulator.schemas import ANSWERS, COMPONENTS, ID, STRING, Schema, record, ref

_REFUSALS = {
    400: "The request can't be carried out as it is, or not in the state that the instance is in.",
    401: "The access token is missing, or no longer valid.",
    402: "The balance is used up.",
    404: "There is no such instance or model.",
    409: "Not at the moment.",
}


def document(base_url: str) -> Schema:
    """The document; `base_url` is that of the API."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Provisioning of dedicated LLM instances, emulated", "version": "1"},
        "servers": [{"url": base_url}],
        "paths": {
            "/oauth2/token": {"post": _call("token", "An access token", 400, 401, body=_CREDENTIALS, public=True)},
            "/user/balance": {"get": _call("balance", "What is left on the account")},
            "/instances/": {"get": _call("list", "All instances, stopped ones too")},
            "/instances/start": {"post": _call("start", "Start an instance", 400, 402, 404, body=_START)},
            "/instances/restart": {
                "post": _call("restart", "Start a stopped instance again", 400, 402, 404, body=_BY_ID),
            },
            "/instances/stop": {"post": _call("stop", "Stop an instance", 400, 404, 409, body=_BY_ID)},
            "/instances/stop-all": {"post": _call("stop_all", "Stop all instances of the account")},
            "/instances/delete-all": {
                "delete": _call("delete_all", "Delete all stopped instances of the account", 400, parameters=[_FORCE]),
            },
            "/instances/{instance_id}": {
                "get": _call("get", "One instance", 404, parameters=[_path("instance_id", ID)]),
                "delete": _call("delete", "Delete a stopped instance", 400, 404, parameters=[_path("instance_id", ID)]),
            },
            "/models/": {"get": _call("models", "All models", public=True)},
            "/models/{model_id}": {
                "get": _call("model", "One model", 404, parameters=[_path("model_id", STRING)], public=True)
            },
            "/hardware-types/": {"get": _call("hardware_types", "All hardware types", public=True)},
            "/hardware-types/available": {
                "get": _call("available", "The hardware types on which an instance can be started now", public=True)
            },
        },
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _call(
    operation: str,
    summary: str,
    *refusals: int,
    body: Schema | None = None,
    parameters: list[Schema] | None = None,
    public: bool = False,
) -> Schema:
    codes = sorted({*refusals, *(() if public else (401,))})
    call: Schema = {
        "operationId": operation,
        "summary": summary,
        "responses": {
            "200": _json("Done.", ANSWERS[operation]),
            **{str(code): _json(_REFUSALS[code], ref("Error")) for code in codes},
        },
    }
    if not public:
        call["security"] = [{"bearer": []}]
    if parameters is not None:
        call["parameters"] = parameters
    if body is not None:
        call["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return call


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _start_of(model: Model) -> list[Schema]:
    """What may be asked of one model: on its recommended hardware, or on one that is named, with as much context."""
    return [
        {
            "properties": {
                "model_id": {"const": model.model_id},
                "hardware_type_id": {"enum": [hardware_type_id, None]}
                if hardware_type_id == model.recommended_config
                else {"const": hardware_type_id},
                "context_length": {"type": ["integer", "null"], "minimum": 1, "maximum": context},
            },
            "required": ["model_id"]
            if hardware_type_id == model.recommended_config
            else ["model_id", "hardware_type_id"],
        }
        for hardware_type_id, context in model.contexts.items()
    ]


_CREDENTIALS = record({"grant_type": {"const": "client_credentials"}, "client_id": STRING, "client_secret": STRING})
_BY_ID = record({"instance_id": STRING})
_START: Schema = {
    "type": "object",
    "properties": {
        "billing_interval": {"enum": [*BILLING_INTERVALS, None]},
        "num_workers": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_WORKERS},
    },
    "anyOf": [choice for model in MODELS.values() for choice in _start_of(model)],
}
_FORCE: Schema = {"name": "force_deletion", "in": "query", "schema": {"enum": list(FORCE_WORDS)}}
