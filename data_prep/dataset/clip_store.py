"""Storage of decoded clips: Parquet parts with one row per chunk, written atomically.

The schema metadata of a part lists the outcome of its clips, including those that failed, so that a
run that was killed continues with exactly the clips that have no outcome.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.clip import (
    PCM16_SCALE,
    BoolArray,
    ClipChunk,
    FloatArray,
    Int16Array,
    Samples,
    dequantize,
)
from data_prep.manifest import ManifestRow
from data_prep.settings import RAW_FRAME_RATE_HZ, ClipSettings
from data_prep.status import DataSetError, Limit, Status
from data_prep.video.resize import decode_jpeg

_OUTCOMES = b"framewave.outcomes"

CLIP_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("chunk", pa.int32()),
        ("frames", pa.list_(pa.binary())),
        ("frame_times_s", pa.list_(pa.float64())),
        ("waveform", pa.list_(pa.int16())),
        ("waveform_scale", pa.float64()),
        ("has_picture", pa.list_(pa.bool_())),
        ("has_sound", pa.list_(pa.bool_())),
    ]
)

# a quarter smaller than plain encoding, and no slower to write or read
_ENCODINGS = {"waveform.list.element": "DELTA_BINARY_PACKED"}


@dataclass(frozen=True)
class ClipOutcome:
    """Outcome of preparing one clip."""

    status: Status
    reason: str
    duration_s: float | None = None
    n_steps: int = 0
    has_video: bool = False
    has_audio: bool = False
    decode_strategy: str = ""
    """Strategy by which the frames were read; not stored."""
    limit: Limit | None = None
    """The limit that truncated or refused the clip."""


def with_outcome(row: ManifestRow, outcome: ClipOutcome | None) -> ManifestRow:
    """The row with the outcome of decoding, which overrides that of the probe."""
    if outcome is None:
        return row
    row = replace(row, status=outcome.status, error=outcome.reason)
    if outcome.status.usable:  # the probe reads only the beginning of a file
        row = replace(row, has_video=outcome.has_video, has_audio=outcome.has_audio)
        if row.end_s is None and row.start_s is None:  # else it is the segment's duration
            row = replace(row, duration_s=outcome.duration_s)
    return row


# values that folders written before these settings existed were made with
_IMPLIED: dict[str, object] = {
    "picture_change": False, "audio_channel": "mix", "audio_gain_db": 0.0, "time_expansion": 1.0,
    "raw_frame_rate_hz": RAW_FRAME_RATE_HZ, "causal": False,
}  # fmt: skip


def clip_spec(clip: ClipSettings) -> str:
    """Short hash of the clip settings, the name of the folder with clips made with them.

    Settings added later are omitted at the value implied before, so that older folders are found.
    """
    settings = clip.model_dump()
    for key, implied in _IMPLIED.items():
        if settings[key] == implied:
            del settings[key]
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


class PartWriter:
    """Writes one part to a temporary file, which `finish` renames into place."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._schema = schema
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            self._temporary,
            schema,
            use_dictionary=False,  # values hardly ever repeat
            write_statistics=False,
            write_page_checksum=True,  # damage must not be read as a clip: see read_rows
            column_encoding=_ENCODINGS if "waveform" in schema.names else None,
        )

    def write_row(self, row: dict[str, Any]) -> None:
        """Append one row of CLIP_SCHEMA."""
        columns = {name: [row[name]] for name in self._schema.names}
        # one row group per row, so that a clip can be read without the others
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def finish(self, outcomes: dict[str, ClipOutcome]) -> None:
        """Store the outcomes of the part's clips and make the part visible."""
        record = {
            clip_id: {
                "status": str(o.status), "reason": o.reason, "duration_s": o.duration_s,
                "n_steps": o.n_steps, "has_video": o.has_video, "has_audio": o.has_audio,
                "limit": o.limit,
            }
            for clip_id, o in outcomes.items()
        }  # fmt: skip
        self._writer.add_key_value_metadata({_OUTCOMES: json.dumps(record).encode()})
        self._writer.close()
        with self._temporary.open("rb+") as file:
            os.fsync(file.fileno())  # the rename must not reach the disk before the content
        self._temporary.replace(self._path)

    def abandon(self) -> None:
        """Remove the temporary file; no effect after `finish`."""
        if self._temporary.exists():
            self._temporary.unlink()
            with suppress(OSError):  # closing writes a footer, for which the disk may be too full
                self._writer.close()


def remove_temporary(folder: Path) -> None:
    """Remove temporary files of runs that were killed."""
    for leftover in folder.glob(".part-*.tmp"):
        leftover.unlink(missing_ok=True)


def part_numbers(folder: Path) -> list[int]:
    """Numbers of the finished parts, in ascending order."""
    stems = (path.stem.removeprefix("part-") for path in folder.glob("part-*.parquet"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def read_outcomes(path: Path) -> dict[str, ClipOutcome]:
    """Outcomes of a part's clips by clip id."""
    metadata = pq.ParquetFile(path).metadata.metadata or {}
    record = json.loads(metadata[_OUTCOMES])
    return {clip_id: _outcome(values) for clip_id, values in record.items()}


_LIMIT_IN_REASON = re.compile(r"limits\.(\w+)=([\d.e+-]+)")


def _outcome(values: dict[str, Any]) -> ClipOutcome:
    limit = values.get("limit")
    if "limit" not in values:  # older parts have it in the reason alone, to six digits
        match = _LIMIT_IN_REASON.search(values["reason"])
        limit = None if match is None else (match[1], float(match[2]))
    return ClipOutcome(
        **{**values, "status": Status(values["status"]), "limit": limit and tuple(limit)}
    )


class StorableChunk(Protocol):
    """The attributes of a chunk that are stored; see ClipChunk."""

    @property
    def index(self) -> int: ...
    @property
    def frame_times_s(self) -> FloatArray: ...
    @property
    def waveform(self) -> Int16Array: ...
    @property
    def waveform_scale(self) -> float: ...
    @property
    def video_mask(self) -> BoolArray: ...
    @property
    def audio_mask(self) -> BoolArray: ...
    @property
    def jpegs(self) -> tuple[bytes, ...]: ...


def chunk_row(clip_id: str, chunk: StorableChunk) -> dict[str, Any]:
    """A chunk as a row of CLIP_SCHEMA. Raises ValueError if the chunk has no JPEGs."""
    if not chunk.jpegs:
        raise ValueError("a stored chunk needs its frames as JPEGs")
    return {
        "id": clip_id,
        "chunk": chunk.index,
        "frames": list(chunk.jpegs),
        "frame_times_s": chunk.frame_times_s,
        "waveform": chunk.waveform,
        "waveform_scale": chunk.waveform_scale,
        "has_picture": chunk.video_mask,
        "has_sound": chunk.audio_mask,
    }


def row_chunk(row: dict[str, Any], side_px: int) -> ClipChunk:
    """A row of CLIP_SCHEMA as a chunk, with frames [T, 3, side_px, side_px] decoded from JPEG."""
    has_picture = np.asarray(row["has_picture"], np.bool_)
    frames = np.zeros((has_picture.size, 3, side_px, side_px), np.uint8)
    for t in np.flatnonzero(has_picture):
        frames[t] = decode_jpeg(row["frames"][t])
    return ClipChunk(
        index=int(row["chunk"]),
        frames=frames,
        frame_times_s=np.asarray(row["frame_times_s"], np.float64),
        waveform=np.asarray(row["waveform"], np.int16),
        waveform_scale=scale_of(row),
        video_mask=has_picture,
        audio_mask=np.asarray(row["has_sound"], np.bool_),
        jpegs=tuple(row["frames"]),
    )


def scale_of(row: dict[str, Any]) -> float:
    """Amplitude of one unit of the row's waveform, see `quantize`."""
    return float(row.get("waveform_scale", PCM16_SCALE))  # older parts have no such column


def samples_of(row: dict[str, Any]) -> Samples:
    """The row's waveform as float32 [S]; full scale is ±1."""
    return dequantize(np.asarray(row["waveform"], np.int16), scale_of(row))


def read_rows(
    path: Path, columns: list[str] | None = None, ids: Container[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of a part, one by one; list columns of numbers are returned as arrays.

    columns: None for all. ids: clips to read; the data of the others is not read. Raises
    DataSetError if the part is damaged.
    """
    try:
        yield from _rows(path, columns, ids)
    except (pa.ArrowException, OSError) as error:
        raise DataSetError(
            f"{path} is damaged ({error}); delete this file and run the same `framewave prep` "
            "command again to prepare its clips again"
        ) from error


def _rows(
    path: Path, columns: list[str] | None, ids: Container[str] | None
) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        groups = list(range(file.num_row_groups))
        if ids is not None:  # row k is row group k
            row_ids = file.read(columns=["id"], use_threads=False).column("id").to_pylist()
            groups = [k for k, clip_id in enumerate(row_ids) if clip_id in ids]
        if not groups:
            return
        # a single row is too small for threads to pay off
        for batch in file.iter_batches(
            batch_size=1, row_groups=groups, columns=columns, use_threads=False
        ):
            yield {
                name: _value(column) for name, column in zip(batch.schema.names, batch.columns,
                                                             strict=True)
            }  # fmt: skip


def _value(column: pa.Array) -> Any:
    if not pa.types.is_list(column.type):
        return column[0].as_py()
    values = column.flatten()  # the list of the only row
    if pa.types.is_binary(values.type):
        return values.to_pylist()
    return values.to_numpy(zero_copy_only=False)
