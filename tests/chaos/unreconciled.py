"""The safeguard taken out: a start that was left open is begun anew, and nobody looks for what it made."""

from __future__ import annotations

from tests.chaos.reporting import Plan


def apply(plan: Plan) -> None:
    """Take it out of this process where the plan says so."""
    if plan.reconciles:
        return
