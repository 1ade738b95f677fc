"""``python -m tests.image``: the image's agent, in a container as the DaemonSet describes it, enforces.

runc runs the image's root file system, read-only, with the capabilities and mounts of the rendered manifest,
in the network namespace of a lab's node. Each capability is then taken away, and must be missed. Needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from tests.netns.site import NODE, Probe, Site, endpoint, policy, rule, to_port

PROJECT: Final = Path(__file__).parents[2]
ROOT: Final = PROJECT / "build" / "image" / "root"
MANIFESTS: Final = PROJECT / "deploy" / "kustomize" / "base" / "autohep.yaml"


def container() -> dict[str, Any]:
    """The agent's container in the manifest."""
    objects = yaml.safe_load_all(MANIFESTS.read_text())
    (daemon_set,) = [each for each in objects if each and each["kind"] == "DaemonSet"]
    (found,) = daemon_set["spec"]["template"]["spec"]["containers"]
    return dict(found)


def bundle(directory: Path, namespace: Path, state: Path, capabilities: Sequence[str], *command: str) -> None:
    """Write what runc runs: the manifest's security context and mounts, in OCI's words."""
    security = container()["securityContext"]
    sources = {"bpffs": "/sys/fs/bpf", "state": str(state)}
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]},
    ]
    for mount in container()["volumeMounts"]:
        source = sources.get(mount["name"])
        kind = {"type": "bind", "source": source, "options": ["rbind", "rw"]}
        tmpfs = {"type": "tmpfs", "source": "tmpfs", "options": ["size=64m"]}
        mounts.append({"destination": mount["mountPath"], **(kind if source else tmpfs)})
    granted = [f"CAP_{name}" for name in capabilities]
    process = {
        "terminal": False,
        "user": {"uid": security["runAsUser"], "gid": 0},
        "args": ["/usr/local/bin/hepctl", *command],
        "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"],
        "cwd": "/",
        "noNewPrivileges": not security["allowPrivilegeEscalation"],
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), granted),
    }
    namespaces: list[dict[str, str]] = [{"type": each} for each in ("pid", "mount", "ipc", "uts")]
    namespaces.append({"type": "network", "path": str(namespace)})
    config = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(ROOT), "readonly": security["readOnlyRootFilesystem"]},
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "readonlyPaths": ["/proc/sys"]},
    }
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))


class ContainerSite(Site):
    """A site whose agent is the image's."""

    def command(self, capabilities: Sequence[str], name: str, instance: str) -> list[str]:
        """What starts an agent in a container of its own; its datastore lies in the mounted state."""
        state = self.directory / "mounted"
        state.mkdir(exist_ok=True)
        place = "/var/lib/autohep"
        arguments = ["agent", "--node", NODE, "--datastore", f"dir://{place}/datastore"]
        arguments += ["--instance", instance, "--state-dir", f"{place}/{name}", "--metrics-address", "off"]
        bundle(self.directory / name, self.path("node"), state, capabilities, *arguments)
        return ["runc", "run", "-b", str(self.directory / name), f"{self.name}-{name}"]

    def start_agent(self, *_options: str) -> None:
        """Start it with the manifest's capabilities, and wait until it is ready."""
        capabilities = container()["securityContext"]["capabilities"]["add"]
        command = self.command(capabilities, "agent", self.name)
        for name, inside in (("datastore", "datastore"), ("state", "agent")):
            place = self.directory / "mounted" / inside
            place.mkdir(exist_ok=True)
            shutil.rmtree(self.directory / name, ignore_errors=True)
            (self.directory / name).symlink_to(place)
        self.processes.start("agent", command)
        self.wait(lambda status: bool(status.get("ready")))

    def without(self, missing: str) -> str:
        """The last words of an agent that lacks a capability."""
        capabilities = container()["securityContext"]["capabilities"]["add"]
        name = f"no-{missing.lower().replace('_', '-')}"
        command = self.command([each for each in capabilities if each != missing], name, f"{self.name}x")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode != 0, f"an agent without {missing} works: {done.stderr}"
        return (done.stderr.strip().splitlines() or ["no word"])[0]


def main() -> int:
    """Run it all; 0 if it holds."""
    for program, needs in (("runc", shutil.which("runc")), (str(ROOT), ROOT.is_dir())):
        if not needs:
            print(f"{program} is missing: apt-get install runc; make image", file=sys.stderr)
            return 1
    site = ContainerSite(f"image{os.getpid()}")
    try:
        site.up()
        site.enforce(endpoint())
        site.expect(denied=[Probe("peer", "node", 8055, families=(4,))], allowed=[Probe("peer", "node", 22)])
        site.enforce(endpoint(), policy("open", ingress=[rule("Allow", **to_port(8055))]))
        site.expect(
            allowed=[Probe("peer", "node", 8055)], denied=[Probe("peer", "node", 8056, families=(4,))]
        )
        print("the containerised agent enforces policy on real packets")
        for capability in container()["securityContext"]["capabilities"]["add"]:
            print(f"without {capability}: {site.without(capability)}")
    finally:
        subprocess.run(["runc", "kill", f"{site.name}-agent", "KILL"], capture_output=True, check=False)
        site.down()
        subprocess.run(["runc", "delete", "-f", f"{site.name}-agent"], capture_output=True, check=False)
        shutil.rmtree(f"/sys/fs/bpf/autohep/{site.name}x", ignore_errors=True)
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
