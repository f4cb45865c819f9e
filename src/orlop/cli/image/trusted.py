"""Files that the user names: keys and certificates."""

from __future__ import annotations


def read(path: str) -> bytes:
    """Raises InvalidInput."""
    from orlop.kit import limits
    from orlop.kit.errors import InvalidInput
    from orlop.kit.files import read_bounded

    try:
        return read_bounded(path, limits.CONFIG_FILE_SIZE)
    except OSError as error:
        raise InvalidInput(
            path, f"cannot be read: {error.strerror or error}", hint="correct the path"
        ) from error
