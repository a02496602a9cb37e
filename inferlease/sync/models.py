# Generated from inferlease/models.py by `python -m inferlease._tools.gen_sync`: do not edit.
"""Models: what can be served."""

from __future__ import annotations

from inferlease import models as _async
from inferlease._convert import Listing
from inferlease.objects import ModelDetail, ModelPreview

from . import _bridge, _facade

__all__ = ["Models"]


class Models(_facade.Facade[_async.Models]):
    """Reads models; needs no credentials."""

    def list(self) -> Listing[ModelPreview]:
        """All models that can be served. What could not be read is in the list's `.invalid`.

        Example:
            print([model.hf_name for model in client.models.list()])

        Raises:
            TransportError: No answer arrived.
            APIError: The server answered with an error.
        """
        return _bridge.run(self._inner.list)

    def get(self, model: str) -> ModelDetail:
        """One model, with how it is served on each hardware type.

        Example:
            model = client.models.get("meta-llama/Llama-3.1-8B-Instruct")
            print(model.recommended_config, list(model.configs))

        Args:
            model: Its Hugging Face name (`org/model`) or model id (`org--model`).

        Raises:
            InvalidArgumentError: `model` is neither.
            NotFoundError: There is no such model.
        """
        return _bridge.run(self._inner.get, model)
