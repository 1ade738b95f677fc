"""The tiers of the tests: what each needs, and that none is left out where all must run.

A test belongs to the tier of its folder. With ``AUTOHEP_REQUIRE_ALL=1`` (set by ``make test`` and CI) a test
that is skipped, or a tier in which nothing passed, makes the run fail.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

HERE = Path(__file__).parent
TIERS = ("unit", "property", "dataplane", "netns", "kube")
MARKER_OF_TIER = {"property": "property", "dataplane": "bpf", "netns": "netns", "kube": "kube"}
NEEDS_ROOT = {"bpf", "netns"}

passed_by_tier: pytest.StashKey[Counter[str]] = pytest.StashKey()
skipped: pytest.StashKey[list[str]] = pytest.StashKey()


def tier_of(path: Path) -> str:
    """The folder under tests/ that a test file lies in."""
    return path.relative_to(HERE).parts[0]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[passed_by_tier] = Counter()
    config.stash[skipped] = []
    if "AUTOHEP_OBJECT_CACHE" not in os.environ:
        # What one test has compiled the next one loads, agents that tests start included.
        folder = TemporaryDirectory(prefix="autohep-objects-")
        config.add_cleanup(folder.cleanup)
        os.environ["AUTOHEP_OBJECT_CACHE"] = folder.name
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job ignores it, and so would every process that a test wants to interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """What a command run in a test sets up for its log ends with that test: the next one reads its own."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        return (yield)
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def kernel_version() -> tuple[int, int]:
    """Of the running kernel, as far as it tells what it can do."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int(re.sub(r"\D.*", "", minor))


def leave_to_machines(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need what Debian's kernels have run in ``make test-vm`` (AUTOHEP_VM=1)."""
    if os.environ.get("AUTOHEP_VM") != "1":
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("vm")])
        items[:] = [item for item in items if not item.get_closest_marker("vm")]


def leave_to_newer_kernels(item: pytest.Item) -> None:
    """What a kernel cannot do is not tested on it."""
    marker = item.get_closest_marker("since")
    version = marker.args[0] if marker else (6, 6) if uses_tcx(item) else (0, 0)
    if kernel_version() < version:
        what = marker.args[1] if marker else "tcx"
        item.add_marker(pytest.mark.skip(reason=f"{what} came with Linux {version[0]}.{version[1]}"))


def uses_tcx(item: pytest.Item) -> bool:
    """Whether a test attaches by tcx, as its parameters say."""
    parameters = (
        item.callspec.params.values()
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else ()
    )
    return any(str(value) == "tcx" for value in parameters)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_to_machines(config, items)
    needs_root = pytest.mark.skip(reason="needs root: it loads BPF programs or makes network namespaces")
    for item in items:
        leave_to_newer_kernels(item)
        marker = MARKER_OF_TIER.get(tier_of(item.path))
        if marker is not None:
            item.add_marker(marker)
        if os.geteuid() != 0 and any(item.get_closest_marker(name) for name in NEEDS_ROOT):
            item.add_marker(needs_root)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def]
    report = yield
    if report.skipped:
        item.config.stash[skipped].append(item.nodeid)
    elif report.when == "call" and report.passed:
        item.config.stash[passed_by_tier][tier_of(item.path)] += 1
    return report


def left_out(config: pytest.Config) -> list[str]:
    """What was not tested although everything had to be."""
    if os.environ.get("AUTOHEP_REQUIRE_ALL") != "1":
        return []
    passed = config.stash[passed_by_tier]
    idle = [f"tier {tier}: no test passed" for tier in TIERS if not passed[tier]]
    return idle + [f"skipped: {nodeid}" for nodeid in config.stash[skipped]]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and left_out(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    missing = left_out(config)
    if missing:
        terminalreporter.section("left out, although AUTOHEP_REQUIRE_ALL=1", red=True)
        for line in missing:
            terminalreporter.line(line)
