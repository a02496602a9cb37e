"""Clients of the `openai` package for an instance. The package is an extra, and loaded with the first of them."""

from __future__ import annotations

import ssl
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from yarl import URL

from ._auth import InferenceKey
from ._probe import check_inference_url
from ._transport import Transport
from .errors import ConfigurationError
from .objects import InstanceState

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

__all__ = ["OpenAIClients"]


class OpenAIClients:
    """Makes them, with the key for inference and never with the API's token."""

    def __init__(self, transport: Transport, key: InferenceKey) -> None:
        self._transport = transport
        self._key = key

    def check(self) -> None:
        """Raises ConfigurationError where the package or the key is missing."""
        _package()
        self._key.resolve()

    def asynchronous(self, state: InstanceState, *, pooled: bool = True) -> AsyncOpenAI:
        """Raises ConfigurationError where the package, the key or a fit `base_url` is missing.

        Without `pooled` no connection outlives its request: one loop after another may use the client.
        """
        openai, settings = _package(), self._settings(state)
        way = self._way_to(settings["base_url"])
        if not pooled:
            way["limits"] = type(openai.DEFAULT_CONNECTION_LIMITS)(max_keepalive_connections=0)
        made: AsyncOpenAI = openai.AsyncOpenAI(**settings, http_client=openai.DefaultAsyncHttpxClient(**way))
        return made

    def synchronous(self, state: InstanceState) -> OpenAI:
        """Raises ConfigurationError as `asynchronous` does."""
        openai, settings = _package(), self._settings(state)
        made: OpenAI = openai.OpenAI(
            **settings, http_client=openai.DefaultHttpxClient(**self._way_to(settings["base_url"]))
        )
        return made

    def _settings(self, state: InstanceState) -> dict[str, str]:
        state = state.snapshot()
        if not state.base_url:
            raise ConfigurationError(
                f"instance {state.instance_id} is {state.instance_status.status} and has no base_url: "
                "wait_until_running() comes first",
                last_state=state,
            )
        check_inference_url(state.base_url)
        # Else the package takes these from the environment, where they are about another provider's account.
        foreign = {"organization": "", "project": "", "admin_api_key": "", "webhook_secret": ""}
        return {"base_url": state.base_url, "api_key": self._key.resolve(), **foreign}

    def _way_to(self, base_url: str) -> dict[str, Any]:
        """How the client itself gets there: by its proxy, with its certificates, and no further."""
        context = self._transport.ssl if self._transport.ssl is not None else _usual_context()
        proxy = self._transport.proxy_to(URL(base_url))
        return {"proxy": proxy, "verify": context, "trust_env": False, "follow_redirects": False}


@cache  # reading all authorities of the system takes its time
def _usual_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _package() -> ModuleType:
    try:
        import openai
    except ImportError as error:
        raise ConfigurationError(
            "a client of the openai package needs that package: pip install 'inferlease[openai]'"
        ) from error
    return openai
