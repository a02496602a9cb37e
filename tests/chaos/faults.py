"""What goes wrong in the loads, and how often: three requests in ten, and a start may meet every kind."""

from __future__ import annotations

from typing import get_args

from inferlease.emulator import FaultKind, Operation
from tests.test_fault_storm import is_overcome

RATE = 0.3
AMBIGUOUS = [kind for kind in FaultKind if kind.is_ambiguous_on("start")]


def is_met(kind: FaultKind, operation: Operation) -> bool:
    """Whether a load delivers it: a start meets all that it can, other calls what a lease has to get over by itself."""
    return operation in kind.operations and (operation == "start" or is_overcome(kind, operation))


def of_every_kind(rate: float = RATE) -> list[str]:
    """For each operation the kinds that it meets, as `Fault.parse` reads them; what meets few operations more often."""
    places = {kind: [operation for operation in get_args(Operation) if is_met(kind, operation)] for kind in FaultKind}
    faults: list[str] = []
    for operation in get_args(Operation):
        shares = {kind: len(places[kind]) ** -0.5 for kind in FaultKind if operation in places[kind]}
        faults += [f"{kind}:{operation}={rate * share / sum(shares.values())}" for kind, share in shares.items()]
    return faults


def ambiguous_starts(rate: float = RATE) -> list[str]:
    """Every kind that leaves a start open, and nothing else."""
    return [f"{kind}:start={rate / len(AMBIGUOUS)}" for kind in AMBIGUOUS]
