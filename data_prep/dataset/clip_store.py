"""Clips on disk: parquet parts of chunks, each part whole or not there at all.

A part's schema metadata says which clips it settles, those that failed included, so that a run
which was killed goes on with exactly the clips that are not settled.
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

_ENCODINGS = {"waveform.list.element": "DELTA_BINARY_PACKED"}
"""A quarter smaller than plain, and neither slower to write nor to read."""


@dataclass(frozen=True)
class ClipOutcome:
    """How preparing one clip ended."""

    status: Status
    reason: str
    duration_s: float | None = None
    n_steps: int = 0
    has_video: bool = False
    has_audio: bool = False
    decode_strategy: str = ""
    """How its frames were read, see `frame_source`; not stored."""
    limit: Limit | None = None
    """The limit that cut or refused it."""


def with_outcome(row: ManifestRow, outcome: ClipOutcome | None) -> ManifestRow:
    """The row with how decoding really ended; the probe had only looked at the beginning."""
    if outcome is None:
        return row
    row = replace(row, status=outcome.status, error=outcome.reason)
    if outcome.status.usable:
        row = replace(row, has_video=outcome.has_video, has_audio=outcome.has_audio)
        if row.end_s is None and row.start_s is None:
            row = replace(row, duration_s=outcome.duration_s)
    return row


_BEFORE: dict[str, object] = {
    "picture_change": False, "audio_channel": "mix", "audio_gain_db": 0.0, "time_expansion": 1.0,
    "raw_frame_rate_hz": RAW_FRAME_RATE_HZ,
}  # fmt: skip


def clip_spec(clip: ClipSettings) -> str:
    """Short hash of the clip settings: the name of the folder of clips made with them.

    A setting that did not exist yet is left out at the value that things had before it, so that
    older folders are found.
    """
    settings = clip.model_dump()
    for key, before in _BEFORE.items():
        if settings[key] == before:
            del settings[key]
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


class PartWriter:
    """Writes one part to a temporary file; `finish` renames it into place."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._schema = schema
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            self._temporary,
            schema,
            use_dictionary=False,  # hardly any value comes twice
            write_statistics=False,
            write_page_checksum=True,
            column_encoding=_ENCODINGS if "waveform" in schema.names else None,
        )

    def write_row(self, row: dict[str, Any]) -> None:
        """One row is one row group, so that a clip can be read without its neighbours."""
        columns = {name: [row[name]] for name in self._schema.names}
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def finish(self, outcomes: dict[str, ClipOutcome]) -> None:
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
            os.fsync(file.fileno())
        self._temporary.replace(self._path)

    def abandon(self) -> None:
        """Remove what is not finished; a finished part stays."""
        if self._temporary.exists():
            self._temporary.unlink()
            with suppress(OSError):  # closing writes the end of a file nobody will read
                self._writer.close()


def remove_temporary(folder: Path) -> None:
    """Remove what a killed run left unfinished."""
    for leftover in folder.glob(".part-*.tmp"):
        leftover.unlink(missing_ok=True)


def part_numbers(folder: Path) -> list[int]:
    stems = (path.stem.removeprefix("part-") for path in folder.glob("part-*.parquet"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def read_outcomes(path: Path) -> dict[str, ClipOutcome]:
    """Which clips a part settles, and how."""
    metadata = pq.ParquetFile(path).metadata.metadata or {}
    record = json.loads(metadata[_OUTCOMES])
    return {clip_id: _outcome(values) for clip_id, values in record.items()}


_LIMIT_IN_WORDS = re.compile(r"limits\.(\w+)=([\d.e+-]+)")


def _outcome(values: dict[str, Any]) -> ClipOutcome:
    limit = values.get("limit")
    if "limit" not in values:  # parts of before had it in the reason alone, to six digits
        said = _LIMIT_IN_WORDS.search(values["reason"])
        limit = None if said is None else (said[1], float(said[2]))
    return ClipOutcome(
        **{**values, "status": Status(values["status"]), "limit": limit and tuple(limit)}
    )


class StorableChunk(Protocol):
    """What of a chunk is stored; see ClipChunk."""

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
    """A chunk as a row of CLIP_SCHEMA. The chunk must carry its JPEGs."""
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
    """A row of CLIP_SCHEMA as a chunk, its frames decoded from JPEG."""
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
    """What a unit of the row's waveform is worth; parts of before had full scale alone."""
    return float(row.get("waveform_scale", PCM16_SCALE))


def samples_of(row: dict[str, Any]) -> Samples:
    """The row's waveform, float32 [S]."""
    return dequantize(np.asarray(row["waveform"], np.int16), scale_of(row))


def read_rows(
    path: Path, columns: list[str] | None = None, ids: Container[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of a part one by one; list columns of numbers come as arrays. Raises DataSetError.

    ids: of the clips that are wanted; the data of others is not read.
    """
    try:
        yield from _rows(path, columns, ids)
    except (pa.ArrowException, OSError) as error:
        raise DataSetError(
            f"{path} is damaged ({error}); delete this file and run the same `framewave prep` "
            "command again, it makes its clips anew"
        ) from error


def _rows(
    path: Path, columns: list[str] | None, ids: Container[str] | None
) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        groups = list(range(file.num_row_groups))
        if ids is not None:  # each row is a group of its own
            named = file.read(columns=["id"], use_threads=False).column("id").to_pylist()
            groups = [k for k, clip_id in enumerate(named) if clip_id in ids]
        if not groups:
            return
        # a row is too little to share out among threads
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
    values = column.flatten()
    if pa.types.is_binary(values.type):
        return values.to_pylist()
    return values.to_numpy(zero_copy_only=False)
