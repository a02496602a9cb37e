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

# What is the lease's own, under each name that `ChatOpenAI` has for it.
_OF_THE_LEASE = frozenset(
    {
        *("model", "model_name", "base_url", "openai_api_base", "api_key", "openai_api_key", "openai_proxy"),
        *("http_client", "http_async_client", "client", "async_client", "root_client", "root_async_client"),
    }
)


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
        InvalidArgumentError: An option is the lease's own.
        ValueError: `ChatOpenAI` refuses an option. Nothing was started.
    """

    def __init__(self, lease: L, **options: Any) -> None:
        self._class = _chat_openai()
        self._lease: L = lease
        self._options = options
        self._stack: ExitStack | AsyncExitStack | None = None
        self._check()

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
        clients, settings = instance._client()._openai, self._settings()
        client = clients.synchronous(instance).with_options(**settings)
        async_client = clients.asynchronous(instance, pooled=pooled).with_options(**settings)
        return self._model(instance.instance_args.hf_name, client, async_client), client, async_client

    def _settings(self) -> dict[str, Any]:
        """The options that are about the clients; of these, none has `None` retries."""
        found = {_OF_THE_CLIENTS[name]: value for name, value in self._options.items() if name in _OF_THE_CLIENTS}
        if found.get("max_retries", 0) is None:
            del found["max_retries"]
        return found

    def _model(self, name: str, client: OpenAI, async_client: OpenAI | AsyncOpenAI) -> ChatOpenAI:
        options: dict[str, Any] = {"stream_usage": True, "model": name} | self._options
        options |= {"base_url": str(client.base_url), "api_key": client.api_key}
        return self._class(
            **options,
            root_client=client,
            client=client.chat.completions,
            root_async_client=async_client,
            async_client=async_client.chat.completions,
        )

    def _check(self) -> None:
        """Make a model that leads nowhere: what is wrong with an option must not show once an instance is paid for."""
        from openai import DefaultHttpxClient, OpenAI

        if refused := sorted(_OF_THE_LEASE & self._options.keys()):
            raise InvalidArgumentError(f"{', '.join(refused)}: that of the lease is taken; leave it out")
        with OpenAI(
            api_key="none", base_url="http://127.0.0.1", http_client=DefaultHttpxClient(trust_env=False)
        ) as client:
            settled = client.with_options(**self._settings())
            self._model(_name_of(self._lease), settled, settled)


def _name_of(lease: Lease | sync.Lease) -> str:
    return (lease._inner if isinstance(lease, sync.Lease) else lease)._choices[0].hf_name


def _chat_openai() -> type[ChatOpenAI]:
    try:
        from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports] - as above
    except ImportError as error:
        raise ConfigurationError(
            "a leased chat model needs langchain-openai: pip install 'inferlease[langchain]'"
        ) from error
    chat_openai: type[ChatOpenAI] = ChatOpenAI
    return chat_openai
