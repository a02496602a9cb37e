"""An emulator, and its document as schemathesis reads it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from attrs import frozen
from hypothesis import HealthCheck, Phase, settings

from inferlease.emulator import Emulator
from inferlease.emulator.openapi import document
from inferlease.emulator.provisioning import CLIENT_ID, CLIENT_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis.schemas import BaseSchema

# How many examples there are is what the profile says. They take long, and to shrink one would take minutes.
patient = settings(suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.reuse, Phase.generate))

TOKEN = "the-token-of-the-test"


@frozen
class Account:
    """One emulator, and what a test asks of it by hand."""

    emulator: Emulator

    def call(self, method: str, path: str, **body: object) -> Any:
        """The JSON that a request is answered with."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.request(method, self.emulator.base_url + path, json=body, headers=headers, timeout=10)
        return answer.json()


@contextmanager
def opened(**options: Any) -> Iterator[Account]:
    """An emulator to which `TOKEN` gives access."""
    with pytest.MonkeyPatch.context() as patch, Emulator(**options) as emulator:
        patch.setattr("secrets.token_urlsafe", lambda _: TOKEN)
        account = Account(emulator)
        credentials = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        account.call("POST", "/oauth2/token", grant_type="client_credentials", **credentials)
        yield account


def schema() -> BaseSchema:
    """The document, with `TOKEN`, and the default checks as they are but for one status.

    Whether an instance may be restarted or deleted depends on its state, which no document can tell.
    """
    by_state = {"expected-statuses": ["2xx", "400", "401", "404"]}
    config = {
        "auth": {"openapi": {"bearer": {"bearer": TOKEN}}},
        "operations": [
            {"include-operation-id": each, "checks": {"positive_data_acceptance": by_state}}
            for each in ("restart", "delete")
        ],
    }
    return schemathesis.openapi.from_dict(
        document("http://127.0.0.1/api/v1"), config=schemathesis.Config.from_dict(config)
    )
