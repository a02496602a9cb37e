"""The OpenAI-compatible side of each running instance, answered here or passed through to a real server."""

from collections.abc import AsyncGenerator, Callable, Mapping

import aiohttp
from aiohttp import web
from yarl import URL

from inferlease.emulator.completions import Speaker, chat_completion, completion, embeddings
from inferlease.emulator.fleet import EmulatedInstance, Fleet
from inferlease.emulator.life import Clock
from inferlease.emulator.provisioning import Tokens, bearer
from inferlease.emulator.replies import InferenceRefusal, Refusal, Reply, json_object

INFERENCE_KEY = "emulator"

_ANSWERS: Mapping[str, Callable[[Mapping[str, object], Speaker], Reply]] = {
    "chat/completions": chat_completion,
    "completions": completion,
    "embeddings": embeddings,
}


class Inference:
    """Answers `/inference/{instance_id}/v1/...`; `upstream` answers instead where there is one."""

    def __init__(self, *, fleet: Fleet, tokens: Tokens, clock: Clock, upstream: "Upstream | None") -> None:
        self.api_tokens_seen: int = 0
        self._fleet = fleet
        self._tokens = tokens
        self._clock = clock
        self._upstream = upstream

    async def answer(self, request: web.Request) -> Reply:
        """Whatever the method and the path below `v1` are."""
        self._require_key(request)
        instance = self._running(request.match_info["instance_id"])
        endpoint = request.match_info["endpoint"]
        if self._upstream is not None:
            return await self._upstream.answer(request, endpoint)
        if (request.method, endpoint) == ("GET", "models"):
            return self._models(instance)
        if request.method != "POST" or endpoint not in _ANSWERS:
            raise InferenceRefusal(404, f"{request.method} /v1/{endpoint} does not exist.", code="not_found")
        not_json = InferenceRefusal(400, "The request body must be a JSON object.", code="invalid_json")
        body = await json_object(request, otherwise=not_json)
        self._require_model(body.get("model"), instance)
        speaker = Speaker(instance.spec.model.hf_name, instance.spec.context_length, self._created(instance))
        return _ANSWERS[endpoint](body, speaker)

    def _require_key(self, request: web.Request) -> None:
        if any(self._tokens.was_issued(value.split(" ")[-1]) for value in request.headers.values()):
            self.api_tokens_seen += 1
        if bearer(request) != INFERENCE_KEY:
            raise InferenceRefusal(401, "The inference key is missing or not valid.", code="invalid_api_key")

    def _running(self, instance_id: str) -> EmulatedInstance:
        try:
            instance = self._fleet.find(instance_id)
        except Refusal as refusal:
            raise InferenceRefusal(refusal.status, refusal.message, code="not_found") from None
        state = instance.run.state(self._clock.now())
        if state == "stopped":
            raise InferenceRefusal(404, f"Instance '{instance_id}' is stopped.", code="instance_stopped")
        if state == "pending":
            raise InferenceRefusal(503, f"Instance '{instance_id}' is not ready yet.", code="instance_pending")
        return instance

    def _require_model(self, name: object, instance: EmulatedInstance) -> None:
        model = instance.spec.model
        if not isinstance(name, str):
            raise InferenceRefusal(400, "'model' must be a string.", param="model", code="invalid_value")
        if name not in (model.hf_name, model.model_id):
            raise InferenceRefusal(404, f"The model '{name}' does not exist.", param="model", code="model_not_found")

    def _models(self, instance: EmulatedInstance) -> Reply:
        model = instance.spec.model
        entry = {
            "id": model.hf_name,
            "object": "model",
            "created": self._created(instance),
            "owned_by": model.creator,
            "max_model_len": instance.spec.context_length,
        }
        return Reply.json({"object": "list", "data": [entry]})

    def _created(self, instance: EmulatedInstance) -> int:
        return int(self._clock.wall(instance.run.pending_at).timestamp())


class Upstream:
    """A real OpenAI-compatible server that answers for every instance; request and answer pass unchanged.

    Args:
        url: its base, such as `http://127.0.0.1:8000/v1`.
        key: its bearer key, if it wants one.

    Raises:
        ValueError: `url` is no http(s) URL.
    """

    def __init__(self, url: str, key: str | None) -> None:
        if not url.startswith(("http://", "https://")) or not URL(url).host:
            raise ValueError(f"upstream {url!r:.200} is not a URL such as http://127.0.0.1:8000/v1")
        self._url = url.rstrip("/")
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def close(self, _app: web.Application) -> None:
        """Close the connections; called when the server stops."""
        if self._session is not None:
            await self._session.close()

    async def answer(self, request: web.Request, endpoint: str) -> Reply:
        """What the real server answers, as it comes.

        Raises:
            InferenceRefusal: 502, it did not answer.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            )
        headers = {"Authorization": f"Bearer {self._key}"} if self._key is not None else {}
        for name in ("Accept", "Content-Type"):
            if name in request.headers:
                headers[name] = request.headers[name]
        try:
            response = await self._session.request(
                request.method,
                f"{self._url}/{endpoint}",
                params=request.query,
                data=await request.read(),
                headers=headers,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise InferenceRefusal(502, f"The upstream server did not answer: {error}") from error
        content_type = response.headers.get("Content-Type", "application/octet-stream")
        return Reply(response.status, _chunks(response), content_type)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    async with response:
        async for chunk in response.content.iter_any():
            yield chunk
