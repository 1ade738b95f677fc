"""The tooling: tiers that may not be left out, a wheel that is whole, verbs that explain themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import TIERS

PROJECT = Path(__file__).parents[2]
PASSES = "def test_it():\n    pass\n"
SKIPS = "import pytest\n\n\ndef test_it():\n    pytest.skip('no reason')\n"


def run_tiers(
    directory: Path, tiers: dict[str, str], *, require_all: bool
) -> subprocess.CompletedProcess[str]:
    """Run pytest on a project with one test file in each tier, under our conftest and settings."""
    directory.mkdir(exist_ok=True)
    shutil.copy(PROJECT / "pyproject.toml", directory)
    for tier, content in tiers.items():
        (directory / "tests" / tier).mkdir(parents=True)
        (directory / "tests" / tier / f"test_{tier}.py").write_text(content)
    shutil.copy(PROJECT / "tests" / "conftest.py", directory / "tests")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=directory,
        env={**os.environ, "AUTOHEP_REQUIRE_ALL": "1" if require_all else ""},
        capture_output=True,
        text=True,
        check=False,
    )


def passing(*tiers: str) -> dict[str, str]:
    return dict.fromkeys(tiers, PASSES)


@pytest.fixture
def as_root() -> None:
    assert os.geteuid() == 0, "the tiers that need root are skipped without it, which is what this would show"


def test_all_tiers_passing_is_success_where_all_must_run(tmp_path: Path, as_root: None) -> None:
    done = run_tiers(tmp_path, passing(*TIERS), require_all=True)
    assert done.returncode == 0, done.stdout


def test_a_skipped_test_and_an_empty_tier_are_failures_only_where_all_must_run(
    tmp_path: Path, as_root: None
) -> None:
    skipping = PASSES + SKIPS.replace("test_it", "test_other")
    tiers = {**passing("unit", "property"), "dataplane": skipping}
    done = run_tiers(tmp_path / "all", tiers, require_all=True)
    assert done.returncode == 1
    assert "skipped: tests/dataplane/test_dataplane.py::test_other" in done.stdout
    assert "tier netns: no test passed" in done.stdout
    done = run_tiers(tmp_path / "some", tiers, require_all=False)
    assert done.returncode == 0, done.stdout


def test_an_installed_wheel_carries_the_c_sources(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    for name in ("pyagent", "bpf"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / name, source / name, symlinks=True, ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    sources = [path.relative_to(PROJECT / "bpf") for path in (PROJECT / "bpf").rglob("*.[ch]")]
    assert sources
    assert {f"pyagent/bpf/_sources/{path}" for path in sources} <= carried
    assert not any(name.startswith("tests/") for name in carried)


def test_make_alone_lists_every_verb_with_what_it_does() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    done = subprocess.run(["make", "-C", str(PROJECT)], capture_output=True, text=True, check=True)
    verbs = makefile.split(".PHONY:")[1].splitlines()[0].split()
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")}
    assert listed == set(verbs) - {"preflight"}


def test_preflight_without_root_says_to_use_sudo() -> None:
    user = 65534 if os.geteuid() == 0 else None
    script = (PROJECT / "scripts" / "preflight.py").read_text()
    done = subprocess.run(
        ["/usr/bin/python3", "-"],
        input=script,
        user=user,
        extra_groups=[] if user else None,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "preflight: not root: network namespaces and BPF programs need it; run the same command with sudo\n"
    )
