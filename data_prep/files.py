"""Atomic writes: after a crash, a file has either its old or its new content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` on success, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # in the same folder, since a rename is atomic within one file system only
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # or the rename could reach the disk before the content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # gone after the rename


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 atomically; undecodable bytes of file names (surrogateescape) are preserved."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
