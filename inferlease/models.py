"""Models: what can be served."""

from __future__ import annotations

from ._convert import Listing, decode_list
from ._core import Core
from ._protocol import member
from ._requests import LIST_MODELS
from .objects import ModelDetail, ModelPreview

__all__ = ["Models"]


class Models:
    """Reads models; needs no credentials."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def list(self) -> Listing[ModelPreview]:
        """All models that can be served. What could not be read is in the list's `.invalid`.

        Example:
            print([model.hf_name for model in await client.models.list()])

        Raises:
            TransportError: No answer arrived.
            APIError: The server answered with an error.
        """
        return await self._core.exchange.read(LIST_MODELS, self._decode)

    async def get(self, model: str) -> ModelDetail:
        """One model, with how it is served on each hardware type.

        Example:
            model = await client.models.get("meta-llama/Llama-3.1-8B-Instruct")
            print(model.recommended_config, list(model.configs))

        Args:
            model: Its Hugging Face name (`org/model`) or model id (`org--model`).

        Raises:
            InvalidArgumentError: `model` is neither.
            NotFoundError: There is no such model.
        """
        return await self._core.lookup.model(model)

    def _decode(self, payload: object) -> Listing[ModelPreview]:
        return decode_list(self._core.converter, member(payload, "models"), ModelPreview, "models", "model_id")
