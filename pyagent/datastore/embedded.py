"""The embedded datastore: a directory of YAML manifests, one file per resource."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

from pyagent import manifest
from pyagent.datastore import files, layout
from pyagent.datastore.embeddedreports import EmbeddedReports
from pyagent.datastore.layout import Slot
from pyagent.datastore.lineage import has_status, succeed, with_revision, with_status_of
from pyagent.datastore.protocol import R, WatchEvent
from pyagent.datastore.shelf import Shelf, Stored
from pyagent.datastore.watching import watch_directory
from pyagent.errors import (
    AlreadyExistsError,
    ConflictError,
    DatastoreError,
    ManifestError,
    NotFoundError,
    Problem,
)
from pyagent.model import CALICO_V3, Metadata, Resource

log = logging.getLogger(__name__)

#: How often a watch compares everything with the files, should inotify ever fail it; in seconds.
RESYNC_S = 300.0


class EmbeddedDatastore:
    """Datastore in the directory ``root``, which is created if missing; any number of processes may share it.

    ``resync``: seconds between a watch's full comparisons.
    """

    def __init__(self, root: Path, resync: float = RESYNC_S) -> None:
        self.root = root
        self._resync = resync
        self._shelf = Shelf(root)
        #: Where statuses are written; events go to the log.
        self.reports = EmbeddedReports(self, self._shelf)
        with _as_datastore_errors():
            _prepare(root)
            self._shelf.clean()

    def list(self, kind: str, namespace: str | None = None) -> tuple[list[Resource], str]:
        """See Datastore. A resource whose file is broken is listed as it was last good."""
        with _as_datastore_errors():
            revision = self._shelf.revision()
            self._shelf.sweep(self._shelf.orphans(kind))
            slots = sorted(self._shelf.slots(kind))
            found = [self._shelf.read(slot) for slot in slots if namespace in (None, slot.namespace)]
        return [stored.resource for stored in found if stored and stored.resource], str(revision)

    def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        """See Datastore. DatastoreError if the file is broken and never was good."""
        slot = _existing_slot(kind, name, namespace)
        with _as_datastore_errors():
            stored = self._shelf.read(slot)
        if stored is None:
            raise NotFoundError(kind, name)
        return _in_force(stored)

    def create(self, resource: R) -> R:
        """See Datastore."""
        resource, slot = _checked(resource)
        with self._writing():
            if self._shelf.adopt(slot) is not None:
                raise AlreadyExistsError(resource.kind, resource.name)
            return self._put(slot, succeed(resource, None))

    def update(self, resource: R) -> R:
        """See Datastore. A Node's or Service's status is written too if given: no kubelet does it here."""
        resource, slot = _checked(resource)
        with self._writing():
            stored = self._shelf.adopt(slot)
            before = _current(stored, resource)
            if before is not None and not (resource.API_VERSION != CALICO_V3 and has_status(resource)):
                resource = with_status_of(resource, before)
            after = succeed(resource, before)
            if stored is not None and not stored.problems and after == before:
                return after
            return self._put(slot, after)

    def update_status(self, resource: R) -> R:
        """See Datastore. Refused while the file is broken: it would overwrite what the user is editing."""
        slot = _existing_slot(resource.kind, resource.name, resource.metadata.namespace)
        with self._writing():
            stored = self._shelf.adopt(slot)
            before = _current(stored, resource)
            if not isinstance(before, type(resource)) or (stored and stored.problems):
                raise _broken(stored)
            after, _ = _checked(with_status_of(before, resource))
            if after == before:
                return before
            after = with_revision(after, self._shelf.next_revision())
            self._shelf.put_status(slot, after)
            return after

    def delete(self, kind: str, name: str, namespace: str = "", resource_version: str = "") -> None:
        """See Datastore. A broken file can be deleted, too."""
        slot = _existing_slot(kind, name, namespace)
        with self._writing():
            stored = self._shelf.adopt(slot)
            if stored is None:
                raise NotFoundError(kind, name)
            version = stored.resource.metadata.resource_version if stored.resource else ""
            if resource_version not in ("", version):
                raise ConflictError(kind, name)
            # A deletion is a change too: the store's revision must tell.
            self._shelf.next_revision()
            self._shelf.remove(slot)
        log.debug("deleted kind=%s name=%s", kind, name)

    def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        """See Datastore."""
        return watch_directory(self.root, self._shelf, kinds, self._resync)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with _as_datastore_errors(), self._shelf.lock():
            yield

    def _put(self, slot: Slot, resource: R) -> R:
        resource = with_revision(resource, self._shelf.next_revision())
        self._shelf.put(slot, resource)
        log.debug(
            "stored kind=%s name=%s resourceVersion=%s",
            slot.kind,
            resource.name,
            resource.metadata.resource_version,
        )
        return resource


def _prepare(root: Path) -> None:
    if not root.exists():
        root.mkdir(mode=files.DIRECTORY_MODE, parents=True, exist_ok=True)
    if not root.is_dir():
        msg = f"{root}: not a directory"
        raise DatastoreError(msg)
    if root.stat().st_mode & 0o022:
        log.warning("datastore can be changed by other users directory=%s", root)
    for directory in [layout.LAST_GOOD, *layout.PLURALS]:
        files.make_directory(root / directory, root)


def _checked(resource: R) -> tuple[R, Slot]:
    """The resource with defaults, and its place; ManifestError if it must not be stored."""
    filled = manifest.default(resource)
    assert isinstance(filled, type(resource))
    problems = manifest.validate(filled)
    slot = layout.slot_of(filled.kind, filled.metadata.namespace, filled.name)
    if slot is None and not problems:
        reason = (
            "a namespaced resource needs a namespace, others have none, and both are lower case DNS names"
        )
        problems = [Problem("metadata.name", reason, resource.name)]
    if problems or slot is None:
        raise ManifestError(problems)
    return filled, slot


def _existing_slot(kind: str, name: str, namespace: str) -> Slot:
    """The place of a resource that should exist: with an impossible name, none does."""
    slot = layout.slot_of(kind, namespace, name)
    if slot is None:
        raise NotFoundError(kind, name)
    return slot


def _current(stored: Stored | None, resource: Resource) -> Resource | None:
    """What ``resource`` is to replace, its preconditions checked; None if that file never was good."""
    if stored is None:
        raise NotFoundError(resource.kind, resource.name)
    current = stored.resource.metadata if stored.resource else Metadata()
    wanted = resource.metadata
    if wanted.resource_version not in ("", current.resource_version) or wanted.uid not in ("", current.uid):
        raise ConflictError(resource.kind, resource.name)
    return stored.resource


def _in_force(stored: Stored) -> Resource:
    if stored.resource is None:
        raise _broken(stored)
    return stored.resource


def _broken(stored: Stored | None) -> DatastoreError:
    return DatastoreError("\n".join(str(problem) for problem in stored.problems) if stored else "")


@contextlib.contextmanager
def _as_datastore_errors() -> Iterator[None]:
    """A full disk, a missing permission, ...: one vocabulary for whoever calls."""
    try:
        yield
    except OSError as error:
        msg = f"{error.filename or 'datastore'}: {error.strerror}"
        raise DatastoreError(msg) from error
