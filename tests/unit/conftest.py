"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pyagent.cli.main import cli
from pyagent.datastore import Datastore, open_datastore


class Hepctl:
    """``hepctl`` in this process, on an embedded datastore of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "datastore"

    @property
    def datastore(self) -> Datastore:
        """The datastore, opened anew."""
        return open_datastore(str(self.store))

    def __call__(
        self, *words: str, text: str | None = None, env: Mapping[str, str | None] | None = None
    ) -> Result:
        """Run one command line; ``text`` is its standard input."""
        environment = {"HEPCTL_DATASTORE": str(self.store), "HEPCTL_CONFIG": None, **(env or {})}
        return CliRunner().invoke(cli, words, input=text, env=environment, prog_name="hepctl")

    def prepare(self, text: str) -> None:
        """Apply manifests that a test takes for granted."""
        result = self("apply", "-f", "-", text=text)
        assert result.exit_code == 0, result.output

    def file(self, name: str, text: str) -> str:
        """Write a file beside the datastore; returns its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def stored(self) -> dict[str, bytes]:
        """Every file of the datastore with its contents."""
        files = (path for path in self.store.rglob("*") if path.is_file())
        return {str(path.relative_to(self.store)): path.read_bytes() for path in files}


@pytest.fixture
def hepctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hepctl:
    """A command line with an empty datastore, untouched by the environment of whoever runs the tests."""
    for variable in ("HEPCTL_OUTPUT", "HEPCTL_NAMESPACE", "HEPCTL_LOG_LEVEL", "HEPCTL_TRACEBACK"):
        monkeypatch.delenv(variable, raising=False)
    return Hepctl(tmp_path)
