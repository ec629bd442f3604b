"""Files on disk: all below a folder, and the one that a name in a table means."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_ADDRESS = re.compile(r"^(https?|s3|gs|hdfs|ftp|az)://", re.IGNORECASE)
_FOREIGN_ROOT = re.compile(r"^([\\/]|[A-Za-z]:)")
_NOT_MEDIA_ENDINGS = frozenset({".csv", ".tsv", ".txt", ".json", ".xml", ".md", ".jpg", ".png"})


def absolute_name(raw: str, base: Path) -> str:
    """An absolute name. Dots are taken out only where the file stays the same: behind a link to a
    folder, `..` leads elsewhere than the text says."""
    joined = os.path.join(os.path.abspath(base), raw)  # noqa: PTH100, PTH118 - takes any name
    short = os.path.normpath(joined)
    if short == joined:
        return short
    try:
        return short if os.path.samefile(short, joined) else joined  # noqa: PTH121
    except (OSError, ValueError):
        return short if not _there(joined) else joined


def _there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except (OSError, ValueError):
        return False


@dataclass
class FileFinder:
    """Finds the files that a table names, relative to one folder."""

    folder: Path
    n_completed: int = 0
    example: tuple[str, str] | None = None
    ambiguous: list[str] = field(default_factory=list)
    _index: dict[str, list[str]] | None = None

    def find(self, raw: str) -> str:
        """The file meant; the name as written where none or several fit."""
        text = raw.strip()
        path = absolute_name(text, self.folder)
        if _there(path) or _ADDRESS.match(text):
            return path if not _ADDRESS.match(text) else text
        for other in self._rewritten(text):
            path_of_other = absolute_name(other, self.folder)
            if _there(path_of_other):
                return self._completed(raw, path_of_other)
        fitting = self._fitting(text)
        if len(fitting) == 1:
            return self._completed(raw, fitting[0])
        if len(fitting) > 1:
            self.ambiguous.append(f"'{raw}' ({', '.join(sorted(fitting)[:2])})")
        return path

    def note(self, table: Path) -> list[str]:
        """What is to be said of names that were completed."""
        if self.example is None:
            return []
        raw, path = self.example
        return [
            f"{self.n_completed} names of {table} are not files as written and were completed by "
            f"what is in {self.folder} (for example {raw} → {path})"
        ]

    def _completed(self, raw: str, path: str) -> str:
        self.n_completed += 1
        self.example = self.example or (raw, path)
        return path

    def _rewritten(self, text: str) -> list[str]:
        """The name in the spelling of this system."""
        text = text.removeprefix("file://").strip('"')
        ways = [text]
        if "\\" in text:
            ways.append(text.replace("\\", "/"))
        if text.startswith("~"):
            ways.append(os.path.expanduser(text))  # noqa: PTH111 - a name that is no home stays
        return ways

    def _fitting(self, text: str) -> list[str]:
        """Files below the folder with the longest tail of the name, case, composition and a
        missing ending overlooked."""
        name = text.strip('"')
        parts = [part for part in re.split(r"[\\/]+", name) if part not in ("", ".", "..")]
        foreign = _FOREIGN_ROOT.match(name) is not None
        if self._index is None:
            self._index = self._indexed()
        # a relative path is believed whole; of a path of another system the beginning may differ,
        # but the folders that both name must not
        for n in range(len(parts), 0, -1) if foreign else (len(parts),):
            found = self._index.get(_folded("/".join(parts[-n:])), [])
            if n == 1 and len(parts) > 1:
                root = os.path.abspath(self.folder)  # noqa: PTH100
                found = [file for file in found if os.path.dirname(file) == root]  # noqa: PTH120
            if found:
                return self._at_place(found, parts[-n:]) or found
        return []

    def _at_place(self, found: list[str], parts: list[str]) -> list[str]:
        """Those that lie where the name says, and not in a folder further down."""
        root, wanted = os.path.abspath(self.folder), _folded("/".join(parts))  # noqa: PTH100
        places = {file: _folded(PurePosixPath(file).relative_to(root).as_posix()) for file in found}
        return [
            file
            for file, place in places.items()
            if wanted in (place, os.path.splitext(place)[0])  # noqa: PTH122
        ]

    def _indexed(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = defaultdict(list)
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
    return unicodedata.normalize("NFC", text).casefold()


def walk(folder: Path) -> list[Path]:
    """Every file below a folder that is not hidden, sorted; links are followed, loops are not."""
    files: list[Path] = []
    seen: set[str] = set()
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
            files.append(directory)  # it gets a row that says it cannot be read
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
        return False  # a link that leads back to itself; its row says so
