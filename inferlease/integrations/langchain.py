"""LangChain: a chat model on an instance that is leased for as long as it is used. Needs the extra `langchain`."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from inferlease import ConfigurationError, InvalidArgumentError, Lease, sync

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports] - an extra, which may be missing
    from openai import AsyncOpenAI, OpenAI

    from inferlease import Instance

__all__ = ["LeasedChatModel"]

L = TypeVar("L", Lease, sync.Lease)

# What `ChatOpenAI` would hand to the clients that it makes itself, and the name that those have for it.
_OF_THE_CLIENTS = {
    "timeout": "timeout",
    "request_timeout": "timeout",
    "max_retries": "max_retries",
    "default_headers": "default_headers",
    "default_query": "default_query",
}


class LeasedChatModel(Generic[L]):
    """Leases an instance, and is entered as a `ChatOpenAI` that asks it; leaving stops the instance.

    The lease of an asynchronous client is entered by `async with`, that of a synchronous one by `with`. The model has
    `invoke`, `ainvoke` and all the others in both cases, until the block is left.

    Example:
        with Client() as client, LeasedChatModel(client.lease("org/model"), temperature=0) as model:
            print(model.invoke("Say hello.").content)

    Args:
        lease: What `client.lease()` returned, not entered yet.
        options: Arguments of `ChatOpenAI`, such as `temperature` and `timeout`. The model, its URL, its key and its
            connections are those of the lease; usage is asked for with streams too unless `stream_usage` says
            otherwise.

    Raises:
        ConfigurationError: langchain-openai is not installed.
    """

    def __init__(self, lease: L, **options: Any) -> None:
        self._class = _chat_openai()
        self._lease: L = lease
        self._options = options
        self._stack: ExitStack | AsyncExitStack | None = None

    def __enter__(self: LeasedChatModel[sync.Lease]) -> ChatOpenAI:
        """Raises what `Lease.acquire` raises, and ConfigurationError without a key for inference."""
        lease = self._lease
        if not isinstance(lease, sync.Lease):
            raise InvalidArgumentError("the lease is asynchronous: enter it by `async with`")
        lease._inner._core.openai.check()
        with ExitStack() as stack:
            instance = stack.enter_context(lease)._inner
            model, client, _ = self._made(instance, pooled=False)
            stack.callback(client.close)
            self._stack = stack.pop_all()
        return model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cast(ExitStack, self._stack).__exit__(kind, error, traceback)

    async def __aenter__(self: LeasedChatModel[Lease]) -> ChatOpenAI:
        """Raises what `Lease.acquire` raises, and ConfigurationError without a key for inference."""
        lease = self._lease
        if not isinstance(lease, Lease):
            raise InvalidArgumentError("the lease is synchronous: enter it by `with`")
        lease._core.openai.check()
        async with AsyncExitStack() as stack:
            instance = await stack.enter_async_context(lease)
            model, client, async_client = self._made(instance, pooled=True)
            stack.callback(client.close)
            stack.push_async_callback(async_client.close)
            self._stack = stack.pop_all()
        return model

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await cast(AsyncExitStack, self._stack).__aexit__(kind, error, traceback)

    def _made(self, instance: Instance, *, pooled: bool) -> tuple[ChatOpenAI, OpenAI, AsyncOpenAI]:
        """The model of an instance, and its clients, which are to be closed."""
        settings = {_OF_THE_CLIENTS[name]: value for name, value in self._options.items() if name in _OF_THE_CLIENTS}
        clients = instance._client()._openai
        client = clients.synchronous(instance).with_options(**settings)
        async_client = clients.asynchronous(instance, pooled=pooled).with_options(**settings)
        options: dict[str, Any] = {"model": instance.instance_args.hf_name, "stream_usage": True} | self._options
        options |= {"base_url": str(client.base_url), "api_key": client.api_key}
        return (
            self._class(
                **options,
                root_client=client,
                client=client.chat.completions,
                root_async_client=async_client,
                async_client=async_client.chat.completions,
            ),
            client,
            async_client,
        )


def _chat_openai() -> type[ChatOpenAI]:
    try:
        from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports] - as above
    except ImportError as error:
        raise ConfigurationError(
            "a leased chat model needs langchain-openai: pip install 'inferlease[langchain]'"
        ) from error
    chat_openai: type[ChatOpenAI] = ChatOpenAI
    return chat_openai
