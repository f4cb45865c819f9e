"""dir:PATH: one image (or index) as plain files, as skopeo has it: blobs by their hex digits, manifest.json.

`HEX.manifest.json` are the manifests of an index, `signature-N` and `HEX.signature-N` simple signatures.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orlop.image import manifest
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.sink import Reader
from orlop.image.transport.destination import Abilities
from orlop.image.transport.layout.files import FolderFiles, told
from orlop.image.transport.layout.reading import Turn, VerifiedReader, checked
from orlop.image.transport.layout.staging import PREFIX, Staging
from orlop.image.transport.oci import missing, wanted_blobs
from orlop.image.transport.source import RawManifest
from orlop.kit import files, limits, locks
from orlop.kit.errors import Conflict, Corrupt, InvalidInput, LimitExceeded, NotFound
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation

_MANIFEST = "manifest.json"
_VERSION = "version"
_VERSION_TEXT = b"Directory Transport Version: 1.1\n"
_VERSION_START = b"Directory Transport Version: 1."
_OURS = re.compile(
    r"version|manifest\.json|([0-9a-f]{64}|[0-9a-f]{128})(\.manifest\.json|\.signature-[0-9]+)?|signature-[0-9]+"
)


class DirSource:
    """transport.Source. Raises NotFound, Corrupt."""

    def __init__(self, path: str, reference: str = "", cancellation: Cancellation | None = None) -> None:
        self._subject = f"dir:{path}"
        no_reference(reference, self._subject)
        self._turn = Turn(cancellation)
        self._files = FolderFiles(path, self._subject)
        try:
            self._check_version()
        except BaseException:
            self._files.close()
            raise

    def manifest(self, digest: Digest | None = None) -> RawManifest:
        self._turn.check()
        data = self._read(_MANIFEST, limits.MANIFEST_SIZE)
        algorithm = "sha256" if digest is None else digest.algorithm
        found = Digest.of(data, algorithm)
        if digest is not None and found != digest:
            data = self._read(_manifest_name(digest), limits.MANIFEST_SIZE)
            found = Digest.of(checked(data, digest, self._subject), digest.algorithm)
        return RawManifest(data, manifest.parse(data, subject=self._subject).media_type, found)

    def current_digest(self) -> Digest | None:
        return Digest.of(self._read(_MANIFEST, limits.MANIFEST_SIZE))

    @contextmanager
    def open_blob(self, blob: Descriptor, meter: Meter) -> Iterator[Reader]:
        self._turn.check()
        with told(self._subject), self._files.open(blob.digest.encoded) as region:
            yield VerifiedReader(blob, region, self._turn, meter, self._subject)

    def tagged(self, tag: str) -> RawManifest | None:
        return None

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return ()

    def signatures(self, digest: Digest) -> tuple[bytes, ...]:
        top = self.current_digest() if digest.algorithm == "sha256" else None
        found: list[bytes] = []
        while len(found) < limits.SIGNATURES:
            name = signature_name(None if digest == top else digest, len(found) + 1)
            try:
                found.append(self._read(name, limits.CONFIG_FILE_SIZE))
            except NotFound:
                return tuple(found)
        raise LimitExceeded(
            self._subject, f"has more than {limits.SIGNATURES} signatures", hint="do not trust this folder"
        )

    def close(self) -> None:
        self._turn.close()
        self._files.close()

    def _check_version(self) -> None:
        """Folders without the file are read too: early skopeo wrote none."""
        try:
            text = self._read(_VERSION, limits.CONFIG_FILE_SIZE)
        except NotFound:
            text = _VERSION_TEXT
        if not text.startswith(_VERSION_START):
            raise Corrupt(
                f"{self._subject}: {_VERSION}",
                f"is {text[:60]!r}, version 1.x is read here",
                hint="see what wrote this folder",
            )

    def _read(self, name: str, limit: int) -> bytes:
        with told(self._subject), self._files.open(name) as region:
            return region.read_all(limit, f"{self._subject}: {name}")


class DirDestination:
    """transport.Destination. An earlier image stays until `commit`; its blobs are taken over."""

    def __init__(self, path: str, reference: str = "", cancellation: Cancellation | None = None) -> None:
        self._path = os.path.abspath(path)
        self._subject = f"dir:{path}"
        no_reference(reference, self._subject)
        self._turn = Turn(cancellation)
        self._lock = threading.Lock()
        self._manifests: dict[Digest, RawManifest] = {}
        self._signatures: dict[Digest, list[bytes]] = {}
        self._check_free()
        self._staging = Staging(self._path, self._subject, self._turn)

    @property
    def abilities(self) -> Abilities:
        return Abilities(attachments=False)

    def has_blob(self, blob: Descriptor) -> bool:
        self._turn.check()
        name = blob.digest.encoded
        return self._staging.has(name) or _size(os.path.join(self._path, name)) == blob.size

    def put_blob(self, blob: Descriptor, reader: Reader, meter: Meter) -> None:
        self._staging.put_blob(blob.digest.encoded, blob, reader)

    def put_stream(self, reader: Reader, meter: Meter, describe: Callable[[], tuple[Digest, int]]) -> None:
        """destination.Streaming."""
        self._staging.put_stream(reader, describe, lambda digest: digest.encoded)

    def put_manifest(self, manifest: RawManifest, *, tag: str = "") -> None:
        """What bears a `tag` beside the image (cosign's attachments) has no place here and is left out."""
        self._turn.check()
        checked(manifest.data, manifest.digest, self._subject)
        if tag:
            return
        with self._lock:
            self._manifests[manifest.digest] = manifest

    def put_signatures(self, digest: Digest, signatures: tuple[bytes, ...]) -> None:
        with self._lock:
            there = self._signatures.setdefault(digest, [])
            there += [signature for signature in signatures if signature not in there]

    def commit(self, top: Digest) -> None:
        """Raises Conflict where a blob is missing that its manifests name."""
        self._turn.check()
        with self._lock, locks.hold(self._path, tick=self._turn.check), told(self._subject):
            if top not in self._manifests:
                raise InvalidInput(str(top), "is no manifest that was put", hint="put it before the commit")
            names = self._check_whole()
            for digest, raw in self._manifests.items():
                if digest != top:
                    names.add(_manifest_name(digest))
                    self._staging.put_bytes(_manifest_name(digest), raw.data)
            for digest, signatures in self._signatures.items():
                if digest != top:
                    for number, signature in enumerate(signatures, 1):
                        names.add(signature_name(digest, number))
                        self._staging.put_bytes(signature_name(digest, number), signature)
            self._staging.publish()
            self._replace(top)
            self._clean(names, len(self._signatures.get(top, ())))

    def close(self) -> None:
        self._turn.close()
        self._staging.close()

    def _replace(self, top: Digest) -> None:
        """manifest.json and its signatures. At no moment is the one there without valid ones of the other:
        new signatures stand behind the old ones until the manifest has changed."""
        ours = self._signatures.get(top, [])
        before = _count_signatures(self._path)
        for number, signature in enumerate(ours, before + 1):
            files.write_atomic(self._file(signature_name(None, number)), signature)
        files.write_atomic(self._file(_VERSION), _VERSION_TEXT)
        files.write_atomic(self._file(_MANIFEST), self._manifests[top].data)
        if before:
            for number in range(1, len(ours) + 1):
                os.rename(
                    self._file(signature_name(None, before + number)),
                    self._file(signature_name(None, number)),
                )

    def _clean(self, names: set[str], signatures: int) -> None:
        """Remove what belonged to the earlier image only."""
        names |= {_VERSION, _MANIFEST, *(signature_name(None, number + 1) for number in range(signatures))}
        for name in os.listdir(self._path):
            if name not in names and _OURS.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._file(name))
        files.sync_folder(self._path)

    def _check_whole(self) -> set[str]:
        """The names of all blobs that the manifests want. Raises Conflict where one is missing."""
        names = set()
        for raw in self._manifests.values():
            for blob in wanted_blobs(raw):
                name = blob.digest.encoded
                names.add(name)
                if not self._staging.has(name) and _size(self._file(name)) != blob.size:
                    raise missing(self._subject, blob.digest)
        return names

    def _check_free(self) -> None:
        with told(self._subject):
            if os.path.lexists(self._path) and not os.path.isdir(self._path):
                raise Conflict(self._subject, "is no folder", hint="choose another path")
            if not os.path.isdir(self._path) or os.path.exists(self._file(_MANIFEST)):
                return
            if any(name != _VERSION and not name.startswith(PREFIX) for name in os.listdir(self._path)):
                raise Conflict(
                    self._subject, "is a folder with other files in it", hint="choose a new or an empty one"
                )

    def _file(self, name: str) -> str:
        return os.path.join(self._path, name)


def signature_name(digest: Digest | None, number: int) -> str:
    """Of the top manifest (None), or of one below an index; `number` from 1."""
    return f"{digest.encoded}.signature-{number}" if digest else f"signature-{number}"


def no_reference(reference: str, subject: str) -> None:
    if reference:
        raise InvalidInput(
            f"{subject}:{reference}", "a folder holds one image, without a name", hint="name the folder only"
        )


def _manifest_name(digest: Digest) -> str:
    return f"{digest.encoded}.manifest.json"


def _count_signatures(path: str) -> int:
    count = 0
    while os.path.lexists(os.path.join(path, signature_name(None, count + 1))):
        count += 1
    return count


def _size(path: str) -> int:
    """-1 where it is not there."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
