"""A certificate for a stand-in, signed by nobody but itself."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1, in files."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=stand-in"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "keyUsage=digitalSignature,keyCertSign"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def expired(folder: Path, issuer: tuple[Path, Path]) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1 that ``issuer`` signed, and that ran out yesterday."""
    certificate, request, names = folder / "old.crt", folder / "old.csr", folder / "old.txt"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    key = issuer[1]
    for command in (
        ["req", "-new", "-subj", "/CN=stand-in-old", "-key", str(key), "-out", str(request)],
        [
            *("x509", "-req", "-in", str(request), "-CA", str(issuer[0]), "-CAkey", str(key), "-days", "-1"),
            *("-set_serial", "7", "-extfile", str(names), "-out", str(certificate)),
        ],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return certificate, key
