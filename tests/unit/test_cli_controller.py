"""``hepctl controller``: once for scripts, or as a service that ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

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
    command = [sys.executable, "-c", "from pyagent.cli.main import main; main()", "-l", "error", "controller"]
    environment = {**os.environ, "HEPCTL_DATASTORE": str(hepctl.store)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        assert hepctl("patch", "kubecontrollersconfiguration", "default", "-p", SWITCH).exit_code == 0
        deadline = time.monotonic() + 20
        while "n-auto-hep" not in hepctl("get", "hep").stdout and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert "n-auto-hep" in hepctl("get", "hep").stdout
    assert (process.returncode, errors) == (0, b"")
