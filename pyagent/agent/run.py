"""The agent's life: load the program, follow the datastore and the host, enforce, report.

Killing it at any moment leaves enforcement as it is: programs, maps and links are pinned.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re

from pyagent import abi
from pyagent.agent.claim import Claim, claimed
from pyagent.agent.enforce import Enforcer
from pyagent.agent.lastgood import LastGood
from pyagent.agent.late import Reporting, Watched
from pyagent.agent.life import Agent
from pyagent.agent.memory import be_frugal
from pyagent.agent.metering import Meter
from pyagent.agent.mirror import Mirror
from pyagent.agent.options import AgentOptions
from pyagent.agent.reporting import Reporter
from pyagent.agent.state import OBJECTS, StateDirectory
from pyagent.bpf import layout, loader
from pyagent.bpf.cache import ObjectCache
from pyagent.bpf.maps import Map
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.dataplane import Dataplane
from pyagent.errors import KernelError

__all__ = ["AgentOptions", "claimed", "load_program", "run"]

log = logging.getLogger(__name__)


async def run(datastore: Watched, options: AgentOptions) -> None:
    """Enforce until cancelled. Raises AutohepError if the program cannot be loaded or another agent runs."""
    be_frugal()
    with StateDirectory(options.state_directory) as state:
        state.claim()
        pins = Pins(options.instance)
        ensure_bpffs()
        pins.create()
        with claimed(pins) as claim:
            await _live(datastore, options, state, claim)


async def _live(datastore: Watched, options: AgentOptions, state: StateDirectory, claim: Claim) -> None:
    mirror = Mirror(datastore, options.node, LastGood(state, options.node), kinds=options.kinds)
    # What is to be enforced is read while the kernel verifies what enforces it.
    following = asyncio.create_task(mirror.follow())
    try:
        await _enforce(mirror, following, datastore, options, state, claim)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _enforce(  # noqa: PLR0917
    mirror: Mirror, following: asyncio.Task[None], datastore: Watched, options: AgentOptions,
    state: StateDirectory, claim: Claim,
) -> None:  # fmt: skip
    pins = claim.pins
    image_bytes = await asyncio.to_thread(load_program, pins, options)
    with Dataplane(pins, options.flows_max, image_bytes) as dataplane:
        enforcer = Enforcer(
            options.node,
            pins,
            dataplane,
            state,
            options.xdp_interfaces,
            check_every=options.check_every,
            own_failsafes=options.own_failsafes(),
            remounted=claim.renew,
        )
        meter = Meter(dataplane, state, mirror, options.rule_metrics)
        reporter = Reporter(datastore, mirror) if isinstance(datastore, Reporting) else None
        await Agent(mirror, following, enforcer, meter, reporter, state, options).live()


def load_program(pins: Pins, options: AgentOptions) -> int:
    """Load the program; returns the size of its images, smaller on kernels that refuse the size asked for."""
    image_bytes = options.image_bytes
    cache = ObjectCache(options.state_directory / OBJECTS)
    _make_room(pins, options)

    def load() -> loader.Loaded:
        return loader.load(
            pins, loader.PROGRAMS, flows_max=options.flows_max, image_bytes=image_bytes, cache=cache
        )

    try:
        loaded = load()
    except KernelError as error:
        if error.errno != errno.E2BIG or image_bytes <= abi.IMAGE_BYTES_OLD:
            raise
        image_bytes = abi.IMAGE_BYTES_OLD
        loaded = load()
    log.info(
        "program loaded instance=%s image_bytes=%d maps_kept=%d",
        options.instance,
        image_bytes,
        len(loaded.reused),
    )
    return image_bytes


def _make_room(pins: Pins, options: AgentOptions) -> None:
    """Maps of other sizes than asked for are replaced like those of another version; flows are taken over."""
    wanted = {spec.name: spec for spec in layout.map_specs(options.flows_max, options.image_bytes)}
    for name in ("flows4", "flows6", "images"):
        if not pins.map(name).exists():
            continue
        with Map.open(pins.map(name)) as pinned:
            have = pinned.info.max_entries, pinned.info.value_size
        want = wanted[name].max_entries, wanted[name].value_size
        # A kernel that refuses large images has got small ones, and would again.
        if have != want and not (
            name == "images" and have == (2, abi.IMAGE_BYTES_OLD) and _has_small_images()
        ):
            log.info("maps of other sizes are made map=%s have=%s want=%s", name, have, want)
            pins.set_aside()
            pins.create()
            return


def _has_small_images() -> bool:
    """Whether this kernel is older than 5.16, which is the first to take more than 4 MiB."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(re.sub(r"\D.*", "", minor))) < (5, 16)
