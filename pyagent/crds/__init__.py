"""Custom resource definitions: what an API server must know of our kinds, made from the model.

``python -m pyagent.crds DIRECTORY`` writes one file a kind.
"""

from __future__ import annotations

from pyagent.crds.definition import PRESENTATIONS, definition, definitions

__all__ = ["PRESENTATIONS", "definition", "definitions"]
