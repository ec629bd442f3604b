"""Scanning with decoding processes, and what scanning says about the work ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data_prep.manifest import ManifestRow
from data_prep.probe import MediaInfo
from data_prep.protocol import Failure, ProbeJob
from data_prep.scan import Scan, scan
from data_prep.settings import ClipSettings, samples_per_step
from pipeline.config import Config
from pipeline.decode_pool import DecodePool
from pipeline.reporting import Reporter

UNKNOWN_DURATION_S = 10.0
"""Taken for files that do not say how long they are, for planning only."""


def probe_files(
    paths: Sequence[str], config: Config, report: Reporter
) -> Iterator[MediaInfo | Failure]:
    """What is in each file, in order; a file that kills its decoder costs only its own row."""
    with DecodePool(config.classify.workers, config.limits.chunk_timeout_s) as pool:
        report.start("looking into files", len(paths))
        for _, answer in pool.run(ProbeJob(path) for path in paths):
            assert isinstance(answer, MediaInfo | Failure)
            report.advance()
            yield answer
        report.finish()


def scan_data(data: Path, work: Path, config: Config, report: Reporter) -> Scan:
    """Scan a data set into work/manifest.csv. Raises DataSetError."""
    result = scan(data, work, config.split, lambda paths: probe_files(paths, config, report))
    for note in result.notes:
        report.note(note)
    return result


def estimate_bytes(rows: Iterable[ManifestRow], clip: ClipSettings, max_duration_s: float) -> int:
    """Disk that prep will need, from measured sizes of JPEG frames (about 0.7 byte per pixel)."""
    side_px = clip.frame_size_px or 0
    per_step = 0.7 * side_px**2 + 3000
    per_step += 2 * samples_per_step(clip.audio_rate_hz, clip.frame_rate_hz)
    seconds = sum(
        min(row.planned_duration_s or UNKNOWN_DURATION_S, max_duration_s)
        for row in rows
        if row.trainable
    )
    return int(seconds * clip.frame_rate_hz * per_step)
