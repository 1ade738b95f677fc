"""Manifests: YAML and JSON to valid resources and back.

``load`` and ``load_paths`` give documents with their problems, ``decode`` raises; ``encode`` and
``dump_yaml`` or ``dump_json`` go the other way. ``default`` and ``validate`` are the two steps between, for
resources that come from elsewhere. Not checked here, for it needs the datastore: that a policy's tier exists.
"""

from __future__ import annotations

from pyagent.errors import ManifestError, Problem
from pyagent.manifest.defaults import BUILT_IN_TIERS, default, initial_kube_controllers_configuration
from pyagent.manifest.durations import format_duration, parse_duration
from pyagent.manifest.encoding import dump_json, dump_yaml, encode
from pyagent.manifest.failsafe import failsafes_of, parse_failsafes
from pyagent.manifest.loading import Document, decode, load, load_paths
from pyagent.manifest.nodeports import NodePorts, parse_node_ports
from pyagent.manifest.paths import Positions
from pyagent.manifest.validation import validate

__all__ = [
    "BUILT_IN_TIERS",
    "Document",
    "ManifestError",
    "NodePorts",
    "Positions",
    "Problem",
    "decode",
    "default",
    "dump_json",
    "dump_yaml",
    "encode",
    "failsafes_of",
    "format_duration",
    "initial_kube_controllers_configuration",
    "load",
    "load_paths",
    "parse_duration",
    "parse_failsafes",
    "parse_node_ports",
    "validate",
]
