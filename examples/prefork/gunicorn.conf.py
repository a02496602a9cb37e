"""What gunicorn does where a worker begins and ends; it finds this file by its name."""

from typing import Any

# Longer than a start and a release may take together: a worker that gunicorn kills leaves it to its guard.
graceful_timeout = 900 + 120


def post_worker_init(_worker: Any) -> None:
    """In the new worker, before its first request."""
    from application import lease

    lease.acquire()


def worker_exit(_server: Any, _worker: Any) -> None:
    """In the worker, at its end."""
    from application import client

    client.close()  # releases the lease
