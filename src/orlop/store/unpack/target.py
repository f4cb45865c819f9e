"""Where a layer goes: the two forms in which the store keeps one (docs/layers.md)."""

from __future__ import annotations

from typing import Any, Protocol

from orlop.store.unpack.files import FileWriter
from orlop.store.unpack.write_back import WriteBack
from orlop.store.unpack.writer import Writer


class Target(Protocol):
    """For one layer. Raises OSError where the machine is at fault."""

    @property
    def writer(self) -> Writer[Any]:
        """What the entries are handed to."""

    def write(self, piece: bytes) -> None:
        """Each piece of the archive in order, in a thread of its own; `writes` tells if that is wanted."""

    @property
    def writes(self) -> bool: ...

    def finish(self) -> None:
        """Every piece was written, every entry handed over: all of it is durable afterwards."""

    def close(self) -> None: ...


class FileTarget:
    """Files below the empty `folder`."""

    writes = False

    def __init__(self, folder: str, subject: str) -> None:
        self._write_back = WriteBack(folder)
        self.writer = FileWriter(folder, subject, self._write_back.written)

    def write(self, piece: bytes) -> None:
        """The writer writes."""

    def finish(self) -> None:
        self._write_back.finish()

    def close(self) -> None:
        self.writer.close()
        self._write_back.close()
