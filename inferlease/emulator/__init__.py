"""A real HTTP server of the provisioning API and of the instances behind it, for tests and for trying things out.

```python
from inferlease.emulator import Emulator

with Emulator(seconds_per_step=0.05) as emulator, emulator.sync_client() as client:
    ...
print(emulator.books().still_billed)
```
"""

from inferlease.emulator.answers import expected_answer, expected_embedding
from inferlease.emulator.books import Books, InstanceBooks, RunBooks
from inferlease.emulator.faults import Fault, FaultKind
from inferlease.emulator.holds import Hold, Operation, Phase
from inferlease.emulator.server import Emulator

__all__ = [
    "Books",
    "Emulator",
    "Fault",
    "FaultKind",
    "Hold",
    "InstanceBooks",
    "Operation",
    "Phase",
    "RunBooks",
    "expected_answer",
    "expected_embedding",
]
