"""Whether a running instance answers inference requests yet."""

from __future__ import annotations

import logging
import time

from yarl import URL

from ._auth import InferenceKey
from ._protocol import Answer, why
from ._transport import Transport, is_loopback
from .errors import ConfigurationError

__all__ = ["Probe", "check_inference_url"]

log = logging.getLogger("inferlease")

# A probe that takes longer counts as no answer; the next tick tries again.
_SECONDS = 10.0


def check_inference_url(base_url: str) -> None:
    """Raises ConfigurationError where the key for inference would travel in the clear."""
    try:
        url = URL(base_url)
    except ValueError:
        url = URL()
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url)):
        raise ConfigurationError(
            f"the instance's base_url {base_url!r:.200} is neither https nor loopback: "
            "the key for inference is not sent there"
        )


class Probe:
    """Asks an instance for its models, with the key for inference and never with the API's token."""

    def __init__(self, transport: Transport, key: InferenceKey) -> None:
        self._transport = transport
        self._key = key
        self._has_warned = False

    def _refused(self, trouble: str) -> str:
        """The wait goes on, and is billed: perhaps in vain, so it is told at once."""
        trouble += ": is the key for inference (INFERLEASE_INFERENCE_KEY) the right one?"
        if not self._has_warned:
            self._has_warned = True
            log.warning("%s", trouble)
        return trouble

    def check(self) -> None:
        """Raises ConfigurationError where there is no key to probe with."""
        self._key.resolve()

    async def __call__(self, base_url: str) -> str | None:
        """What is in the way of inference at `base_url`, `None` if it answers."""
        check_inference_url(base_url)
        headers = {"Authorization": f"Bearer {self._key.resolve()}"}
        outcome = await self._transport.fetch(base_url.rstrip("/") + "/models", headers, time.monotonic() + _SECONDS)
        if isinstance(outcome, Answer) and outcome.status == 200:
            return None
        if isinstance(outcome, Answer):
            trouble = f"a probe of its /models was answered {outcome.status}"
            return self._refused(trouble) if outcome.status in (401, 403) else trouble
        return f"a probe of its /models met {why(outcome)}"
