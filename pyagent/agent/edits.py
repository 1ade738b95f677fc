"""The agent's part in edits in place: made at once, written to disk a little later and all together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from pyagent.calc.moves import Move
from pyagent.calc.view import AddressSet
from pyagent.compiler.edit import Editor
from pyagent.compiler.image import Image
from pyagent.dataplane import Dataplane

log = logging.getLogger(__name__)

#: Seconds that edits may be newer than the files that tell of them.
SAVE_AFTER_S: Final = 10.0


class Edits:
    """Edits the image in force of one instance."""

    def __init__(self, dataplane: Dataplane) -> None:
        self._dataplane = dataplane
        self._editor: Editor | None = None
        self._since: float | None = None

    def begin(self, image: Image) -> None:
        """``image`` was compiled and is in force now."""
        self._editor, self._since = image.editor(), None

    def end(self) -> None:
        """What is in force is not known well enough to be edited any more."""
        self._editor = None

    @property
    def possible(self) -> bool:
        """Whether there is an image to edit."""
        return self._editor is not None

    def make(self, moves: Sequence[Move]) -> bool:
        """Give the addresses their new classes; False: some class is not known, or there is no room.

        Then the policy has to be compiled; meanwhile each address has its old class or its new one.
        """
        if self._editor is None:
            return False
        begun = time.thread_time()
        resolved = self._editor.resolve(self._dataplane.walker(), moves)
        if resolved is None:
            return False
        editor, walker = self._editor, self._dataplane.walker()
        changes = [each for each in resolved if walker.address_class(*each[:2]) != each[2]]
        place = iter(changes)
        made = self._dataplane.patch(lambda walker: editor.patch(walker, *next(place)), len(changes))
        if made:
            self._since = self._since or time.monotonic()
        log.info(
            "image edited in place generation=%d addresses=%d of=%d cpu_ms=%.2f",
            self._dataplane.generation,
            made,
            len(moves),
            (time.thread_time() - begun) * 1e3,
        )
        return made == len(changes)

    def unsaved(self) -> bool:
        """Whether it is time to write what edits changed; asked again it is not."""
        if self._since is None or time.monotonic() - self._since < SAVE_AFTER_S:
            return False
        self._since = None
        return True

    def sizes(self, sizes: Mapping[AddressSet, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """Sizes by the sets' places in the image's metadata."""
        return {} if self._editor is None else self._editor.by_place(sizes)
