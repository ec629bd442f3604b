"""What an audit found, in sentences."""

from __future__ import annotations

from pathlib import Path

from pipeline.auditing.audit import Audit
from pipeline.auditing.findings import Crossing, Finding, Kind
from pipeline.auditing.flattery import Flattery

_WHAT = {
    Kind.SAME_BYTES: "the same file",
    Kind.SAME_SOUND: "the same sound",
    Kind.SAME_PICTURE: "the same picture",
    Kind.SAME_RECORDING: "one recording",
}
_FLATTERS = 0.03


def told(audit: Audit, accepted: bool = False) -> list[str]:
    """The answer first, then what to do."""
    return [
        *leak_sentences(audit),
        *_proposal(audit, accepted),
        *flattery_sentences(audit.flattery),
    ]


def leak_sentences(audit: Audit) -> list[str]:
    """What was found, the worst first; one sentence where nothing was."""
    if not audit.findings:
        return [
            f"{audit.n_compared} clips compared with each other: no two of different groups or "
            "labels are of one recording."
        ]
    sentences = []
    if audit.leaks:
        sentences.append(
            f"{_pairs(audit.leaks)} of one recording stand on both sides of a split or of folds "
            f"({example(audit.leaks)}): scores flatter."
        )
    if audit.conflicts:
        sentences.append(
            f"{_pairs(audit.conflicts)} of one recording have different labels "
            f"({example(audit.conflicts)}): one of the two is wrong, or one label is not enough."
        )
    rest = [f for f in audit.findings if not f.leaks and not f.conflicts]
    if rest:
        sentences.append(
            f"{_pairs(rest)} of one recording are in different groups ({example(rest)}): another "
            "split or other folds could set them apart."
        )
    return sentences


def flattery_sentences(found: Flattery | None) -> list[str]:
    """How far a random split would flatter; nothing where that is not known."""
    if found is None:
        return []
    how = (
        f"logistic regression names {found.random:.1%} rightly in random folds, "
        f"{found.grouped:.1%} in folds that keep the {found.n_groups} groups whole"
    )
    if found.difference > _FLATTERS:
        return [f"A random split would flatter by {found.difference * 100:.0f} points: {how}."]
    return [f"A random split would hardly flatter here: {how}."]


def example(findings: list[Finding]) -> str:
    """One finding, by file names."""
    first = findings[0]
    names = f"{Path(first.first.path).name} and {Path(first.second.path).name}"
    return f"for example {names}: {_WHAT[first.kind]}"


def _pairs(findings: list[Finding]) -> str:
    return "1 pair of clips" if len(findings) == 1 else f"{len(findings)} pairs of clips"


def _proposal(audit: Audit, accepted: bool) -> list[str]:
    together = audit.joined
    if not together:
        return []
    many = f"{sum(map(len, together))} groups become {len(together)}"
    if accepted:
        return [f"Proposed groups were written into manifest.csv: {many}. {_then(audit)}"]
    return [f"Proposed groups are in groups.csv ({many}); --accept writes them into manifest.csv."]


def _then(audit: Audit) -> str:
    by_hand = any(Crossing.FOLDS in f.crossings for f in audit.findings)
    return (
        "Clear the fold column there to have folds drawn anew."
        if by_hand
        else "Clear the split column there to have the split drawn anew."
    )
