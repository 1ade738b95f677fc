"""The agent's part in counting: totals go on over policy updates and its own restarts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from pyagent.agent.state import StateDirectory
from pyagent.compiler.image import Image
from pyagent.compiler.saved import load_metadata
from pyagent.dataplane import Dataplane, grace
from pyagent.dataplane.hits import HITS, HitTotals, verdicts_of
from pyagent.errors import AutohepError

#: Seconds between writes of what was counted within one generation.
CHECKPOINT_S: Final = 60.0


class Counting:
    """Keeps the totals of one instance up to date, whatever happened before."""

    def __init__(self, dataplane: Dataplane, state: StateDirectory) -> None:
        self._state = state
        self._totals = HitTotals(dataplane.map("hits"), state.path / HITS)
        self._written = time.monotonic()
        generation, saved = dataplane.generation, _saved(state)

        def verdicts(of: int) -> Sequence[dict[str, Any]]:
            """What ids of a generation mean: best from the saved metadata, else from the kernel's image."""
            return saved["verdicts"] if saved.get("generation") == of else verdicts_of(dataplane.image_of(of))

        self._totals.resume(generation, verdicts(generation), verdicts(generation - 1) if generation else ())

    def replaced(self, image: Image) -> None:
        """``image`` was put in force just now. One that was kept for a start without datastore has no
        metadata of its own; what is saved may be about it."""
        grace.wait()  # packets that began under the generation before it still count there
        metadata = image.metadata
        if "verdicts" not in metadata:
            saved = _saved(self._state)
            metadata = saved if saved.get("generation") == image.generation else {}
        verdicts = metadata["verdicts"] if metadata else verdicts_of(bytes(image.data))
        self._totals.replaced(image.generation, verdicts, map(int, metadata.get("rules", ())))
        self._written = time.monotonic()

    def checkpoint(self) -> None:
        """Write what was counted, if the last time was long enough ago."""
        if time.monotonic() - self._written >= CHECKPOINT_S:
            self._written = time.monotonic()
            self._totals.checkpoint()


def _saved(state: StateDirectory) -> dict[str, Any]:
    try:
        return load_metadata(state.path)
    except AutohepError:
        return {}
