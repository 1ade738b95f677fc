"""Write deploy/kustomize from the chart and the definitions: nothing is kept twice."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

from pyagent import __version__

PROJECT: Final = Path(__file__).resolve().parents[1]
TOOLS: Final = PROJECT / ".venv" / "tools"
CHART: Final = PROJECT / "deploy" / "helm" / "autohep"
KUSTOMIZE: Final = PROJECT / "deploy" / "kustomize"
NAMESPACE: Final = "autohep-system"
_HEADER: Final = "# Made from deploy/helm and deploy/crds by `make manifests`; edit those, not this.\n"

_RULE: Final = (
    "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
    "metadata:\n  name: autohep\n  namespace: autohep-system\nspec:\n"
)


def render(*options: str) -> str:
    """What the chart makes with these options of ``helm template``. Raises CalledProcessError."""
    command = [str(TOOLS / "helm"), "template", "autohep", str(CHART), "--namespace", NAMESPACE, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def files() -> dict[Path, str]:
    """What there should be: path -> content."""
    definitions = sorted((PROJECT / "deploy" / "crds").glob("*.yaml"))
    overlay = render("--set", "admission.limitAgents=true", "--show-only", "templates/limit-agents.yaml")
    webhook = render("--set", "webhook.enabled=true", "--show-only", "templates/webhook.yaml")
    chart = re.sub(
        r"^(version|appVersion): .*$",
        rf"\1: {__version__}",
        (CHART / "Chart.yaml").read_text(),
        flags=re.MULTILINE,
    )
    rules = (PROJECT / "deploy" / "monitoring" / "rules.yaml").read_text()
    return {
        PROJECT / "deploy" / "monitoring" / "alerts.yaml": _HEADER + _RULE + textwrap.indent(rules, "  "),
        CHART / "Chart.yaml": chart,
        KUSTOMIZE / "base" / "autohep.yaml": _HEADER + render("--set", "namespace.create=true"),
        KUSTOMIZE / "base" / "crds.yaml": _HEADER + "---\n".join(path.read_text() for path in definitions),
        KUSTOMIZE / "overlays" / "limit-agents" / "policy.yaml": _HEADER + overlay,
        KUSTOMIZE / "overlays" / "webhook" / "webhook.yaml": _HEADER + webhook,
    }


def main() -> None:
    """Write what is missing or stale; the chart's version first, for the rest is rendered with it."""
    for path in (CHART / "Chart.yaml", *files()):
        content = files()[path]
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
            sys.stdout.write(f"{path.relative_to(PROJECT)}\n")


if __name__ == "__main__":
    main()
