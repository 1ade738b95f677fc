"""``python -m tests.fuzzing TARGET [SECONDS]``: atheris looks for input that a parser does not answer well.

A parser answers properly when it returns a result or the one kind of refusal it promises. Anything else ends
the run with status 1; atheris then leaves the input in ``build/`` and it belongs into the target's corpus.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pyagent.selector", "pyagent.manifest", "pyagent.policytest"]):
    from pyagent import manifest, selector
    from pyagent.errors import AutohepError, ManifestError, SelectorError
    from pyagent.manifest.failsafe import parse_failsafes
    from pyagent.policytest.suite import load_suites

CORPUS = Path(__file__).resolve().parent / "corpus"
LARGEST = 4096


def _selector(text: str) -> None:
    try:
        parsed = selector.parse(text)
    except SelectorError:
        return
    again = selector.parse(str(parsed))
    assert again == parsed, f"{parsed} is read back as {again}"
    assert again.matches({"a": "b"}) == parsed.matches({"a": "b"})


def _manifest(text: str) -> None:
    for document in manifest.load(text, "fuzz"):
        assert (document.resource is None) == bool(document.problems)
        if document.resource is None:
            continue
        written = manifest.dump_yaml(manifest.encode(document.resource))
        (again,) = manifest.load(written, "again")
        assert again.resource == document.resource, written


def _failsafe(text: str) -> None:
    try:
        parse_failsafes(text)
    except (ManifestError, ValueError):
        return


def _policytest(text: str) -> None:
    path = Path("suite.yaml")  # in the run's own directory, where paths that a suite names lead nowhere
    path.write_text(text, encoding="utf-8")
    try:
        load_suites(str(path))
    except AutohepError:
        return


TARGETS: dict[str, Callable[[str], None]] = {
    "selector": _selector,
    "manifest": _manifest,
    "failsafe": _failsafe,
    "policytest": _policytest,
}


def main() -> None:
    target, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    judge = TARGETS[target]

    def one(data: bytes) -> None:
        judge(data.decode("utf-8", "replace"))

    found = Path("build").resolve() / "fuzzing"
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="autohep-corpus-") as work:
        # libFuzzer adds what reached new code to its first directory: that is not for the repository.
        start = Path(work) / "start"
        shutil.copytree(CORPUS / target, start)
        arguments = [
            sys.argv[0],
            str(start),
            f"-max_total_time={seconds}",
            f"-max_len={LARGEST}",
            f"-artifact_prefix={found}/{target}-",
            "-timeout=10",
            "-print_final_stats=1",
        ]
        os.chdir(work)
        atheris.Setup(arguments, one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
