"""The agent's life: load the program, follow the datastore and the host, enforce, report.

Killing it at any moment leaves enforcement as it is: programs, maps and links are pinned.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyagent import __version__, abi
from pyagent.agent.enforce import CHECK_EVERY_S, Enforced, Enforcer
from pyagent.agent.late import Watched
from pyagent.agent.mirror import KINDS, Mirror
from pyagent.agent.state import StateDirectory
from pyagent.attach.events import Changes
from pyagent.bpf import loader
from pyagent.bpf.pins import DEFAULT_INSTANCE, Pins, ensure_bpffs
from pyagent.calc import World
from pyagent.dataplane import Dataplane
from pyagent.errors import AutohepError, KernelError

log = logging.getLogger(__name__)

#: Changes within this time are one pass.
_SETTLE_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How an agent runs. ``recheck``: seconds between looks at what nobody announces (tcx neighbours).

    ``xdp_interfaces``: globs of interfaces to have XDP besides the physical ones. ``check_every``: seconds
    between comparisons of what the kernel holds with what was put there. ``restore_after``: seconds that a
    datastore may be away at start before the image of an earlier run is put in force. ``kinds``: to watch.
    """

    node: str
    instance: str = DEFAULT_INSTANCE
    state_directory: Path = Path("/var/lib/autohep/agent")
    flows_max: int = abi.FLOWS_MAX
    image_bytes: int = abi.IMAGE_BYTES
    recheck: float = 1.0
    xdp_interfaces: tuple[str, ...] = ()
    check_every: float = CHECK_EVERY_S
    restore_after: float = 10.0
    kinds: tuple[str, ...] = KINDS


async def run(datastore: Watched, options: AgentOptions) -> None:
    """Enforce until cancelled. Raises AutohepError if the program cannot be loaded or another agent runs."""
    with StateDirectory(options.state_directory) as state:
        state.claim()
        pins = Pins(options.instance)
        ensure_bpffs()
        pins.create()
        with claimed(pins):
            await _live(datastore, options, state, pins)


async def _live(datastore: Watched, options: AgentOptions, state: StateDirectory, pins: Pins) -> None:
    image_bytes = await asyncio.to_thread(load_program, pins, options)
    with Dataplane(pins, options.flows_max, image_bytes) as dataplane:
        enforcer = Enforcer(
            options.node, pins, dataplane, state, options.xdp_interfaces, check_every=options.check_every
        )
        await _Agent(Mirror(datastore, kinds=options.kinds), enforcer, state, options).live()


@contextmanager
def claimed(pins: Pins) -> Iterator[None]:
    """Make sure that this is the only agent of these pins, whatever its state directory."""
    directory = os.open(pins.base / pins.instance, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AutohepError(f"another agent runs as instance {pins.instance}; stop it first") from error
        yield
    finally:
        os.close(directory)


def load_program(pins: Pins, options: AgentOptions) -> int:
    """Load the program; returns the size of its images, smaller on kernels that refuse the size asked for."""
    image_bytes = options.image_bytes
    try:
        loaded = loader.load(pins, loader.PROGRAMS, flows_max=options.flows_max, image_bytes=image_bytes)
    except KernelError as error:
        if error.errno != errno.E2BIG or image_bytes <= abi.IMAGE_BYTES_OLD:
            raise
        image_bytes = abi.IMAGE_BYTES_OLD
        loaded = loader.load(pins, loader.PROGRAMS, flows_max=options.flows_max, image_bytes=image_bytes)
    log.info(
        "program loaded instance=%s image_bytes=%d maps_kept=%d",
        options.instance,
        image_bytes,
        len(loaded.reused),
    )
    return image_bytes


class _Agent:
    """The tasks of one agent: the mirror, the host's changes, the clock, and the passes they ask for."""

    def __init__(
        self, mirror: Mirror, enforcer: Enforcer, state: StateDirectory, options: AgentOptions
    ) -> None:
        self._mirror = mirror
        self._enforcer = enforcer
        self._state = state
        self._options = options
        self._last: dict[str, Any] = {}
        self._begun = time.monotonic()

    async def live(self) -> None:
        tasks = [
            asyncio.create_task(self._mirror.follow()),
            asyncio.create_task(self._hear()),
            asyncio.create_task(self._pass_by_pass()),
        ]
        try:
            await _first_failure(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self) -> None:
        async with Changes() as changes:
            async for _ in changes:
                self._mirror.changed.set()

    async def _pass_by_pass(self) -> None:
        while True:
            await self._wait()
            self._mirror.changed.clear()
            if self._mirror.synced:
                observed, world = self._mirror.observed(), self._mirror.world
                self._report(await _done(self._enforcer.enforce, world), observed)
            elif time.monotonic() - self._begun >= self._options.restore_after:
                self._report(await _done(self._enforcer.restore), "")

    async def _wait(self) -> None:
        """Until something changed, or it is time to look again."""
        try:
            async with asyncio.timeout(self._options.recheck):
                await self._mirror.changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_SETTLE_S)

    def _report(self, enforced: Enforced, observed: str) -> None:
        status = {
            "node": self._options.node,
            "instance": self._options.instance,
            "version": __version__,
            "pid": os.getpid(),
            "ready": not enforced.problem and not enforced.restored,
            "protected": enforced.protected,
            "generation": enforced.generation,
            "observed": observed,
            "datastoreConnected": self._mirror.connected,
            "restored": enforced.restored,
            "drifts": enforced.drifts,
            "lastDrift": enforced.last_drift,
            "problem": enforced.problem,
            "broken": self._mirror.broken,
            "interfaces": [
                {
                    "name": report.interface,
                    "direction": report.direction.name.lower(),
                    "mode": report.mode,
                    "error": report.error,
                    "overtakenBy": list(report.overtaken_by),
                }
                for report in enforced.interfaces
            ],
            "xdp": [
                {
                    "name": report.interface,
                    "mode": report.mode,
                    "heldBy": report.held_by,
                    "error": report.error,
                }
                for report in enforced.xdp
            ],
            "excluded": enforced.excluded,
            "uncovered": list(enforced.uncovered),
            "warnings": list(enforced.warnings),
        }
        if status != self._last and self._state.write_status({**status, "time": time.time()}):
            self._last = status


async def _done(work: Callable[..., Enforced], *arguments: World) -> Enforced:
    """Do a pass in a thread; what fails becomes its result."""
    try:
        return await asyncio.to_thread(work, *arguments)
    except AutohepError as error:
        log.error("pass failed reason=%r", str(error))
        return Enforced(problem=str(error))


async def _first_failure(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the first task that ends, and raise what it ended with."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
