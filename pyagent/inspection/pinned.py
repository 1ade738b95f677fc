"""The pins of one instance, opened for looking: every way in which they can be missing has its message."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from pyagent.abi import ABI_VERSION
from pyagent.bpf import layout, syscall
from pyagent.bpf.maps import Map, MapSpec
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError, DriftError, KernelError

_SPECS: Final = {spec.name: spec for spec in layout.map_specs()}


class Pinned:
    """The pinned maps of one instance; nothing stays open but what :meth:`open` hands out."""

    def __init__(self, pins: Pins) -> None:
        """Raises AutohepError if no firewall of this instance and ABI version is loaded."""
        self.pins = pins
        try:
            self._check()
        except PermissionError as error:
            raise KernelError(f"look into {pins.base}", errno.EPERM, "run as root") from error

    def _check(self) -> None:
        pins = self.pins
        if pins.root.is_dir():
            return
        if older := pins.other_versions():
            versions = ", ".join(str(each.abi) for each in older)
            raise DriftError(
                f"instance {pins.instance} was loaded with ABI version {versions}; this hepctl speaks "
                f"{ABI_VERSION}: use the hepctl of the agent that runs, or start the agent of this version"
            )
        raise AutohepError(
            f"no firewall of instance {pins.instance} is loaded here: {pins.base / pins.instance} does not "
            f"exist{_others(pins.base)}"
        )

    def open(self, name: str) -> Map:
        """Open a map; sizes are the node's own choice, layouts are not.

        Raises AutohepError if its pin is missing, DriftError if something else is pinned there.
        """
        path = self.pins.map(name)
        descriptor = _opened(path)
        try:
            opened = Map(descriptor, name)
        except KernelError as error:
            os.close(descriptor)
            raise DriftError(f"pin {path} is damaged: it is no map") from error
        if differences := _wanted(name, opened).differences(opened.info):
            opened.close()
            raise DriftError(f"pin {path} is damaged: it is not the map {name} ({'; '.join(differences)})")
        return opened

    def program(self, name: str) -> Path:
        """Where a program is pinned. Raises as :meth:`open` does."""
        path = self.pins.program(name)
        descriptor = _opened(path)
        try:
            described = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
        finally:
            os.close(descriptor)
        if "prog_type:" not in described:
            raise DriftError(f"pin {path} is damaged: it is no program")
        return path


def _opened(path: Path) -> int:
    if not path.exists():
        raise AutohepError(f"pin {path} is missing: start the agent again, it makes what is not there")
    try:
        return syscall.obj_get(path)
    except KernelError as error:
        raise DriftError(f"pin {path} is damaged: {error}") from error


def _wanted(name: str, opened: Map) -> MapSpec:
    """What the map must be, whatever its size; only an image's bytes are its size."""
    spec = replace(_SPECS[name], max_entries=None, flags=None)
    return replace(spec, value_size=opened.info.value_size) if name == "images" else spec


def _others(base: Path) -> str:
    names = sorted(each.name for each in base.iterdir()) if base.is_dir() else []
    return f"; instances here: {', '.join(names)}" if names else ""
