"""audit: a data set → which clips are one recording, wholly or in part, and what that crosses."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data_prep.manifest import ManifestRow, write_manifest
from data_prep.settings import ClipSettings
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.features.feature_store import FeatureStore, finished_clips, open_store
from pipeline.leak_audit.audit_result import (
    AUDIT_FOLDER,
    Audit,
    n_joined,
    proposed_groups,
    with_groups,
    write_audit,
)
from pipeline.leak_audit.clip_fingerprint import (
    ClipFingerprint,
    fingerprints_from_files,
    fingerprints_from_store,
)
from pipeline.leak_audit.content_matches import match_content, plausible_time_matches
from pipeline.leak_audit.findings import Finding, Kind, worst_first
from pipeline.leak_audit.recordings import contents, same_bytes, same_recordings
from pipeline.leak_audit.split_optimism import Matrix, mean_features, split_optimism
from pipeline.prep.scanning import scan_data
from pipeline.reporter import ProgressReporter
from pipeline.storage.locks import LOCK_NAME, exclusive_lock
from pipeline.storage.workspace import Workspace
from pipeline.text_format import counted


def audit(
    data: Path, work: Path, config: Config, progress: ProgressReporter, accept: bool = False
) -> Audit:
    """Audit a labelled data set; results in work/audit. Raises UserError and DataSetError.

    accept: write the proposed groups into the manifest.
    """
    with exclusive_lock(work / LOCK_NAME, work):
        everything = scan_data(data, work, config, progress).rows
        rows = [row for row in everything if row.trainable]
        if not rows:
            raise UserError(f"{data} holds no labelled clip that can be read")
        prepared = prepared_in(work)
        if prepared is None:
            progress.note(f"{work} is not prepared; after framewave prep an audit takes less time")
        found = audit_rows(rows, prepared, config, progress)
        write_audit(work / AUDIT_FOLDER, found)
        if accept and n_joined(rows, found.groups):
            write_manifest(Workspace(work).manifest, with_groups(everything, found.groups))
    return found


def audit_rows(
    rows: Sequence[ManifestRow],
    prepared: Prepared | None,
    config: Config,
    progress: ProgressReporter,
) -> Audit:
    """Compare all clips with each other."""
    seen = _fingerprints(rows, prepared, config, progress)
    content = contents(rows)
    with ThreadPoolExecutor(1) as beside:  # decoders are waited for meanwhile
        features = beside.submit(_features, prepared, rows)
        by_content = list(match_content(seen, content, config, progress))
    by_time = plausible_time_matches(same_recordings(rows), seen)
    findings = _strongest([*same_bytes(rows, content), *by_content, *by_time])
    groups = proposed_groups(rows, findings)
    flattered = split_optimism(features.result(), rows, groups)
    return Audit(list(rows), findings, groups, flattered, len(seen), prepared=prepared is not None)


def _features(prepared: Prepared | None, rows: Sequence[ManifestRow]) -> dict[str, Matrix]:
    return {} if prepared is None else mean_features(prepared.store, {row.id for row in rows})


@dataclass(frozen=True)
class Prepared:
    """What a work folder holds of clips, and which."""

    store: FeatureStore
    clip: ClipSettings
    ids: frozenset[str]


def prepared_in(work: Path) -> Prepared | None:
    """What is prepared in a work folder, or None. Raises UserError where it is damaged."""
    space = Workspace(work)
    record = space.read_record()
    if record is None:
        return None
    store = open_store(space, record)
    settled = finished_clips(store, work)
    held = frozenset(key for key, outcome in settled.items() if outcome.status.usable)
    return Prepared(store, record.clip, held)


def _fingerprints(
    rows: Sequence[ManifestRow],
    prepared: Prepared | None,
    config: Config,
    progress: ProgressReporter,
) -> list[ClipFingerprint]:
    progress.start("comparing clips", len(rows))
    seen: list[ClipFingerprint] = []
    held: frozenset[str] = frozenset()
    clip = config.clip.sized() if prepared is None else prepared.clip
    if prepared is not None:
        held = prepared.ids
        kept = [row for row in rows if row.id in held]
        for each in fingerprints_from_store(prepared.store, clip.file_audio_rate_hz, kept):
            seen.append(each)
            progress.advance(1)
    rest = [row for row in rows if row.id not in held]
    if rest:
        progress.note(
            f"not prepared, so decoded for this, which takes longer: {counted(len(rest), 'clip')}"
        )
        seen += fingerprints_from_files(rest, clip, config, progress)
    progress.finish()
    order = {row.id: k for k, row in enumerate(rows)}
    return sorted(seen, key=lambda each: order[each.row.id])


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
