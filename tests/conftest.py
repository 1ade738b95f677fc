"""The tiers of the tests: what each needs, and that none is left out where all must run.

A test belongs to the tier of its folder. With ``AUTOHEP_REQUIRE_ALL=1`` (set by ``make test`` and CI) a test
that is skipped, or a tier in which nothing passed, makes the run fail.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

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
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job ignores it, and so would every process that a test wants to interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs_root = pytest.mark.skip(reason="needs root: it loads BPF programs or makes network namespaces")
    for item in items:
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
