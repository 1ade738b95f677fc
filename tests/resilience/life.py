"""Faults of a node's life: out of memory, a lost bpffs, a clock that jumps, other versions, a reboot."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pyagent import manifest
from pyagent.bpf.pins import BPFFS, Pins
from tests.lab.lab import HEPCTL, PROJECT
from tests.resilience.faults import Fault, hide, show
from tests.resilience.site import AGENT, NODE, Site, policy, run

_A_WHILE: Final = 1.5  # seconds: longer than the agent waits between two looks
_YEARS: Final = 10 * 365 * 86400
_MEMORY: Final = Path("/sys/fs/cgroup/memory")


def run_out_of_memory(site: Site) -> None:
    """The kernel ends the agent while it compiles a large policy; it comes back where there is room."""
    with _memory_group(site) as (group, events):
        (group / "cgroup.procs").write_text(f"{site.processes.pid(AGENT)}\n")
        _limit(group, 1 << 20)
        site.datastore.update(policy(1000))
        _until(lambda: site.processes.pid(AGENT) is None, "the agent has run out of memory")
        if "oom_kill 0" in events.read_text():
            raise RuntimeError(f"the agent ended, but not by the kernel\n{site.processes.log(AGENT)}")
    time.sleep(_A_WHILE)
    site.start_and_wait()


def unmount(site: Site) -> None:
    """Somebody unmounts the agent's bpffs: every pin is gone. The agent holds them, and makes them anew."""
    links = len(site.pins.links())
    run(*site.inside("umount", "--lazy", str(BPFFS)))
    if site.pins.links():
        raise RuntimeError("the pins are still there")
    time.sleep(_A_WHILE)
    site.datastore.update(policy(9))
    site.settle()
    if len(site.pins.links()) != links:
        raise RuntimeError(f"the pins did not come back\n{site.processes.log(AGENT)}")


def jump_clock(site: Site) -> None:
    """The wall clock of a running agent goes ten years ahead, and then twenty back."""
    library, offset = site.state.with_name("clock.so"), site.state.with_name("offset")
    source = Path(__file__).with_name("clock.c")
    run("cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl")
    site.processes.stop(AGENT)
    site.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(offset)}
    site.start_and_wait()
    for number, seconds in enumerate((_YEARS, -_YEARS)):
        offset.write_text(str(seconds))
        site.datastore.update(policy(3 + number))
        site.settle()
        said = float(site.status()["time"])
        if abs(said - time.time() - seconds) > 3600:
            raise RuntimeError(f"the agent's clock did not jump: it says {said}")
        time.sleep(_A_WHILE)
    site.environment = {}


def change_version(site: Site) -> None:
    """An agent whose maps have another layout takes over, and then this one again."""
    other = site.state.with_name("other")
    shutil.copytree(PROJECT / "pyagent", other / "pyagent", symlinks=True, dirs_exist_ok=True)
    shutil.copytree(PROJECT / "bpf", other / "bpf", dirs_exist_ok=True)
    for file in (other / "bpf" / "abi.h", other / "pyagent" / "abi.py"):
        text, count = re.subn(r"(ABI_VERSION(?:: Final =)?) \d+", r"\1 99", file.read_text(), count=1)
        if not count:
            raise RuntimeError(f"no version in {file}")
        file.write_text(text)
    for path, version in ((str(other), 99), (str(PROJECT), site.pins.abi)):
        site.processes.stop(AGENT)
        site.environment = {"PYTHONPATH": path}
        site.start_and_wait()
        if not Pins(site.pins.instance, site.pins.base, version).links():
            raise RuntimeError(f"version {version} did not take over\n{site.processes.log(AGENT)}")
    site.environment = {}


def delete_node(site: Site) -> None:
    """The Node object is deleted while the agent is down; the host endpoint was made by hand, and stays."""
    site.processes.kill(AGENT)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    site.datastore.create(manifest.decode(node))
    _controller_once(site)
    site.datastore.delete("Node", NODE)
    _controller_once(site)
    site.start_and_wait()


def shut_down(site: Site) -> None:
    """As a reboot: the wire is down, every program, map and link gone, and no datastore within reach."""
    site.processes.stop(AGENT)
    run(*site.inside("ip", "link", "set", "wire", "down"))
    run(*site.inside("umount", "--lazy", str(BPFFS)))
    run(*site.inside("mount", "-t", "bpf", "bpf", str(BPFFS)))
    hide(site.datastore_directory)
    options = ["--node", NODE, "--instance", site.pins.instance, "--state-dir", str(site.state)]
    run(*site.inside(str(HEPCTL), "restore-node", *options))
    run(*site.inside("ip", "link", "set", "wire", "up"))


def boot(site: Site) -> None:
    """With the wire up and traffic on it, the agent starts; later the datastore answers."""
    site.start()
    site.wait(lambda status: status.get("restored", False))
    time.sleep(_A_WHILE)
    show(site.datastore_directory)
    site.settle()


LIFE: Final = (
    Fault("agent out of memory, ended by the kernel", run_out_of_memory),
    Fault("bpffs unmounted under the agent", unmount),
    Fault("wall clock jumps by years, ahead and back", jump_clock, Site.start_and_wait_anew),
    Fault("upgraded to other maps, and downgraded", change_version),
    Fault("Node deleted while the agent is down", delete_node),
    Fault("cold boot from the saved image, then the agent", boot, before=shut_down),
)


@contextmanager
def _memory_group(site: Site) -> Iterator[tuple[Path, Path]]:
    """A memory cgroup of our own, of either version; and the file that counts kills."""
    old = _MEMORY.is_dir()
    group = (_MEMORY if old else _MEMORY.parent) / site.pins.instance
    group.mkdir()
    try:
        yield group, group / ("memory.oom_control" if old else "memory.events")
    finally:
        site.processes.kill(AGENT)
        _until(lambda: not (group / "cgroup.procs").read_text(), "nobody is in the memory cgroup")
        group.rmdir()


def _limit(group: Path, amount: int) -> None:
    """What is in memory already is not counted; ``amount`` bytes more are allowed."""
    for name in ("memory.limit_in_bytes", "memory.max"):
        if (group / name).exists():
            (group / name).write_text(str(amount))


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it did not become true that {what}")
        time.sleep(0.01)


def _controller_once(site: Site) -> None:
    command = [str(HEPCTL), "controller", "--once", "--datastore", str(site.datastore_directory)]
    subprocess.run(command, check=True, capture_output=True)
