"""audit: a data set → which clips are one recording, wholly or in part, and what that crosses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data_prep.dataset.manifest import ManifestRow, write_manifest
from pipeline.auditing.alike import alike_pairs
from pipeline.auditing.findings import Finding, Kind, of_interest, worst_first
from pipeline.auditing.flattery import Matrix, flattery, mean_features
from pipeline.auditing.outcome import AUDIT_FOLDER, Audit, write_audit
from pipeline.auditing.picture_pairs import same_pictures
from pipeline.auditing.proposal import proposed_groups, with_groups
from pipeline.auditing.recordings import disjoint, same_bytes, same_recordings
from pipeline.auditing.seen import Seen, seen_in_files, seen_in_store
from pipeline.auditing.sound_pairs import same_sounds
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.preparing.feature_store import Store, settled_in, store_of
from pipeline.preparing.scanning import scan_data
from pipeline.records.locks import LOCK_NAME, only_one
from pipeline.records.workspace import Workspace
from pipeline.reporting import Reporter

_SURELY_HEARD_S = 1.5


def audit(data: Path, work: Path, config: Config, report: Reporter, accept: bool = False) -> Audit:
    """Audit a labelled data set; results in work/audit. Raises UserError and DataSetError.

    accept: write the proposed groups into the manifest.
    """
    with only_one(work / LOCK_NAME, work):
        everything = scan_data(data, work, config, report).rows
        rows = [row for row in everything if row.trainable]
        if not rows:
            raise UserError(f"{data} holds no labelled clip that can be read")
        prepared = prepared_in(work)
        found = audit_rows(rows, prepared, config, report)
        write_audit(work / AUDIT_FOLDER, found)
        if accept:
            write_manifest(Workspace(work).manifest, with_groups(everything, found.groups))
    return found


def audit_rows(
    rows: Sequence[ManifestRow],
    prepared: Prepared | None,
    config: Config,
    report: Reporter,
) -> Audit:
    """Compare all clips with each other."""
    seen = _first_sight(rows, prepared, config, report)
    twins = list(same_bytes(rows))
    settled = {(twin.first.id, twin.second.id) for twin in twins}
    with ThreadPoolExecutor(1) as beside:  # decoders are waited for meanwhile
        features = beside.submit(_features, prepared, rows)
        by_content = list(_by_content(seen, settled, config, report))
    findings = _strongest([*twins, *by_content, *same_recordings(rows)])
    groups = proposed_groups(rows, findings)
    flattered = flattery(features.result(), rows, groups)
    return Audit(list(rows), findings, groups, flattered, len(seen), prepared=prepared is not None)


def _features(prepared: Prepared | None, rows: Sequence[ManifestRow]) -> dict[str, Matrix]:
    return {} if prepared is None else mean_features(prepared.store, {row.id for row in rows})


@dataclass(frozen=True)
class Prepared:
    """What a work folder holds of clips, and which."""

    store: Store
    audio_rate_hz: int
    ids: frozenset[str]


def prepared_in(work: Path) -> Prepared | None:
    """What is prepared in a work folder, or None. Raises UserError where it is damaged."""
    space = Workspace(work)
    record = space.read_record()
    if record is None:
        return None
    store = store_of(space, record)
    settled = settled_in(store, work)
    held = frozenset(key for key, outcome in settled.items() if outcome.status.usable)
    return Prepared(store, record.clip.audio_rate_hz, held)


def _first_sight(
    rows: Sequence[ManifestRow], prepared: Prepared | None, config: Config, report: Reporter
) -> list[Seen]:
    report.start("comparing clips", len(rows))
    seen: list[Seen] = []
    held: frozenset[str] = frozenset()
    if prepared is not None:
        held = prepared.ids
        kept = [row for row in rows if row.id in held]
        for each in seen_in_store(prepared.store, prepared.audio_rate_hz, kept):
            seen.append(each)
            report.advance(1)
    rest = [row for row in rows if row.id not in held]
    if rest:
        report.note(
            f"{len(rest)} clips are not prepared, so their files are decoded for this, which takes "
            "longer (framewave prep keeps what it decodes)"
        )
        seen += seen_in_files(rest, config, report)
    report.finish()
    order = {row.id: k for k, row in enumerate(rows)}
    return sorted(seen, key=lambda each: order[each.row.id])


def _by_content(
    seen: Sequence[Seen], settled: set[tuple[str, str]], config: Config, report: Reporter
) -> Iterator[Finding]:
    """Pairs of the same sound, then of the same picture where sound has not settled it.

    settled: pairs of ids that are known to be the same.
    """
    rows = [each.row for each in seen]
    prints = [each.sound for each in seen]

    def wanted(first: int, second: int) -> bool:
        a, b = rows[first], rows[second]
        if a.path == b.path and disjoint(a, b):
            return False  # what two moments of one file share is no copy
        return of_interest(a, b) and (a.id, b.id) not in settled

    for same in same_sounds(prints, wanted):
        note = f"{same.heard_s:.1f} s of it"
        yield Finding(
            Kind.SAME_SOUND,
            rows[same.first],
            rows[same.second],
            same.offset_s,
            same.agreement,
            note,
        )

    def unsettled(first: int, second: int) -> bool:
        """Two sounds that were compared tell two recordings apart, and pictures need not."""
        heard = min(prints[first].heard_s, prints[second].heard_s)
        return wanted(first, second) and heard < _SURELY_HEARD_S

    kinds = [(row.label, row.group_or_path, row.split, row.fold) for row in rows]
    pairs = alike_pairs([each.views for each in seen], kinds, unsettled)
    for found in same_pictures(rows, pairs, config, report) if pairs else ():
        yield Finding(
            Kind.SAME_PICTURE, rows[found.first], rows[found.second], found.match.offset_s,
            found.match.score,
        )  # fmt: skip


def _strongest(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for each pair of clips, the surest; those that cross most first."""
    kinds = list(Kind)
    best: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        pair = finding.first.id, finding.second.id
        before = best.get(pair)
        if before is None or kinds.index(finding.kind) < kinds.index(before.kind):
            best[pair] = finding
    return worst_first(list(best.values()))
