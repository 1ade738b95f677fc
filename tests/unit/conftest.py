"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
        """Run one command line; ``text`` is its standard input.

        Nothing is forced to disk: what survives a power failure is not what these tests are about.
        """
        environment = {"HEPCTL_DATASTORE": str(self.store), "HEPCTL_CONFIG": None, **(env or {})}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.fsync", lambda _descriptor: None)
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


@pytest.fixture(scope="session")
def hepctl_at() -> Iterator[Callable[[Path], Hepctl]]:
    """Makes command lines with a datastore in a folder, untouched by the environment of the tests' runner."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in (
            "HEPCTL_OUTPUT",
            "HEPCTL_NAMESPACE",
            "HEPCTL_LOG_LEVEL",
            "HEPCTL_LOG_FORMAT",
            "HEPCTL_TRACEBACK",
        ):
            patch.delenv(variable, raising=False)
        yield Hepctl


@pytest.fixture
def hepctl(hepctl_at: Callable[[Path], Hepctl], tmp_path: Path) -> Hepctl:
    """A command line with an empty datastore."""
    return hepctl_at(tmp_path)
