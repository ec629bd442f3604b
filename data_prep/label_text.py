"""Normalisation of labels, groups, folds and splits, the same for all sources."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

# byte order mark, zero width space, word joiner, soft hyphen: left behind by editors and web pages
_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad]")
_WHITESPACE = re.compile(r"\s+")
_MAX_NAMED = 3


def normalise_label(text: str) -> str:
    """NFC, without invisible characters, with whitespace collapsed and stripped."""
    return _WHITESPACE.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()


def printable_name(name: str) -> str:
    """A folder name as printable text; bytes that are not UTF-8 become \\xNN, so they differ."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def merged_label_notes(raw: Iterable[str]) -> list[str]:
    """Notes on labels with several spellings that were merged into one."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for text in raw:
        spellings[normalise_label(text)].add(text)
    return [
        f"the label '{label}' is written in {len(variants)} ways "
        # ascii, since the variants may look the same
        f"({', '.join(ascii(text) for text in sorted(variants)[:_MAX_NAMED])}): taken as one"
        for label, variants in sorted(spellings.items())
        if label and len(variants) > 1
    ]


def similar_label_notes(labels: Iterable[str]) -> list[str]:
    """Notes on labels that differ only in case or punctuation; they are not merged."""
    similar: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        folded = unicodedata.normalize("NFKC", label).casefold()
        # labels of punctuation alone would all have the empty key
        similar["".join(c for c in folded if c.isalnum()) or label].add(label)
    return [
        f"the labels {' and '.join(repr(name) for name in sorted(names))} differ in case or "
        "punctuation alone and stay apart; if they are one, rename the folder, or edit the column "
        "label of manifest.csv"
        for names in similar.values()
        if len(names) > 1
    ]
