"""Write the definitions: ``python -m pyagent.crds deploy/crds``."""

from __future__ import annotations

import sys
from pathlib import Path

from pyagent.crds.definition import files

if len(sys.argv) != 2:
    sys.exit("usage: python -m pyagent.crds DIRECTORY")
target = Path(sys.argv[1])
target.mkdir(parents=True, exist_ok=True)
for name, text in files().items():
    (target / name).write_text(text, encoding="utf-8")
