"""Resolves file names of tables to files on disk, and lists the files below a folder."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data_prep.status import counted

# addresses are kept as they are: the row gets the reason why it cannot be read
_ADDRESS = re.compile(r"^(https?|s3|gs|hdfs|ftp|az)://", re.IGNORECASE)
_FOREIGN_ROOT = re.compile(r"^([\\/]|[A-Za-z]:)")  # absolute, perhaps on another system
_NOT_MEDIA_ENDINGS = frozenset({".csv", ".tsv", ".txt", ".json", ".xml", ".md", ".jpg", ".png"})


def absolute_name(raw: str, base: Path) -> str:
    """Absolute path of a name relative to `base`; normalised only if that names the same file."""
    joined = os.path.join(os.path.abspath(base), raw)  # noqa: PTH100, PTH118 - takes any name
    short = os.path.normpath(joined)
    if short == joined:
        return short
    # after a link to a folder, `..` leads elsewhere than the text says
    try:
        return short if os.path.samefile(short, joined) else joined  # noqa: PTH121
    except (OSError, ValueError):
        return short if not _exists(joined) else joined


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except (OSError, ValueError):
        return False


@dataclass
class FileFinder:
    """Finds the files named in a table, relative to one folder."""

    folder: Path
    n_completed: int = 0
    example: tuple[str, str] | None = None
    ambiguous: list[str] = field(default_factory=list)
    _index: dict[str, list[str]] | None = None

    def find(self, raw: str) -> str:
        """Path of the file that a name means; the name as written if none or several match."""
        text = raw.strip()
        path = absolute_name(text, self.folder)
        if _exists(path) or _ADDRESS.match(text):
            return path if not _ADDRESS.match(text) else text
        for other in self._variants(text):
            path_of_other = absolute_name(other, self.folder)
            if _exists(path_of_other):
                return self._completed(raw, path_of_other)
        matches = self._matches(text)
        if len(matches) == 1:
            return self._completed(raw, matches[0])
        if len(matches) > 1:
            self.ambiguous.append(f"'{raw}' ({', '.join(sorted(matches)[:2])})")
        return path

    def note(self, table: Path) -> list[str]:
        """Note for the user on names that were completed."""
        if self.example is None:
            return []
        raw, path = self.example
        return [
            f"{counted(self.n_completed, 'name')} in {table} did not exist as written and "
            f"{'was' if self.n_completed == 1 else 'were'} matched to files in {self.folder} (for "
            f"example {raw} → {path})"
        ]

    def _completed(self, raw: str, path: str) -> str:
        self.n_completed += 1
        self.example = self.example or (raw, path)
        return path

    def _variants(self, text: str) -> list[str]:
        """Variants of the name in the notation of this system."""
        text = text.removeprefix("file://").strip('"')
        variants = [text]
        if "\\" in text:
            variants.append(text.replace("\\", "/"))
        if text.startswith("~"):
            variants.append(os.path.expanduser(text))  # noqa: PTH111 - unknown users stay as written
        return variants

    def _matches(self, text: str) -> list[str]:
        """Files below the folder that match the longest tail of the name, ignoring case, Unicode
        composition and a missing extension."""
        name = text.strip('"')
        parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..")]
        foreign = _FOREIGN_ROOT.match(name) is not None
        if self._index is None:
            self._index = self._indexed()
        # a relative path must match completely, an absolute one of another system only at its end
        for n in range(len(parts), 0, -1) if foreign else (len(parts),):
            found = self._index.get(_folded("/".join(parts[-n:])), [])
            if n == 1 and len(parts) > 1:  # the file name only: not from any other folder
                root = os.path.abspath(self.folder)  # noqa: PTH100
                found = [file for file in found if os.path.dirname(file) == root]  # noqa: PTH120
            if found:
                return self._in_folder(found, parts[-n:]) or found
        return []

    def _in_folder(self, found: list[str], parts: list[str]) -> list[str]:
        """Files in exactly this folder, not in one further down."""
        root, wanted = os.path.abspath(self.folder), _folded("/".join(parts))  # noqa: PTH100
        places = {file: _folded(PurePosixPath(file).relative_to(root).as_posix()) for file in found}
        return [
            file
            for file, place in places.items()
            if wanted in (place, os.path.splitext(place)[0])  # noqa: PTH122
        ]

    def _indexed(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = defaultdict(list)  # every tail of every path → files
        for file in walk(self.folder) if self.folder.is_dir() else []:
            parts = PurePosixPath(file.relative_to(os.path.abspath(self.folder))).parts  # noqa: PTH100
            for n in range(1, len(parts) + 1):
                tail = _folded("/".join(parts[-n:]))
                index[tail].append(str(file))
                stem, ending = os.path.splitext(tail)  # noqa: PTH122
                if ending and ending not in _NOT_MEDIA_ENDINGS:
                    index[stem].append(str(file))
        return index


def _folded(text: str) -> str:
    # macOS decomposes names, tables are usually composed
    return unicodedata.normalize("NFC", text).casefold()


def walk(folder: Path) -> list[Path]:
    """All files below a folder except hidden ones, sorted; follows links, but no loops."""
    files: list[Path] = []
    seen: set[str] = set()  # real paths, to stop at loops of links
    waiting = [Path(os.path.abspath(folder))]  # noqa: PTH100 - resolve() would follow links
    while waiting:
        directory = waiting.pop()
        real = os.path.realpath(directory)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:
            files.append(directory)  # gets a row with the reason
            continue
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        folders = [Path(entry.path) for entry in shown if _is_folder(entry)]
        files += [Path(entry.path) for entry in shown if not _is_folder(entry)]
        waiting += reversed(folders)
    return sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=True)
    except OSError:
        return False  # a link to itself; its row has the reason
