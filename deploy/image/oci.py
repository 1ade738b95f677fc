"""Pack a root file system as an OCI image layout: ``python oci.py ROOT DIRECTORY``.

One layer, a configuration, a manifest, an index: plain files, so no image tool is needed. What comes out of
the same files is the same to the byte.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, Final

from pyagent import __version__

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
MEDIA: Final = "application/vnd.oci.image"
MIB: Final = 1 << 20


class _Hashed:
    """A file to write to that keeps count and digest."""

    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> int:
        """Write through."""
        self.digest.update(content)
        self.size += len(content)
        return self._file.write(content)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = 0
    member.uname = member.gname = ""
    return member


def pack_layer(root: Path, file: Path) -> tuple[str, str, int]:
    """Write ``root`` as a layer; returns its digest, the digest of what is in it, and the size of that."""
    with file.open("wb") as raw:
        packed = _Hashed(raw)
        with gzip.GzipFile("", "wb", 6, packed, mtime=0) as zipped:  # type: ignore[arg-type]
            plain = _Hashed(zipped)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                for path in sorted(root.iterdir()):
                    tar.add(path, path.name, filter=_owned_by_root)
    return packed.digest.hexdigest(), plain.digest.hexdigest(), plain.size


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> dict[str, Any]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
    return {"digest": f"sha256:{name.rpartition('/')[2]}", "size": len(content)}


def _blob(tar: tarfile.TarFile, document: dict[str, Any]) -> dict[str, Any]:
    content = json.dumps(document, sort_keys=True).encode()
    return _add(tar, f"blobs/sha256/{hashlib.sha256(content).hexdigest()}", content)


def write_image(root: Path, directory: Path) -> Path:
    """Write the image of ``root`` into ``directory``; returns the archive."""
    layer = directory / "layer.tar.gz"
    digest, diff_id, size = pack_layer(root, layer)
    architecture = ARCHITECTURES[os.uname().machine]
    configuration = {
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/local/bin/hepctl"],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"],
            "Labels": {"org.opencontainers.image.version": __version__},
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created_by": "deploy/image/build"}],
    }
    archive = directory / f"autohep-{__version__}.oci.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        tar.add(layer, f"blobs/sha256/{digest}", filter=_owned_by_root)
        kind = {"mediaType": f"{MEDIA}.layer.v1.tar+gzip"}
        layers = [kind | {"digest": f"sha256:{digest}", "size": layer.stat().st_size}]
        config = {"mediaType": f"{MEDIA}.config.v1+json"} | _blob(tar, configuration)
        kind = {"schemaVersion": 2, "mediaType": f"{MEDIA}.manifest.v1+json"}
        manifest = _blob(tar, kind | {"config": config, "layers": layers})
        entry = {
            "mediaType": f"{MEDIA}.manifest.v1+json",
            "platform": {"architecture": architecture, "os": "linux"},
            "annotations": {"org.opencontainers.image.ref.name": __version__},
        }
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry | manifest]}).encode())
    print(f"{archive}: {layer.stat().st_size / MIB:.0f} MiB to pull, {size / MIB:.0f} MiB unpacked")
    layer.unlink()
    return archive


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python oci.py ROOT DIRECTORY")
    write_image(Path(sys.argv[1]), Path(sys.argv[2]))
