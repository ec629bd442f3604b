"""One rule for labels, groups, folds and splits, wherever they are written."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

# Written by editors and web pages without anybody seeing it: byte order mark, zero width space.
_UNSEEN = re.compile("[\ufeff\u200b\u2060\u00ad]")
_BLANKS = re.compile(r"\s+")
_MOST_NAMED = 3


def normalise_label(text: str) -> str:
    """Composed (NFC), trimmed, with single blanks inside and nothing that cannot be seen."""
    return _BLANKS.sub(" ", _UNSEEN.sub("", unicodedata.normalize("NFC", text))).strip()


def printable_name(name: str) -> str:
    """A folder's name as text: bytes that are no UTF-8 are written as \\xNN, and so stay apart."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def merged_label_notes(raw: Iterable[str]) -> list[str]:
    """Which labels are written in several ways and were taken as one."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for text in raw:
        spellings[normalise_label(text)].add(text)
    return [
        f"the label '{label}' is written in {len(ways)} ways "
        f"({', '.join(ascii(way) for way in sorted(ways)[:_MOST_NAMED])}): taken as one"
        for label, ways in sorted(spellings.items())
        if label and len(ways) > 1
    ]


def similar_label_notes(labels: Iterable[str]) -> list[str]:
    """Which labels differ so little that one may be meant."""
    alike: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        folded = unicodedata.normalize("NFKC", label).casefold()
        alike["".join(c for c in folded if c.isalnum()) or label].add(label)
    return [
        f"the labels {' and '.join(repr(name) for name in sorted(names))} differ in case or "
        "punctuation alone and stay apart; if they are one, rename the folder, or edit the column "
        "label of manifest.csv"
        for names in alike.values()
        if len(names) > 1
    ]
