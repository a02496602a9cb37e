"""What gunicorn does where a worker begins and ends; it finds this file by its name."""

from typing import Any

# Seconds, longer than a release may take: a worker that gunicorn kills leaves its instance to the guard.
graceful_timeout = 130
# A worker that is silent for so long is killed; while it enters its lease it is.
timeout = 900 + 130


def post_worker_init(_worker: Any) -> None:
    """In the new worker, before its first request."""
    from application import lease

    lease.acquire()


def worker_exit(_server: Any, _worker: Any) -> None:
    """In the worker, at its end."""
    from application import client

    client.close()  # releases the lease
