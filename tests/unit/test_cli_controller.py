"""``hepctl controller``: once for scripts, or as a service that ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from pyagent.cli import daemons
from pyagent.errors import DatastoreError

NODE = """
apiVersion: v1
kind: Node
metadata: {name: n}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
"""
SWITCH = '{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'


def test_once_makes_host_endpoints_and_doing_it_again_changes_nothing(hepctl):
    hepctl.prepare(NODE)
    first = hepctl("controller", "--once")
    assert (first.exit_code, first.stdout) == (0, "")
    assert hepctl("patch", "kubecontrollersconfiguration", "default", "-p", SWITCH).exit_code == 0
    second = hepctl("controller", "--once")
    assert (second.exit_code, second.stdout) == (0, "hostendpoint.projectcalico.org/n-auto-hep created\n")
    assert hepctl("get", "hep").stdout == "NAME         NODE   \nn-auto-hep   n      \n\n"
    before = hepctl.stored()
    assert hepctl("controller", "--once").stdout == ""
    assert hepctl.stored() == before


def test_service_follows_changes_and_ends_cleanly_when_told_to(hepctl):
    hepctl.prepare(NODE)
    assert hepctl("controller", "--once").exit_code == 0
    command = [sys.executable, "-c", "from pyagent.cli.main import main; main()", "-l", "error"]
    command += ["controller", "--metrics-address", "off"]
    environment = {**os.environ, "HEPCTL_DATASTORE": str(hepctl.store)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        assert hepctl("patch", "kubecontrollersconfiguration", "default", "-p", SWITCH).exit_code == 0
        deadline = time.monotonic() + 20
        while "n-auto-hep" not in hepctl("get", "hep").stdout and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert "n-auto-hep" in hepctl("get", "hep").stdout
    assert (process.returncode, errors) == (0, b"")


class Deaf:
    """A service that overhears the first cancellation, as asyncio.wait_for of Python 3.11 may."""

    def __init__(self):
        self.heard = 0

    async def run(self):
        while self.heard < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.heard += 1


async def test_service_that_overhears_a_cancellation_is_told_again(monkeypatch):
    monkeypatch.setattr(daemons, "REMINDER_S", 0.01)
    service = Deaf()
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(daemons.until_terminated(service.run()), 10)
    assert service.heard == 2


async def test_error_of_a_service_is_not_lost():
    async def fail():
        raise DatastoreError("gone")

    with pytest.raises(DatastoreError, match="gone"):
        await daemons.until_terminated(fail())
