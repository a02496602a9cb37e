"""The safeguard taken out: a start that was left open is sent again, and nobody looks for what it made."""

from __future__ import annotations

from inferlease._late import LateStarts
from inferlease._reconcile import Reconciler
from tests.chaos.reporting import Plan


def apply(plan: Plan) -> None:
    """Take it out of this process where the plan says so."""
    if plan.reconciles:
        return

    async def nothing(*_: object, **__: object) -> None:
        """Neither found, nor looked for."""

    Reconciler.resolve = nothing  # type: ignore[assignment, method-assign]
    LateStarts.look = nothing  # type: ignore[method-assign]
