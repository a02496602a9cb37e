"""The emulator: one server on a thread and loop of its own."""

import asyncio
import math
import secrets
import shlex
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, get_args

from inferlease.emulator.app import API, INFERENCE, build_app, serve
from inferlease.emulator.books import Books
from inferlease.emulator.catalogue import HARDWARE_TYPES
from inferlease.emulator.faults import Fault
from inferlease.emulator.fleet import Fleet
from inferlease.emulator.gate import Gate
from inferlease.emulator.holds import Hold, Operation, Phase
from inferlease.emulator.inference import INFERENCE_KEY, Inference, Upstream
from inferlease.emulator.injection import Injector
from inferlease.emulator.life import Billing, Clock, Pace
from inferlease.emulator.provisioning import CLIENT_ID, CLIENT_SECRET, Provisioning, Tokens

if TYPE_CHECKING:
    import inferlease.sync


class Emulator:
    """A server of the whole provisioning API and of its instances, as a context manager, plain or `async`.

    It serves until the end of the `with` block, then drops open streams and held requests; its books can be read
    after that too. Client id, client secret and inference key are all `emulator`. It never handles a signal. What
    the documentation of the real server leaves open is the emulator's own assumption: see `bill_pending`,
    `bill_per_gpu` and `bill_rounding`; and once the balance is used up, a start or restart is refused with 402.

    Args:
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        seconds_per_step: how long a worker takes for each of its steps; each worker begins one step after the one
            before it, and the instance is usable when the first has done all.
        steps: how many steps there are.
        stop_delay: seconds from a stop request to the stop; meanwhile the instance lives on, and is billed.
        token_lifetime: seconds that an access token is valid.
        balance: EUR on the account; falls by what the instances cost.
        bill_pending: whether an instance is billed from its start on (the default) or from when it is usable.
        bill_per_gpu: whether a price is one for each GPU, or for the hardware type (the default).
        bill_rounding: whether each life of an instance is rounded up to its billing interval; by default not at all.
        capacity: how many live instances of a hardware type there is room for, by type id; others have no limit.
        list_num_workers: False leaves `num_workers` out of the list of instances, like the documented sample.
        upstream: base URL of a real OpenAI-compatible server that answers for the instances, such as
            `http://127.0.0.1:8000/v1`; bodies pass unchanged both ways.
        upstream_key: the bearer key for it.
        faults: what goes wrong; a request meets one at most.
        seed: of the draws by rate. With the same seed and faults, the n-th request of an operation meets the same
            fault.
        list_lag: seconds by which the list of instances is behind; a single instance is always up to date.
        late_creation: seconds after which an instance comes into being whose start met a fault that left it open;
            until then it is neither seen nor billed. Several take turns, one start each.
        refused_stops: how many requests to stop it each live instance refuses with 409 before one is granted; to
            stop or delete all is never refused. For a rate, there is the fault `status_409` on `stop`.
        outages: `{type id: (seconds, every)}`: that hardware type is not available for the first `seconds` of
            `every` seconds, from now on; starts on it are refused meanwhile.

    Raises:
        ValueError: `steps` is less than 1, a duration or number is negative, `balance` is no number, an outage is
            longer than what it recurs after, or `capacity` or `outages` names an unknown hardware type.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seconds_per_step: float = 1.0,
        steps: int = 5,
        stop_delay: float = 0.0,
        token_lifetime: float = 3600.0,
        balance: float = 100.0,
        bill_pending: bool = True,
        bill_per_gpu: bool = False,
        bill_rounding: bool = False,
        capacity: Mapping[str, int] | None = None,
        list_num_workers: bool = True,
        upstream: str | None = None,
        upstream_key: str | None = None,
        faults: Iterable[Fault] = (),
        seed: int = 0,
        list_lag: float = 0.0,
        late_creation: float | Sequence[float] = 0.0,
        refused_stops: int = 0,
        outages: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        delays = tuple(late_creation) if isinstance(late_creation, Sequence) else (late_creation,)
        if not delays:
            raise ValueError("late_creation is a number of seconds, or several of them")
        numbers = (seconds_per_step, stop_delay, token_lifetime, list_lag, *delays, refused_stops)
        if steps < 1 or min(*numbers, *(capacity or {}).values()) < 0:
            raise ValueError("steps must be at least 1, and no duration or number negative")
        if not math.isfinite(balance):
            raise ValueError(f"a balance of {balance} is no amount of money")
        for name, by_type in (("capacity", capacity or {}), ("outages", outages or {})):
            unknown = set(by_type) - set(HARDWARE_TYPES)
            if unknown:
                raise ValueError(
                    f"{name} names unknown hardware types: {', '.join(sorted(unknown))};"
                    f" there are: {', '.join(HARDWARE_TYPES)}"
                )
        for seconds, every in (outages or {}).values():
            if not 0 <= seconds <= every or every == 0:
                raise ValueError(f"an outage of {seconds} of every {every} seconds is impossible")
        self._address = (host, port)
        self._list_num_workers = list_num_workers
        self._list_lag = list_lag
        self._late_creation = delays
        self._clock = Clock()
        self._fleet = Fleet(
            clock=self._clock,
            pace=Pace(steps, seconds_per_step),
            stop_delay=stop_delay,
            billing=Billing(bill_pending, bill_per_gpu, bill_rounding),
            balance=balance,
            capacity=capacity or {},
            refused_stops=refused_stops,
            outages=outages or {},
        )
        self._tokens = Tokens(self._clock, token_lifetime)
        self._upstream = None if upstream is None else Upstream(upstream, upstream_key)
        self._inference = Inference(fleet=self._fleet, tokens=self._tokens, clock=self._clock, upstream=self._upstream)
        self._gate = Gate(Injector(faults, seed, self._tokens.revoke))
        # Nobody else guesses its name.
        self._state = Path(tempfile.gettempdir()) / f"inferlease-emulator-{secrets.token_hex(8)}"
        self._root: str | None = None
        self._thread: threading.Thread | None = None
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None

    def start(self) -> Self:
        """Begin to serve; returns once requests are answered.

        Raises:
            OSError: the address is taken.
            RuntimeError: it was started before; an emulator serves once.
        """
        self._start_thread()
        self._ready.result()
        return self

    def stop(self) -> None:
        """Stop serving; returns once the thread is gone. May be called again."""
        self._ask_to_stop()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self._start_thread()
        try:
            await asyncio.shield(asyncio.wrap_future(self._ready))
        except asyncio.CancelledError:
            self._ready.add_done_callback(lambda _: self._ask_to_stop())
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ask_to_stop()
        while self._thread is not None and self._thread.is_alive():  # noqa: ASYNC110 - joining blocks the caller's loop
            await asyncio.sleep(0.001)

    @property
    def base_url(self) -> str:
        """Base URL of the provisioning API, such as `http://127.0.0.1:40123/api/v1`.

        Raises:
            RuntimeError: it has not been started.
        """
        if self._root is None:
            raise RuntimeError("the emulator has not been started")
        return self._root + API

    def client(self, **overrides: Any) -> "inferlease.Client":
        """An async client of this emulator; `overrides` are arguments of `inferlease.Client`."""
        from inferlease import Client

        return Client(**(self._client_settings() | overrides))

    def sync_client(self, **overrides: Any) -> "inferlease.sync.Client":
        """A synchronous client of this emulator; `overrides` are arguments of `inferlease.sync.Client`."""
        from inferlease.sync import Client

        return Client(**(self._client_settings() | overrides))

    def environment(self) -> dict[str, str]:
        """The environment variables with which a client reaches this emulator.

        `INFERLEASE_STATE_DIR` among them: what is started here is forgotten with the emulator.
        """
        return {
            "CORTECS_API_BASE_URL": self.base_url,
            "CORTECS_CLIENT_ID": CLIENT_ID,
            "CORTECS_CLIENT_SECRET": CLIENT_SECRET,
            "INFERLEASE_INFERENCE_KEY": INFERENCE_KEY,
            "INFERLEASE_STATE_DIR": str(self._state),
        }

    def export_lines(self) -> list[str]:
        """`environment()` as lines for a POSIX shell, such as `export CORTECS_CLIENT_ID=emulator`."""
        return [f"export {name}={shlex.quote(value)}" for name, value in self.environment().items()]

    def books(self) -> Books:
        """What happened and what it costs, up to now or to the end of the emulator; thread-safe."""
        return Books(
            instances=self._fleet.books(),
            requests=dict(self._gate.requests),
            faults=self._gate.injector.counts(),
            asked_by=self._gate.askers(),
            tokens_issued=self._tokens.issued,
            api_tokens_at_inference=self._inference.api_tokens_seen,
            balance=self._fleet.balance(),
        )

    def revoke_tokens(self) -> None:
        """Let no access token issued so far be valid any more; thread-safe."""
        self._tokens.revoke_all()

    def inject(self, *faults: Fault) -> None:
        """Deliver these faults too, from the next request on; thread-safe. Those given before come first."""
        self._gate.injector.add(faults)

    def mend(self, operation: Operation | None = None) -> None:
        """Deliver no fault any more, or none to requests of `operation`; thread-safe."""
        self._gate.injector.mend(operation)

    def hold(self, operation: Operation, phase: Phase, *, skip: int = 0) -> Hold:
        """Hold the next request of `operation`, or the one after `skip` more; thread-safe.

        Args:
            operation: which kind of request.
            phase: `before` it is handled; `unanswered`: handled, nothing of the answer sent; `mid_body`: half of
                the answer's body sent (of a stream, half of its events; of one passed through, its first chunk).
            skip: how many requests of the operation go by before; holds that count to the same request all hold it.

        Returns:
            The hold; the request goes on when it is released. One whose client has gone meanwhile is still handled.

        Raises:
            ValueError: there is no such operation or phase.
        """
        if operation not in get_args(Operation) or phase not in get_args(Phase):
            raise ValueError(f"no such operation or phase: {operation!r}, {phase!r}")
        hold = Hold(operation, phase, skip)
        self._gate.holds.add(hold)
        return hold

    def _client_settings(self) -> dict[str, Any]:
        return {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "base_url": self.base_url,
            "inference_key": INFERENCE_KEY,
            "ledger": self._state,
        }

    def _start_thread(self) -> None:
        if self._thread is not None:
            raise RuntimeError("an emulator serves once: make another one")
        host, port = self._address
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        shown_host = f"[{host}]" if ":" in host else host
        self._root = f"http://{shown_host}:{listener.getsockname()[1]}"
        # A daemon, for a program that forgets its emulator must still end.
        self._thread = threading.Thread(
            target=self._run, args=(listener, self._root), name="inferlease-emulator", daemon=True
        )
        self._thread.start()

    def _ask_to_stop(self) -> None:
        if self._loop is None or self._end is None:
            return
        with suppress(RuntimeError):  # The loop is closed: it has stopped already.
            self._loop.call_soon_threadsafe(self._end.set)

    def _run(self, listener: socket.socket, root: str) -> None:
        try:
            with suppress(OSError):  # whoever starts something is told
                self._state.mkdir(0o700)
            with listener:
                asyncio.run(self._serve(listener, root))
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._clock.stop()
            shutil.rmtree(self._state, ignore_errors=True)

    async def _serve(self, listener: socket.socket, root: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        provisioning = Provisioning(
            fleet=self._fleet,
            tokens=self._tokens,
            clock=self._clock,
            inference_root=root + INFERENCE,
            list_num_workers=self._list_num_workers,
            list_lag=self._list_lag,
            late_creation=self._late_creation,
        )
        app = build_app(gate=self._gate, provisioning=provisioning, inference=self._inference, books=self.books)
        if self._upstream is not None:
            app.on_cleanup.append(self._upstream.close)
        await serve(app, listener, ready=lambda: self._ready.set_result(None), until=self._end)
