"""Reading the files of an embedded datastore, whoever wrote them: this project or an editor.

Beside each resource's file lies a record of its last good version (``.last-good/``): the resource as it
is in force, with the metadata that the store assigned, and the hash of the file it was read from.
Whenever a file's hash is not the one in its record, somebody edited it by hand (or a writer was killed
between the two): it is then *adopted*, that is validated and given a resourceVersion, or, if it is
broken, reported while the record stays in force. The edited file itself is never rewritten, so comments
and layout survive. A record is JSON, which is read ten times as fast as YAML: an agent that starts reads all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyagent import manifest
from pyagent.datastore import files, layout
from pyagent.datastore.layout import Slot
from pyagent.datastore.lineage import as_edited, with_revision
from pyagent.errors import DatastoreError, ManifestError, Problem
from pyagent.model import Resource

log = logging.getLogger(__name__)

_RECORD_HEADER = re.compile(rb"# last good version, read from sha256:([0-9a-f]{64})\n")
_MISTAKEN_SUFFIXES = {".yml", ".json"}
_VERSION = re.compile(rb"resourceVersion\"?: [\"']?([0-9]+)")
#: A lost counter restarts this far beyond every number still to be seen, so that none is given out twice.
_LOST_COUNTER_GAP = 1_000_000


@dataclass(frozen=True, slots=True)
class Stored:
    """What is at a place: the version in force (None: there never was a good one), and what is wrong.

    ``digest`` identifies the file's content.
    """

    resource: Resource | None
    problems: tuple[Problem, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class _Record:
    resource: Resource
    digest: str


class Shelf:
    """The files below ``root``. Methods that need the store's lock say so; others take it if they must."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = f"{root}/"
        self._counter = files.Counter(root / layout.REVISION)
        # Parsing YAML costs a millisecond a resource, so that is remembered, always by content: never stale.
        self._records: dict[Slot, tuple[bytes, _Record | None]] = {}
        self._broken: dict[Slot, tuple[str, tuple[Problem, ...]]] = {}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other writer out, in this process and in others."""
        with files.locked(self._root / layout.LOCK):
            yield

    def revision(self) -> int:
        """The last resourceVersion given out; 0 if none was."""
        return self._counter.read() or 0

    def next_revision(self) -> int:
        """A resourceVersion never given out before. Needs the lock."""
        last = self._counter.read()
        if last is None:
            last = self._highest_seen()
        self._counter.write(last + 1)
        return last + 1

    def slots(self, kind: str) -> set[Slot]:
        """The places of a kind where a file is now."""
        return self._slots_below(self._root, kind)

    def strays(self, kind: str) -> set[Path]:
        """Files beside a kind's resources that look meant as some, yet are not read for their name."""
        top = self._root / layout.kind_directory(kind)[0]
        return {path for path in top.rglob("*") if path.suffix in _MISTAKEN_SUFFIXES}

    def orphans(self, kind: str) -> set[Slot]:
        """The places of a kind with a record whose file is gone: removed by hand."""
        return self._slots_below(self._root / layout.LAST_GOOD, kind) - self.slots(kind)

    def read(self, slot: Slot) -> Stored | None:
        """What is at a place, adopted if need be; None if there is no file."""
        stored = self._read_known(slot)
        if isinstance(stored, bytes):
            with self.lock():
                return self.adopt(slot)
        return stored

    def adopt(self, slot: Slot) -> Stored | None:
        """``read`` for somebody who holds the lock."""
        content = self._read_known(slot)
        if not isinstance(content, bytes):
            return content
        record = self._record(slot)
        before = record.resource if record else None
        digest = _digest(content)
        resource, problems = _parse(content, slot, self._path(slot))
        if resource is None:
            self._broken[slot] = (digest, problems)
            _warn_of_broken(slot, problems, before)
            return Stored(before, problems, digest)
        after = as_edited(resource, before)
        if after != before:
            after = with_revision(after, self.next_revision())
            log.info(
                "adopted kind=%s name=%s resourceVersion=%s",
                slot.kind,
                slot.name,
                after.metadata.resource_version,
            )
        self._write_record(slot, after, digest)
        return Stored(after, (), digest)

    def put(self, slot: Slot, resource: Resource) -> None:
        """Write a resource that carries its metadata already. Needs the lock."""
        content = _text(resource)
        path = self._root / slot.relative
        files.make_directory(path.parent, self._root)
        # The file before the record: a writer killed between the two leaves an edit to adopt, and the
        # record still holds the last version that anybody was told about.
        files.replace(path, content)
        self._write_record(slot, resource, _digest(content))

    def put_status(self, slot: Slot, resource: Resource) -> None:
        """``put`` for a resource that differs only in its status. Needs the lock.

        A file that somebody wrote by hand stays as it is, comments and all: the status is in the record only.
        """
        path = self._root / slot.relative
        content = files.read_regular(path)
        digest, record = _digest(content), self._record(slot)
        if record is not None and record.digest == digest and _text(record.resource) == content:
            self.put(slot, resource)
            return
        self._write_record(slot, resource, digest)
        # Opened for writing and closed: watches look again.
        os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC))

    def remove(self, slot: Slot) -> None:
        """Remove file and record. Needs the lock."""
        files.remove(self._root / slot.relative)
        self._forget(slot)

    def sweep(self, slots: set[Slot]) -> None:
        """Drop the records of files that were removed by hand, so that a new file there is a new resource."""
        if not slots:
            return
        with self.lock():
            for slot in slots:
                if not (self._root / slot.relative).exists():
                    self._forget(slot)
                    log.info("removed by hand kind=%s name=%s", slot.kind, slot.name)

    def clean(self) -> None:
        """Remove what killed writers left, unless somebody is writing: that file looks the same."""
        with contextlib.suppress(DatastoreError), files.locked(self._root / layout.LOCK, patience=0):
            for leftover in self._root.rglob(f"{files.TEMPORARY_PREFIX}*"):
                leftover.unlink(missing_ok=True)

    def _read_known(self, slot: Slot) -> Stored | bytes | None:
        """What is at a place if that needs no adoption, else the file's content."""
        try:
            content = files.read_regular(self._path(slot))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise DatastoreError(str(error)) from error
        except OSError as error:
            reason = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror or str(error)
            problem = Problem("", reason, file=self._path(slot))
            record = self._record(slot)
            return Stored(record.resource if record else None, (problem,), "")
        digest = _digest(content)
        record = self._record(slot)
        if record and record.digest == digest:
            return Stored(record.resource, (), record.digest)
        broken_digest, problems = self._broken.get(slot, ("", ()))
        if broken_digest == digest:
            return Stored(record.resource if record else None, problems, digest)
        return content

    def _path(self, slot: Slot) -> str:
        return self._top + slot.path

    def _record_path(self, slot: Slot) -> str:
        return f"{self._top}{layout.LAST_GOOD}/{slot.path}"

    def _record(self, slot: Slot) -> _Record | None:
        try:
            content = files.read_regular(self._record_path(slot))
        except (FileNotFoundError, NotADirectoryError):
            return None
        known, record = self._records.get(slot, (b"", None))
        digest = _short_digest(content)
        if known != digest:
            record = _parse_record(content, slot)
            self._records[slot] = (digest, record)
        return record

    def _write_record(self, slot: Slot, resource: Resource, digest: str) -> None:
        body = json.dumps(manifest.encode(resource), ensure_ascii=False)
        content = f"# last good version, read from sha256:{digest}\n{body}\n".encode()
        path = Path(self._record_path(slot))
        files.make_directory(path.parent, self._root)
        # Not worth the wait for the disk: a record that a power failure takes is made again from the file.
        files.replace(path, content, durable=False)
        self._broken.pop(slot, None)
        self._records[slot] = (_short_digest(content), _Record(resource, digest))

    def _forget(self, slot: Slot) -> None:
        files.remove(Path(self._record_path(slot)))
        self._records.pop(slot, None)
        self._broken.pop(slot, None)

    def _slots_below(self, top: Path, kind: str) -> set[Slot]:
        plural, namespaced = layout.kind_directory(kind)
        namespaces = filter(layout.is_name, _entries(top / plural)) if namespaced else [""]
        return {
            Slot(kind, namespace, file)
            for namespace in namespaces
            for file in _entries(top / plural / namespace)
            if layout.is_resource_file(file)
        }

    def _highest_seen(self) -> int:
        """Where to go on without a counter: from nothing in a new store, else beyond every version."""
        texts = (files.read_regular(path) for path in self._root.rglob(f"*{layout.SUFFIX}") if path.is_file())
        versions = [int(version) for text in texts for version in _VERSION.findall(text)]
        if not versions:
            return 0
        log.warning("revision counter lost; going on beyond every resourceVersion file=%s", layout.REVISION)
        return max(versions) + _LOST_COUNTER_GAP


def _entries(directory: Path) -> list[str]:
    """The names in a directory; none if there is no such directory, or none that may be read."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        return [entry.name for entry in os.scandir(directory)]
    return []


def _text(resource: Resource) -> bytes:
    return manifest.dump_yaml(manifest.encode(resource)).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _short_digest(content: bytes) -> bytes:
    """Stands for a record's content, which at thousands of resources is megabytes."""
    return hashlib.sha256(content).digest()


def _parse(content: bytes, slot: Slot, path: str) -> tuple[Resource | None, tuple[Problem, ...]]:
    """The one resource that a file must hold, or what is wrong."""
    try:
        documents = manifest.load(content.decode(), path)
    except UnicodeDecodeError as error:
        return None, (Problem("", f"not UTF-8 text: {error.reason} at byte {error.start}", file=path),)
    if len(documents) != 1:
        return None, (Problem("", f"must hold exactly one resource, not {len(documents)}", file=path),)
    document = documents[0]
    if document.resource is None or document.problems:
        return None, document.problems
    if not _belongs(document.resource, slot):
        place = f"kind {slot.kind}, name {slot.name}" + (
            f", namespace {slot.namespace}" if slot.namespace else ""
        )
        reason = f"the file's place says {place}"
        return None, (Problem("metadata.name", reason, document.resource.name, document.line, path),)
    return document.resource, ()


def _belongs(resource: Resource, slot: Slot) -> bool:
    return layout.slot_of(resource.kind, resource.metadata.namespace, resource.name) == slot


def _parse_record(content: bytes, slot: Slot) -> _Record | None:
    """None if it is damaged, or of a release that knew less: the file is then adopted again."""
    header = _RECORD_HEADER.match(content)
    if header is None:
        return None
    body = content[header.end() :]
    if body.startswith(b"{"):
        try:
            resource = manifest.decode(_shared(json.loads(body)))
        except (ValueError, TypeError, AttributeError, ManifestError, RecursionError):
            return None
        return _Record(resource, header[1].decode()) if _belongs(resource, slot) else None
    found, _problems = _parse(body, slot, "")  # YAML, as records of earlier releases are
    return _Record(found, header[1].decode()) if found else None


def _shared(value: dict[str, Any]) -> dict[str, Any]:
    """``value`` with one copy of the words that thousands of resources have in common."""
    value.update((key, sys.intern(word)) for key, word in value.items() if isinstance(word, str))
    labels = value.get("metadata", {}).get("labels")
    if labels:
        value["metadata"]["labels"] = {sys.intern(key): sys.intern(text) for key, text in labels.items()}
    return value


def _warn_of_broken(slot: Slot, problems: tuple[Problem, ...], before: Resource | None) -> None:
    log.warning(
        "broken file kind=%s name=%s in_force=%s problems=%r",
        slot.kind,
        slot.name,
        f"resourceVersion {before.metadata.resource_version}" if before else "none",
        "; ".join(map(str, problems)),
    )
