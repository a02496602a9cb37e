"""The provisioning API: tokens, the account, instances, models and hardware types."""

import itertools
import math
import secrets
import time
from collections.abc import Sequence

from aiohttp import web

from inferlease.emulator.catalogue import CURRENCY, HARDWARE_TYPES, MODELS
from inferlease.emulator.fleet import EmulatedInstance, Fleet, find_model
from inferlease.emulator.life import Clock
from inferlease.emulator.replies import LEFT_OPEN, Handler, Refusal, Reply, json_object

CLIENT_ID = "emulator"
CLIENT_SECRET = "emulator"

# As `cortecs-py` writes them, too.
FORCE_WORDS = {"true": True, "false": False, "True": True, "False": False}

# Seconds after which a client that was refused for its token has given up.
_REPLAYED_WITHIN = 30.0


class Tokens:
    """Access tokens that expire after `lifetime` seconds."""

    def __init__(self, clock: Clock, lifetime: float) -> None:
        self.lifetime = lifetime
        self._clock = clock
        self._expiries: dict[str, float] = {}
        self._issued: set[str] = set()
        self._accepted: set[str] = set()
        # Requests refused for their token, which their clients will repeat with another one, and when that was.
        self._refused: list[tuple[str, float]] = []

    @property
    def issued(self) -> int:
        """How many were issued so far."""
        return len(self._issued)

    def issue(self) -> str:
        """A new one."""
        token = secrets.token_urlsafe(24)
        self._issued.add(token)
        self._expiries[token] = self._clock.now() + self.lifetime
        return token

    def revoke_all(self) -> None:
        """Let none of them be valid any more."""
        self._expiries = {}

    def revoke(self, request: web.Request) -> bool:
        """Revoke the token of a request, and tell whether that was done.

        It is not for a token's first request, nor while a request that was refused is still to be repeated: a client
        that replaces its token once must get through.
        """
        token = bearer(request)
        now = time.monotonic()
        self._refused = [(call, when) for call, when in self._refused if now - when < _REPLAYED_WITHIN]
        if token not in self._accepted or token not in self._expiries or self._refused:
            return False
        del self._expiries[token]
        return True

    def was_issued(self, text: str) -> bool:
        """Whether `text` is one of ours, valid or not."""
        return text in self._issued

    def require(self, request: web.Request) -> None:
        """Check the bearer token of a request.

        Raises:
            Refusal: 401, it is missing, unknown or expired.
        """
        token = bearer(request)
        if token is None:
            raise Refusal(401, "The access token is missing.")
        expiry = self._expiries.get(token)
        if expiry is None or expiry <= self._clock.now():
            if token in self._issued:
                self._refused.append((_call(request), time.monotonic()))
            raise Refusal(401, f"The access token {'is not valid' if expiry is None else 'has expired'}.")
        self._accepted.add(token)
        for number, (call, _) in enumerate(self._refused):
            if call == _call(request):
                del self._refused[number]
                break


class Provisioning:
    """The handlers, one method per call of the API."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        tokens: Tokens,
        clock: Clock,
        inference_root: str,
        list_num_workers: bool,
        list_lag: float,
        late_creation: Sequence[float],
    ) -> None:
        self._fleet = fleet
        self._tokens = tokens
        self._clock = clock
        self._inference_root = inference_root
        self._list_num_workers = list_num_workers
        self._list_lag = list_lag
        self._delays = itertools.cycle(late_creation)

    def authorized(self, handler: Handler) -> Handler:
        """`handler`, for those only who show a valid token."""

        async def checked(request: web.Request) -> Reply:
            self._tokens.require(request)
            return await handler(request)

        return checked

    async def token(self, request: web.Request) -> Reply:
        body = await _body(request)
        if body.get("grant_type") != "client_credentials":
            raise Refusal(400, "'grant_type' must be 'client_credentials'.")
        if (body.get("client_id"), body.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            raise Refusal(401, "The client credentials are not valid.")
        lifetime = self._tokens.lifetime
        expires_in = math.floor(lifetime) if lifetime >= 1 else lifetime
        return Reply.json({"access_token": self._tokens.issue(), "token_type": "Bearer", "expires_in": expires_in})

    async def balance(self, _request: web.Request) -> Reply:
        return Reply.json({"current_balance": self._fleet.balance(), "currency": CURRENCY})

    async def list_instances(self, _request: web.Request) -> Reply:
        instances = self._fleet.instances(self._list_lag)
        return Reply.json({"instances": [self._listed(instance) for instance in instances]})

    async def get(self, request: web.Request) -> Reply:
        instance = self._fleet.find(request.match_info["instance_id"])
        return Reply.json({"instance": self._wire(instance)})

    async def start(self, request: web.Request) -> Reply:
        body = await _body(request)
        delay = next(self._delays) if request.get(LEFT_OPEN, False) else 0.0
        instance = self._fleet.start(body, delay, request.headers.get("User-Agent", ""))
        return Reply.json({"message": "Instance started.", "instance": self._wire(instance)})

    async def restart(self, request: web.Request) -> Reply:
        instance = self._fleet.restart(await _instance_id(request))
        return Reply.json({"message": "Instance restarted.", "instance": self._wire(instance)})

    async def stop(self, request: web.Request) -> Reply:
        instance = self._fleet.stop(await _instance_id(request))
        return Reply.json({"message": "Instance stopped.", "instance": self._wire(instance)})

    async def stop_all(self, _request: web.Request) -> Reply:
        stopped = self._fleet.stop_all()
        if not stopped:
            # The real server leaves the key out then.
            return Reply.json({"message": "No instance is running."})
        return Reply.json({"message": "Instances stopped.", "instance_ids": stopped})

    async def delete(self, request: web.Request) -> Reply:
        instance_id = request.match_info["instance_id"]
        self._fleet.delete(instance_id)
        return Reply.json({"instance_id": instance_id})

    async def delete_all(self, request: web.Request) -> Reply:
        force = request.query.get("force_deletion", "false")
        if force not in FORCE_WORDS:
            raise Refusal(400, "'force_deletion' must be 'true' or 'false'.")
        return Reply.json({"instance_ids": self._fleet.delete_all(force=FORCE_WORDS[force])})

    async def models(self, _request: web.Request) -> Reply:
        return Reply.json({"models": [model.preview() for model in MODELS.values()]})

    async def model(self, request: web.Request) -> Reply:
        return Reply.json({"model": find_model(request.match_info["model_id"]).detail()})

    async def hardware_types(self, _request: web.Request) -> Reply:
        return Reply.json({"hardware_types": [hardware_type.wire() for hardware_type in HARDWARE_TYPES.values()]})

    async def available(self, _request: web.Request) -> Reply:
        return Reply.json({"hardware_types": [hardware_type.wire() for hardware_type in self._fleet.available()]})

    def _wire(self, instance: EmulatedInstance, ago: float = 0.0) -> dict[str, object]:
        now = self._clock.now() - ago
        run = instance.run_at(now)
        state = run.state(now)
        base_url = f"{self._inference_root}/{instance.instance_id}/v1" if state == "running" else None
        return {
            "instance_id": instance.instance_id,
            "base_url": base_url,
            "instance_args": instance.spec.wire(),
            "instance_status": {
                "status": state,
                "started_at": self._clock.stamp(run.running_at(now)),
                "stopped_at": self._clock.stamp(run.stopped_at(now)),
            },
            "worker_statuses": run.worker_statuses(now, instance.spec.num_workers),
        }

    def _listed(self, instance: EmulatedInstance) -> dict[str, object]:
        wire = self._wire(instance, self._list_lag)
        if not self._list_num_workers:
            arguments = instance.spec.wire()
            del arguments["num_workers"]
            wire["instance_args"] = arguments
        return wire


def bearer(request: web.Request) -> str | None:
    """The bearer token of a request, None without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _call(request: web.Request) -> str:
    """What a repeated request has in common with the first."""
    return f"{request.method} {request.path_qs}"


async def _body(request: web.Request) -> dict[str, object]:
    return await json_object(request, Refusal(400, "The request body must be a JSON object."))


async def _instance_id(request: web.Request) -> str:
    instance_id = (await _body(request)).get("instance_id")
    if not isinstance(instance_id, str):
        raise Refusal(400, "'instance_id' must be a string.")
    return instance_id
