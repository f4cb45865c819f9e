"""The store's face: one object, many processes. Each verb is in its module, imported when it is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from orlop.kit.database import Database
from orlop.kit.node import Node
from orlop.store.errors import explained
from orlop.store.layout import SCHEMA, Layout
from orlop.store.model import CheckReport, Pruned, StoredImage, StoreSettings, Usage

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.image.config import ImageConfig
    from orlop.image.digest import Digest
    from orlop.image.sink import Document, ImageRecord, LayerRequest, Reader
    from orlop.kit.progress import Meter
    from orlop.store.blobs.open import BlobFile
    from orlop.store.branches import Branch
    from orlop.store.collect import Collected
    from orlop.store.diff import Difference
    from orlop.store.history import Step
    from orlop.store.import_image import Import, Imported
    from orlop.store.repositories import Repositories
    from orlop.store.scratch_root import ScratchRoot

_DEFAULTS = StoreSettings()

__all__ = ["Store", "StoreSettings"]


def _idle() -> None:
    """The tick of who never gives up."""


class Store:
    """The images, layers and container file systems of one node; implements `orlop.image.sink.Sink`.

    Safe to use from many threads and many processes. Every method may be asked twice. Raises OrlopError only.
    """

    @explained
    def __init__(self, node: Node, settings: StoreSettings = _DEFAULTS) -> None:
        self.layout = Layout(node)
        self.settings = settings
        self._database = Database(self.layout.database, SCHEMA)

    def close(self) -> None:
        """Close this thread's connection; it opens again when it is needed."""
        self._database.close()

    # -- Sink ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """What is ensured inside is not pruned before the end."""
        from orlop.store import leases

        with leases.hold(self.layout):
            yield

    @explained
    def use(self, image_id: str) -> bool:
        """The image is not pruned before this lease ends; False where it is not there."""
        from orlop.store import leases

        return leases.use(self._database, image_id)

    @explained
    @contextlib.contextmanager
    def pulling(self, image_id: Digest, tick: Callable[[], None]) -> Iterator[None]:
        """One pull of the image at a time; see Sink."""
        from orlop.kit import locks
        from orlop.kit.errors import TimedOut

        with contextlib.ExitStack() as held:
            with contextlib.suppress(TimedOut):  # the lock spares work, nothing more: go on beside the other
                held.enter_context(locks.hold(self.layout.pull_lock(image_id), tick=tick))
            yield

    def has_image(self, image_id: Digest) -> bool:
        from orlop.store import images

        return images.has_image(self._database, image_id)

    @explained
    def named(self, name: str) -> tuple[Digest, Digest] | None:
        """(image ID, manifest digest) that a canonical reference leads to; None where it leads nowhere."""
        from orlop.store import images

        return images.named(self._database, name)

    def ensure_layer(
        self,
        layer: LayerRequest,
        open_blob: Callable[[], AbstractContextManager[Reader]],
        *,
        meter: Meter,
        tick: Callable[[], None],
    ) -> bool:
        """The layer is there afterwards; returns whether it had to be fetched. See Sink."""
        from orlop.store.ensure_layer import ensure_layer

        return ensure_layer(
            self.layout, self._database, self.settings, layer, open_blob, meter=meter, tick=tick
        )

    @explained
    def put_image(self, image: ImageRecord) -> None:
        """Record the image and point its names at it. Raises NotFound where one of its layers is absent."""
        from orlop.store import images, reserve

        images.put_image(self._database, image)
        reserve.keep(self.layout)

    def wanted(self, blobs: Sequence[Digest]) -> bool:
        """Whether one of these layers' blobs is not here and shall be kept. See Sink."""
        from orlop.store.blobs.write import wanted

        return any(wanted(self._database, self.settings, digest) for digest in blobs)

    # -- blobs -----------------------------------------------------------------------------------------

    def blob_size(self, digest: Digest) -> int | None:
        """Bytes; None where it is not here."""
        from orlop.store.blobs.open import blob_size

        return blob_size(self._database, digest)

    @contextlib.contextmanager
    def open_blob(self, digest: Digest) -> Iterator[BlobFile]:
        """Its bytes for the `with` block, unverified, whatever is removed meanwhile. Raises NotFound."""
        from orlop.store.blobs.open import opened

        with opened(self.layout, self._database, digest) as blob:
            yield blob

    @contextlib.contextmanager
    def open_archive(self, diff_id: Digest) -> Iterator[BlobFile]:
        """As `open_blob`: the unpacked archive of a layer, where it is kept as such. Raises NotFound."""
        from orlop.store.blobs.open import opened_archive

        with opened_archive(self.layout, self._database, diff_id) as archive:
            yield archive

    @explained
    def put_blob(
        self, digest: Digest, size: int, reader: Reader, *, tick: Callable[[], None] = _idle
    ) -> None:
        """Keep what `reader` gives, verified while it streams, durable at the end.

        Where the blob is here already, nothing is read. What no image and no repository names when the last
        lease ends may be pruned. Raises Corrupt, Unavailable (the disk is full), what the arguments raise.
        """
        from orlop.store.blobs.put import put_blob

        put_blob(self.layout, self._database, digest, size, reader, tick)

    @explained
    def adopt_blob(self, digest: Digest, path: str) -> None:
        """Keep a verified, finished file of the store's file system: it is renamed away from `path`."""
        from orlop.store.blobs.put import adopt_blob

        adopt_blob(self.layout, self._database, digest, path)

    def documents(self, image_id: str) -> tuple[Document, ...]:
        """What is kept beside the image: indexes that led to it, signatures. Raises NotFound."""
        from orlop.store.blobs.documents import documents

        return documents(self._database, image_id)

    # -- images ----------------------------------------------------------------------------------------

    @explained
    def images(self) -> list[StoredImage]:
        """Every image, by name."""
        from orlop.store import images

        return images.all_images(self._database)

    @explained
    def image(self, name: str) -> StoredImage:
        """By canonical or familiar name, digest, id or a unique beginning of one. Raises NotFound."""
        from orlop.store import images

        return images.find(self._database, name)

    @explained
    def image_config(self, image_id: str) -> ImageConfig:
        """Raises NotFound."""
        from orlop.image.config import ImageConfig

        return ImageConfig.from_json(self.config_bytes(image_id))

    @explained
    def manifest_bytes(self, image_id: str) -> bytes:
        """As the registry gave it. Raises NotFound."""
        from orlop.store import images

        return images.document(self._database, image_id, "manifest")

    @explained
    def manifest_of(self, name: str) -> tuple[str, str, bytes]:
        """(image id, manifest's digest, manifest): the one that this name led to, where it has several.

        Raises NotFound.
        """
        from orlop.store import manifests

        return manifests.of_name(self._database, name)

    @explained
    def config_bytes(self, image_id: str) -> bytes:
        """As the registry gave it. Raises NotFound."""
        from orlop.store import images

        return images.document(self._database, image_id, "config")

    @explained
    def tag(self, name: str, new: str) -> None:
        """Point `new` at the image, away from where it pointed. Raises NotFound, InvalidInput."""
        from orlop.store import images

        images.tag(self._database, name, new)

    @explained
    def untag(self, name: str) -> None:
        """Take the name away; the image stays. Raises NotFound."""
        from orlop.store import images

        images.untag(self._database, name)

    @explained
    def remove_image(self, name: str, *, force: bool = False, all_names: bool = False) -> list[str]:
        """Remove the name, and with its last one the image and the layers that nobody else uses.

        `all_names` takes all names at once; `force` does, and unmounts `mount_image`'s root. Returns what
        went: names, then the image's id. Raises NotFound, and Conflict naming who uses it.
        """
        from orlop.store.remove_image import remove_image

        return remove_image(self.layout, self._database, name, force=force, all_names=all_names)

    @explained
    def mount_image(self, name: str) -> str:
        """The path of the image's read-only root. Raises NotFound, Unsupported."""
        from orlop.store import image_mounts

        return image_mounts.mount_image(self.layout, self._database, name)

    @explained
    def mounted_images(self) -> list[tuple[str, str]]:
        """(image id, path) of every image that `mount_image` mounted."""
        from orlop.store import image_mounts

        return image_mounts.mounted_images(self.layout)

    @explained
    def unmount_image(self, name: str) -> bool:
        """Let go of it; it goes with the last name that it was mounted by. Returns whether it was mounted."""
        from orlop.store import image_mounts

        return image_mounts.unmount_image(self.layout, self._database, name)

    @explained
    def export_image(
        self, name: str, write: Callable[[bytes | memoryview], object], *, tick: Callable[[], None] = _idle
    ) -> int:
        """Give `write` the image's root file system as one tar archive, piece by piece; returns its entries.

        The same image gives the same bytes. Raises NotFound, Unsupported, and what `write` and `tick` raise.
        """
        from orlop.store.export import export_image

        return export_image(self.layout, self._database, name, write, tick)

    @explained
    def import_image(
        self, file: int, wanted: Import, *, meter: Meter | None = None, tick: Callable[[], None] = _idle
    ) -> Imported:
        """An image of one layer, from the archive that the descriptor `file` gives. See import_image.py."""
        from orlop.kit.progress import QuietMeter
        from orlop.store.import_image import import_image

        return import_image(self, file, wanted, meter=meter or QuietMeter(), tick=tick)

    @explained
    def history(self, name: str) -> tuple[Step, ...]:
        """The steps that the image was made by, as it says, the first one first. Raises NotFound."""
        from orlop.store.history import history

        return history(self._database, name)

    @explained
    def branches(self, name: str = "") -> list[Branch]:
        """Which image stands on which, by shared layers; with `name` only what has to do with that image."""
        from orlop.store.branches import branches

        return branches(self._database, name)

    @explained
    def diff(self, name: str, other: str = "", *, tick: Callable[[], None] = _idle) -> list[Difference]:
        """The paths in which `other` differs from the image, or the image from its layers but the last.

        Raises NotFound, Unsupported.
        """
        from orlop.store.diff import diff

        return diff(self.layout, self._database, name, other, tick)

    @explained
    def diff_rootfs(self, container_id: str, *, tick: Callable[[], None] = _idle) -> list[Difference]:
        """The paths in which a container's file system differs from its image's. Raises NotFound."""
        from orlop.store.diff import diff_rootfs

        return diff_rootfs(self.layout, self._database, container_id, tick)

    # -- container file systems --------------------------------------------------------------------------

    @explained
    def create_rootfs(self, container_id: str, image_id: str) -> None:
        """Raises NotFound (no such image), Conflict (it stands on another), InvalidInput."""
        from orlop.store import rootfs

        rootfs.create_rootfs(self.layout, self._database, container_id, image_id)

    @explained
    def mount_rootfs(
        self, container_id: str, user_namespace: str = "", owner: tuple[int, int] = (0, 0)
    ) -> str:
        """The path of the merged file system, mounted now if it was not. Raises NotFound, Unsupported.

        With the path of a pinned `user_namespace`, whose root has the IDs `owner`, its files are its users'.
        """
        from orlop.store import rootfs

        return rootfs.mount_rootfs(self.layout, self._database, container_id, user_namespace, owner)

    @explained
    def mount_volume(self, container_id: str, image: str, user_namespace: str = "") -> str:
        """The path of an image's root, mounted read-only for this container: it goes with `remove_rootfs`.

        The image is in use until then. Asked again, the same path. Raises NotFound, Unsupported.
        """
        from orlop.store import image_volumes

        return image_volumes.mount(self.layout, self._database, container_id, image, user_namespace)

    @explained
    def mapped_folder(self, identifier: str, owner: tuple[int, int]) -> str:
        """An empty folder that the root of a user namespace, who has the IDs `owner`, may pass through."""
        from orlop.store import mapped

        return mapped.folder(self.layout, identifier, owner)

    @explained
    def unmount_rootfs(self, container_id: str) -> None:
        """What the container wrote stays."""
        from orlop.store import rootfs

        rootfs.unmount_rootfs(self.layout, container_id)

    @explained
    def remove_rootfs(self, container_id: str) -> None:
        """Unmounted and gone, with what the container wrote."""
        from orlop.store import rootfs

        rootfs.remove_rootfs(self.layout, self._database, container_id)

    @explained
    def unmount_layers(self) -> None:
        """Layers that are kept as images are mounted no more; they are again when they are needed."""
        from orlop.store.erofs import mounts

        mounts.release_all(self.layout)

    @explained
    def rootfs_usage(self, container_id: str) -> tuple[int, int]:
        """Bytes and inodes that the container wrote. Raises NotFound."""
        from orlop.store import rootfs

        return rootfs.rootfs_usage(self.layout, self._database, container_id)

    @explained
    def rootfs_list(self) -> list[str]:
        """The container ids that have one."""
        from orlop.store import rootfs

        return rootfs.rootfs_list(self._database)

    # -- builds ------------------------------------------------------------------------------------------

    def scratch_root(self, image_id: str, *, bare: bool = False) -> AbstractContextManager[ScratchRoot]:
        """A writable root on the image ("": on nothing) that becomes a layer; inside a lease.

        `bare`: the new layer's folder alone. Raises NotFound, Unsupported.
        """
        from orlop.store import scratch_root

        return scratch_root.scratch_root(self.layout, self._database, image_id, bare=bare)

    def image_root(self, image_id: str) -> AbstractContextManager[str]:
        """The path of the image's root, read-only, for a `with` block; mounted nowhere else."""
        from orlop.store import scratch_root

        return scratch_root.image_root(self.layout, self._database, image_id)

    def taken_rootfs(self, container_id: str) -> AbstractContextManager[ScratchRoot]:
        """What an ended container wrote, to become a layer; it has no file system afterwards. In a lease."""
        from orlop.store import scratch_root

        return scratch_root.taken_rootfs(self.layout, self._database, container_id)

    @explained
    def cached_step(self, key: str) -> str | None:
        """The ID of the image that the build step with this key led to; it counts as used now."""
        from orlop.store import build_cache

        return build_cache.cached(self._database, key)

    @explained
    def remember_step(self, keys: list[str], image_id: str) -> None:
        """The build steps with these keys lead to the image."""
        from orlop.store import build_cache

        build_cache.remember(self._database, keys, image_id)

    @explained
    def step_images(self) -> frozenset[str]:
        """The IDs of images that steps of builds lead to; those without a name are there for that alone."""
        from orlop.store import build_cache

        return build_cache.images_of_steps(self._database)

    # -- the whole ---------------------------------------------------------------------------------------

    @property
    def repositories(self) -> Repositories:
        """What `orlop registry serve` serves."""
        from orlop.store.repositories import Repositories

        return Repositories(self.layout, self._database)

    @explained
    def check(self, *, repair: bool = False) -> CheckReport:
        """Compare records, folders and contents; with `repair` remove what is broken, to be pulled again."""
        from orlop.store.check import check

        return check(self.layout, self._database, self.settings, repair=repair)

    @explained
    def df(self) -> Usage:
        """What takes how much room."""
        from orlop.store.df import df

        return df(self.layout, self._database)

    @explained
    def content(self) -> tuple[int, int]:
        """Bytes and inodes of all layers, each counted once. A query, no walk."""
        from orlop.store.df import content

        return content(self._database)

    @explained
    def collect(self) -> Collected:
        """Remove leftovers of interrupted work, and layers of pulls that were given up an hour ago. No image.

        Cheap; waits for nobody, and takes nothing from a pull under way.
        """
        from orlop.store.collect import collect

        return collect(self.layout, self._database)

    @explained
    def prune(self, *, all_images: bool = False) -> Pruned:
        """Remove leftovers, unused layers, nameless unused images, and with `all_images` all unused ones.

        Waits for pulls under way. Raises TimedOut after [store] prune_wait seconds.
        """
        from orlop.store.prune import prune

        return prune(self.layout, self._database, self.settings, all_images=all_images)
