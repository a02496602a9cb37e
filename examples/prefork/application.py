"""A WSGI application under gunicorn, each worker of which leases an instance of its own.

    gunicorn --workers 2 application

Its configuration, `gunicorn.conf.py`, enters the leases and releases them. Credentials come from CORTECS_CLIENT_ID and
CORTECS_CLIENT_SECRET, the key for the instance from INFERLEASE_INFERENCE_KEY; `inferlease emulator` prints values to
try it with. Needs the extra `openai`, and gunicorn.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from openai import OpenAI

from inferlease.sync import Client

MODEL = "meta-llama/Llama-3.1-8B-Instruct"

client = Client()
lease = client.lease(MODEL, probe=True)  # starts nothing yet: also with `--preload`, where this runs before the fork


@cache
def llm() -> OpenAI:
    """The client of this worker's instance."""
    if lease.instance is None:
        raise RuntimeError("there is no lease: start gunicorn where its gunicorn.conf.py is")
    return lease.instance.openai()


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer `/?q=...`."""
    question = parse_qs(environ["QUERY_STRING"]).get("q", ["Say hello."])[0]
    answer = llm().chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}])
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [(answer.choices[0].message.content or "").encode()]
