"""How often each rule decided: totals that survive policy updates and the agent.

The kernel counts by verdict id, and what an id means ends with its generation. So when a generation is
replaced, its counts are added to totals by rule key, which outlasts generations. The kernel's own are never
set back: what was added once is the side's baseline, so nothing counts twice, whoever dies when.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyagent import abi
from pyagent.bpf import syscall
from pyagent.bpf.maps import Map, possible_cpus
from pyagent.compiler.walk import Walker
from pyagent.errors import DriftError, KernelError

log = logging.getLogger(__name__)

#: Name of the file in the agent's directory.
HITS: Final = "hits.json"
#: Seconds for which the totals of a rule are kept that is not in force any more.
KEPT_S: Final = 30 * 86400.0
_FIELDS: Final = 2  # packets, bytes
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Counts = npt.NDArray[np.int64]
#: A verdict as the image's metadata has it: ``rule``, ``logs``, ``staged``.
Verdict = dict[str, Any]


@dataclass(slots=True)
class Total:
    """Packets and bytes that a rule judged since ``since``; ``last``: when that was last noticed, 0: never;
    ``seen``: when the rule was last in force. Times in seconds of the wall clock."""

    packets: int = 0
    bytes: int = 0
    since: float = 0.0
    last: float = 0.0
    seen: float = 0.0

    def add(self, packets: int, size: int, now: float) -> None:
        """Count more packets."""
        self.packets += packets
        self.bytes += size
        self.last = now


@dataclass(slots=True)
class Totals:
    """By rule key, and of staged policies by ``policy/action``."""

    rules: dict[int, Total] = field(default_factory=dict)
    staged: dict[str, Total] = field(default_factory=dict)

    def add(self, verdicts: Sequence[Verdict], counts: Counts, now: float) -> bool:
        """Add counts by verdict id; returns whether there were any."""
        hit = np.flatnonzero(counts[:, 0]).tolist()
        for number in hit:
            packets, size = counts[number].tolist()
            verdict = verdicts[number]
            for key in {verdict["rule"], *verdict["logs"]} - {0}:
                self.rules.setdefault(key, Total(since=now, seen=now)).add(packets, size, now)
            for policy, action in verdict["staged"].items():
                name = f"{policy}/{action}"
                self.staged.setdefault(name, Total(since=now, seen=now)).add(packets, size, now)
        return bool(hit)

    def note(self, keys: Iterable[int], now: float) -> None:
        """These rules are in force, counted from now on or longer; those long gone are forgotten."""
        for key in keys:
            self.rules.setdefault(key, Total(since=now)).seen = now
        self.rules = {key: total for key, total in self.rules.items() if now - total.seen <= KEPT_S}
        self.staged = {key: total for key, total in self.staged.items() if now - total.last <= KEPT_S}


def verdicts_of(image: bytes) -> list[Verdict]:
    """The verdicts of an image, as far as its bytes tell: deciding rules, but neither Log rules nor staged
    policies. Empty if these bytes are no image."""
    try:
        header = Walker(image).header
    except DriftError:
        return []
    found = []
    for number in range(header["verdicts"]):
        _, _, rule = abi.VERDICT.unpack_from(image, header["verdicts_at"] + number * abi.VERDICT.size)
        found.append({"rule": rule, "logs": [], "staged": {}})
    return found


class HitTotals:
    """The totals of one instance, kept in a file. Reading them changes nothing; see :meth:`current`.

    ``generation`` is the one whose counts are being added; 0: none yet.
    """

    def __init__(self, hits: Map, path: Path) -> None:
        self._hits, self._path = hits, path
        self.totals = Totals()
        self.generation = 0
        self._baselines: list[Counts] = [np.zeros((0, _FIELDS), np.int64) for _ in range(2)]
        self._verdicts: Sequence[Verdict] = ()
        self._epoch = f"{_BOOT_ID.read_text(encoding='ascii').strip()}/{hits.info.id}"
        self._known = self._load()

    # ---- the agent's side ----

    def resume(self, generation: int, verdicts: Sequence[Verdict], before: Sequence[Verdict] = ()) -> None:
        """Go on with a kernel in which ``generation`` is in force; ``before``: verdicts of the one before it,
        in case it was replaced and nobody lived to count it."""
        if not self._known:
            self._forget_counts()
        elif self.generation != generation:
            if before and generation - self.generation == 1:
                self._verdicts = before
                self._fold(self.generation & 1, time.time())
            else:
                log.warning("hit counts lost known_generation=%d in_force=%d", self.generation, generation)
                self._forget_counts()
        self.generation, self._verdicts, self._known = generation, verdicts, True

    def replaced(self, generation: int, verdicts: Sequence[Verdict], rules: Iterable[int]) -> None:
        """``generation`` is in force, and no packet is judged by the one before it any more."""
        now = time.time()
        if self.generation:
            self._fold(self.generation & 1, now)
        self.generation, self._verdicts = generation, verdicts
        self.totals.note(rules, now)
        self._save()

    def checkpoint(self) -> None:
        """Write what was counted until now, so that a crash of the machine costs only what comes after."""
        if self.generation and self._fold(self.generation & 1, time.time()):
            self._save()

    # ---- everybody's ----

    def current(self, generation: int, verdicts: Sequence[Verdict]) -> Totals:
        """The totals as they are now, with what the kernel has counted for ``generation`` in force."""
        merged = Totals(
            {key: Total(**asdict(total)) for key, total in self.totals.rules.items()},
            {key: Total(**asdict(total)) for key, total in self.totals.staged.items()},
        )
        if self._known and generation == self.generation:
            merged.add(verdicts, self._fresh(generation & 1, len(verdicts))[0], time.time())
        return merged

    def counted(self, side: int, count: int) -> Counts:
        """Packets and bytes by verdict id of one side since nobody knows when; ``count`` ids from 0."""
        values = _read(self._hits, side * abi.VERDICTS_MAX, count)
        cells = np.frombuffer(values, np.uint64).reshape(count, possible_cpus(), _FIELDS)
        counts: Counts = cells.sum(axis=1).astype(np.int64)
        return counts

    def _fresh(self, side: int, count: int) -> tuple[Counts, Counts]:
        """(what was counted since the baseline, all that was counted)."""
        counted = self.counted(side, count)
        baseline = np.zeros_like(counted)
        known = self._baselines[side][:count]
        baseline[: len(known)] = known
        return np.where(counted >= baseline, counted - baseline, counted), counted

    def _fold(self, side: int, now: float) -> bool:
        count = len(self._verdicts)
        fresh, counted = self._fresh(side, count)
        self._baselines[side] = np.concatenate([counted, self._baselines[side][count:]])
        return self.totals.add(self._verdicts, fresh, now)

    def _forget_counts(self) -> None:
        """What is counted already belongs to nobody known."""
        self._baselines = [self.counted(side, abi.VERDICTS_MAX) for side in range(2)]

    # ---- the file ----

    def _load(self) -> bool:
        """Whether the file is about this map."""
        try:
            raw = json.loads(self._path.read_text(encoding="utf-8"))
            self.totals = Totals(
                {int(key): Total(**total) for key, total in raw["rules"].items()},
                {key: Total(**total) for key, total in raw["staged"].items()},
            )
            baselines = [np.array(side, np.int64).reshape(-1, _FIELDS) for side in raw["baselines"]]
            generation, epoch = int(raw["generation"]), raw["epoch"]
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("hit totals unreadable file=%s reason=%r totals=from_now_on", self._path, str(error))
            self.totals = Totals()
            return False
        if epoch != self._epoch:
            return False
        self.generation, self._baselines = generation, baselines
        return True

    def _save(self) -> None:
        raw = {
            "epoch": self._epoch,
            "generation": self.generation,
            "baselines": [_trimmed(side).tolist() for side in self._baselines],
            "rules": {key: asdict(total) for key, total in self.totals.rules.items()},
            "staged": {key: asdict(total) for key, total in self.totals.staged.items()},
        }
        try:
            _replace(self._path, json.dumps(raw))
        except OSError as error:  # counting is no reason not to enforce
            log.warning("hit totals not saved file=%s reason=%r", self._path, str(error))


def _replace(path: Path, text: str) -> None:
    """Whoever reads sees the old file or the new one."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _trimmed(counts: Counts) -> Counts:
    """Without the zeros at the end."""
    used = np.flatnonzero(counts.any(axis=1))
    return counts[: used[-1] + 1 if len(used) else 0]


def _read(hits: Map, start: int, count: int) -> bytes:
    """Raw values of ``count`` elements from ``start``; in one call where the kernel can (5.13)."""
    if not count:
        return b""
    token = struct.pack("=I", start - 1) if start else None
    try:
        batch = syscall.map_lookup_batch(hits.fd, token, 4, hits.value_bytes, count)
    except KernelError:
        batch = None
    if batch is not None and batch.count == count:
        return batch.values
    values = (hits.get(struct.pack("=I", number)) for number in range(start, start + count))
    return b"".join(value or bytes(hits.value_bytes) for value in values)
