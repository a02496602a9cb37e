"""What the answers of the provisioning API look like: JSON schemas that say just what the library's decoder enforces.

Types, required keys, what may be null, and the bounds of numbers; nothing that an answer merely tends to have. Of times
the decoder takes more than they say: one without a zone, and a space for the `T`. Unknown keys are allowed everywhere.
"""

from collections.abc import Mapping
from typing import TypeAlias

Schema: TypeAlias = dict[str, object]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
NUMBER: Schema = {"type": "number", "not": {"type": "integer", "minimum": 2**63, "maximum": 2**64 - 1}}
"""The parser has integers of 64 bits, signed or not, and reads what is larger as a float; the decoder, signed ones."""
OBJECT: Schema = {"type": "object"}
TOKEN: Schema = {"type": "string", "pattern": r"^[\x21-\x7e]+$"}

_OTHER_CALLS = ("delete-all", "stop-all", "start", "restart", "stop", "available")


def _in_any_case(word: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in word)


ID: Schema = {
    "type": "string",
    # Not a path that leads elsewhere, nor the name of another call.
    "pattern": f"^(?!(?:{'|'.join(map(_in_any_case, _OTHER_CALLS))})$)"
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,199}$",
}


def ref(name: str) -> Schema:
    """The schema of that name in `COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """`schema`, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: Schema) -> Schema:
    """A list of what fits `schema`."""
    return {"type": "array", "items": schema}


def record(required: Mapping[str, Schema] | None = None, optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object; what is `optional` may be missing or null."""
    properties = {**(required or {}), **{name: or_null(schema) for name, schema in (optional or {}).items()}}
    made: Schema = {"type": "object", "properties": properties}
    return made | {"required": list(required)} if required else made


_TIME: Schema = {"type": "string", "format": "date-time"}
_HARDWARE_IDS: Schema = {"anyOf": [list_of(STRING), OBJECT]}
_CONFIGS: Schema = {"type": "object", "additionalProperties": or_null(ref("HardwareConfig"))}
_MODEL = record(
    optional={
        "hf_name": STRING,
        "instant_provisioned": {"type": "boolean"},
        "creator": ref("Creator"),
        "description": STRING,
        "screen_name": STRING,
        "size": INTEGER,
    }
)
# `model_name` wins over `model_id`, where it says something.
_NAME: Schema = {
    "anyOf": [
        {"properties": {"model_name": {"type": "string", "minLength": 1}}, "required": ["model_name"]},
        {"properties": {"model_id": STRING, "model_name": {"enum": [None, ""]}}, "required": ["model_id"]},
    ]
}


def _hardware(ids: Schema, **beside: Schema) -> Schema:
    """A model whose `hardware_configs` are such; with what else is then read `beside` them."""
    return {"properties": {"hardware_configs": ids, **beside}, "required": ["hardware_configs"]}


def _hardware_within(**beside: Schema) -> Schema:
    """A model whose hardware is in `hardware_info`, if it is told at all."""
    within = or_null(record(optional={"hardware_configs": _HARDWARE_IDS}))
    return {"properties": {"hardware_configs": {"type": "null"}, "hardware_info": within, **beside}}


COMPONENTS: dict[str, Schema] = {
    "Balance": record({"current_balance": NUMBER, "currency": STRING}),
    "Creator": record(optional={"name": STRING, "url": STRING}),
    "Error": record({"message": STRING}),
    "HardwareConfig": record(optional={"params": OBJECT, "requirements": OBJECT}),
    "HardwareInfo": record(optional={"gpu_type": STRING, "num_gpus": INTEGER, "gpu_ram_gb": NUMBER}),
    "HardwareType": record(
        {"hardware_type_id": STRING}, {"price_info": ref("PriceInfo"), "hardware_info": ref("HardwareInfo")}
    ),
    "InitProgress": record(optional={"current_step": INTEGER, "num_steps": INTEGER, "description": STRING}),
    "Instance": record(
        {"instance_id": STRING, "instance_args": ref("InstanceArgs"), "instance_status": ref("InstanceStatus")},
        {"base_url": STRING, "worker_statuses": list_of(ref("WorkerStatus"))},
    ),
    "InstanceArgs": record(
        {"model_id": STRING},
        {"hardware_type_id": STRING, "billing_interval": STRING, "context_length": INTEGER, "num_workers": INTEGER},
    ),
    "InstanceStatus": record({"status": STRING}, {"started_at": _TIME, "stopped_at": _TIME}),
    "ModelPreview": {"allOf": [_MODEL, _NAME, {"anyOf": [_hardware(_HARDWARE_IDS), _hardware_within()]}]},
    "ModelDetail": {
        "allOf": [
            _MODEL,
            record(optional={"recommended_config": STRING}),
            _NAME,
            {
                "anyOf": [
                    _hardware(_CONFIGS),
                    _hardware(list_of(STRING), configs=or_null(_CONFIGS)),
                    _hardware_within(configs=or_null(_CONFIGS)),
                ]
            },
        ]
    },
    "PriceInfo": record(optional={"price_per_hour": NUMBER, "price_per_minute": NUMBER, "currency": STRING}),
    "WorkerStatus": record(optional={"init_progress": ref("InitProgress")}),
}

_INSTANCE: Schema = {"allOf": [ref("Instance"), {"properties": {"instance_id": ID}}]}
_IDS = record(optional={"instance_ids": list_of(STRING)})

ANSWERS: dict[str, Schema] = {
    "token": record({"access_token": TOKEN}),
    "balance": ref("Balance"),
    "list": record({"instances": list_of(ref("Instance"))}),
    "get": record({"instance": _INSTANCE}),
    "start": record({"instance": _INSTANCE}),
    "restart": record({"instance": _INSTANCE}),
    "stop": record({"instance": _INSTANCE}),
    "stop_all": _IDS,
    "delete_all": _IDS,
    "delete": {},
    "models": record({"models": list_of(ref("ModelPreview"))}),
    "model": record({"model": ref("ModelDetail")}),
    "hardware_types": record({"hardware_types": list_of(ref("HardwareType"))}),
    "available": record({"hardware_types": list_of(ref("HardwareType"))}),
}
"""The answer with 200 to each operation."""
