"""Store of features on disk, in parts next to the decoded clips; reads clips for training."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.clip import BoolArray, Samples
from data_prep.dataset.clip_store import (
    CLIP_SCHEMA,
    ClipOutcome,
    PartWriter,
    chunk_row,
    part_numbers,
    part_path,
    read_outcomes,
    read_rows,
    remove_temporary,
    samples_of,
)
from data_prep.settings import RESULT_LIMITS, LimitSettings
from data_prep.status import TRIED_AGAIN
from models.settings import spectrogram_feature_dim
from pipeline.errors import UserError
from pipeline.features.batch_encoder import Float16Array
from pipeline.features.encoded_clip import EncodedChunk, EncodedItem
from pipeline.storage.workspace import PrepRecord, Workspace

FEATURE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("chunk", pa.int32()),
        ("features", pa.list_(pa.float16())),
        ("mirrored", pa.list_(pa.float16())),  # empty unless prepared, as is "sound"
        ("sound", pa.list_(pa.float16())),
    ]
)

DAMAGED_PART = (
    pa.ArrowInvalid, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError,
)  # fmt: skip
"""Errors from reading a truncated or foreign part."""


@dataclass(frozen=True)
class StoredClip:
    """A whole prepared clip.

    features              float16 [T, D]
    waveform              float32 [S] in ±1
    video_mask            bool [T]
    audio_mask            bool [T]
    jpegs                 one file per step; empty unless requested
    mirrored              float16 [T, D], features of the mirrored frames; None if not prepared
    spectrogram_features  float16 [T · windows per step, D]; None if not prepared
    """

    id: str
    features: Float16Array
    waveform: Samples
    video_mask: BoolArray
    audio_mask: BoolArray
    jpegs: tuple[bytes, ...] = ()
    mirrored: Float16Array | None = None
    spectrogram_features: Float16Array | None = None


@dataclass(frozen=True)
class StoredRecording:
    """Decoded data of a clip, without features.

    jpegs: a frame for each step with a picture; times_s: of these frames, from the clip's time
    zero; waveform: float32 [S] in ±1.
    """

    id: str
    jpegs: tuple[bytes, ...]
    times_s: tuple[float, ...]
    waveform: Samples


@dataclass(frozen=True)
class FeatureStore:
    """The two folders with the parts of one set of settings: decoded clips, and features."""

    clips: Path
    features: Path
    n_features: int  # dimension of a frame's features
    n_spectrogram_features: int  # dimension of an audio window's features

    def finished(self, limits: LimitSettings | None = None) -> dict[str, ClipOutcome]:
        """Outcomes of the clips that need no further work. Raises one of DAMAGED_PART.

        limits: if given, clips that were cut or refused under other limits are left out.
        """
        outcomes: dict[str, ClipOutcome] = {}
        for number in self._complete_parts():
            # a later part replaces an earlier outcome of the same clip
            outcomes |= read_outcomes(part_path(self.clips, number))
        return {
            clip_id: outcome
            for clip_id, outcome in outcomes.items()
            if outcome.status not in TRIED_AGAIN and _within(outcome, limits)
        }

    def next_part(self) -> int:
        """Number of the next part to write."""
        return max(self._complete_parts(), default=-1) + 1

    def clean(self) -> None:
        """Remove unfinished files, halves of a pair, and parts that cannot be read."""
        # decoded clips without features, or the reverse, are half a part
        complete = {number for number in self._complete_parts() if self._readable(number)}
        for folder in (self.clips, self.features):
            remove_temporary(folder)
            for number in part_numbers(folder):
                if number not in complete:
                    part_path(folder, number).unlink()

    def write_part(
        self, number: int, items: Iterator[EncodedItem], n_clips: int
    ) -> Iterator[EncodedItem]:
        """Write the items of the next n_clips clips as part `number`; yield each once written."""
        features = PartWriter(part_path(self.features, number), FEATURE_SCHEMA)
        stored = PartWriter(part_path(self.clips, number), CLIP_SCHEMA)
        outcomes: dict[str, ClipOutcome] = {}
        try:
            while len(outcomes) < n_clips:
                source, item = next(items)
                if isinstance(item, EncodedChunk):
                    stored.write_row(chunk_row(source.id, item))
                    features.write_row(
                        {
                            "id": source.id,
                            "chunk": item.index,
                            "features": item.features.reshape(-1),
                            "mirrored": _flat(item.mirrored),
                            "sound": _flat(item.spectrogram_features),
                        }
                    )
                else:
                    outcomes[source.id] = item
                yield source, item
            features.finish(outcomes)
            stored.finish(outcomes)  # last: a part counts only if both files exist
        finally:
            features.abandon()  # no-op for a finished part
            stored.abandon()

    def read(
        self, ids: Container[str], jpegs: bool = False, features_alone: bool = False
    ) -> Iterator[StoredClip]:
        """Read the stored clips among `ids`, each as a whole.

        jpegs: with the frames. features_alone: without waveforms and features of mirrored frames.
        """
        # these two take longer to read than everything else
        columns = ["id", "chunk", "has_picture", "has_sound"]
        columns += [] if features_alone else ["waveform", "waveform_scale"]
        for number, in_part in self._ids_by_part(ids):
            rows = read_rows(
                part_path(self.clips, number), [*columns, "frames"] if jpegs else columns, in_part
            )
            left_out = "mirrored" if features_alone else ""
            features = [name for name in FEATURE_SCHEMA.names if name != left_out]
            vectors = read_rows(part_path(self.features, number), features, in_part)
            pieces: list[StoredClip] = []
            for row, vector in zip(rows, vectors, strict=True):
                if (row["id"], row["chunk"]) != (vector["id"], vector["chunk"]):
                    raise ValueError(f"part {number}: clips and features do not belong together")
                # chunks of a clip are consecutive
                if pieces and pieces[0].id != row["id"]:
                    yield _joined(pieces)
                    pieces = []
                pieces.append(
                    StoredClip(
                        row["id"],
                        vector["features"].reshape(-1, self.n_features),
                        np.zeros(0, np.float32) if features_alone else samples_of(row),
                        row["has_picture"],
                        row["has_sound"],
                        tuple(row.get("frames", ())),
                        _optional(vector, "mirrored", self.n_features),
                        _optional(vector, "sound", self.n_spectrogram_features),
                    )
                )
            if pieces:
                yield _joined(pieces)

    def recordings(self, ids: Container[str]) -> Iterator[StoredRecording]:
        """Read frames and sound of the stored clips among `ids`, without features."""
        for number, in_part in self._ids_by_part(ids):
            rows = read_rows(
                part_path(self.clips, number),
                ["id", "frames", "frame_times_s", "has_picture", "waveform", "waveform_scale"],
                in_part,
            )
            for clip_id, chunks in groupby(rows, key=itemgetter("id")):
                yield _recording(clip_id, list(chunks))

    def _ids_by_part(self, ids: Container[str]) -> list[tuple[int, set[str]]]:
        """(part, its stored clips among `ids`) for the complete parts that have some, in order."""
        found: dict[int, set[str]] = {}
        for clip_id, part in self._part_of_clip().items():
            if clip_id in ids:
                found.setdefault(part, set()).add(clip_id)
        return [(number, found[number]) for number in self._complete_parts() if number in found]

    def _part_of_clip(self) -> dict[str, int]:
        """{clip id: its part}, for usable clips; the last part if a clip was prepared again."""
        return {
            clip_id: number
            for number in self._complete_parts()
            for clip_id, outcome in read_outcomes(part_path(self.clips, number)).items()
            if outcome.status.usable  # failed clips may have chunks from before the failure
        }

    def _readable(self, number: int) -> bool:
        try:
            read_outcomes(part_path(self.features, number))
            read_outcomes(part_path(self.clips, number))
        except DAMAGED_PART:
            return False
        return True

    def _complete_parts(self) -> list[int]:
        return sorted(set(part_numbers(self.clips)) & set(part_numbers(self.features)))


def open_store(space: Workspace, record: PrepRecord) -> FeatureStore:
    """The store of a work folder for the settings of its record."""
    return FeatureStore(
        space.clips(record.clip), space.features(record), record.frame_features,
        spectrogram_feature_dim(record.encoder.n_features),
    )  # fmt: skip


def _recording(clip_id: str, chunks: list[dict[str, Any]]) -> StoredRecording:
    pictured = [
        (jpeg, float(time_s))
        for chunk in chunks
        for jpeg, time_s, has_picture in zip(
            chunk["frames"], chunk["frame_times_s"], chunk["has_picture"], strict=True
        )
        if has_picture
    ]
    return StoredRecording(
        clip_id,
        tuple(jpeg for jpeg, _ in pictured),
        tuple(time_s for _, time_s in pictured),
        np.concatenate([samples_of(chunk) for chunk in chunks]),
    )


def finished_clips(store: FeatureStore, work: Path) -> dict[str, ClipOutcome]:
    """Outcomes of the prepared clips of a work folder. Raises UserError if a part is damaged."""
    try:
        return store.finished()
    except DAMAGED_PART as error:
        raise UserError(
            f"a part in {work} is damaged ({error}); run the same `framewave prep` command again "
            "to prepare it again"
        ) from error


def _optional(row: dict[str, Any], column: str, width: int) -> Float16Array | None:
    """Features of an optional column; None if they were not prepared."""
    flat = row.get(column)  # parts of older versions lack the column
    return None if flat is None or not len(flat) else flat.reshape(-1, width)


def _within(outcome: ClipOutcome, limits: LimitSettings | None) -> bool:
    """Whether an outcome is still valid under these limits."""
    if limits is None:
        return True
    # neither cut nor refused: valid unless the clip is now too long
    if outcome.limit is None or outcome.limit[0] not in RESULT_LIMITS:
        return (outcome.duration_s or 0.0) <= limits.longest_s
    name, bound = outcome.limit  # valid if the limit that was reached has not changed
    return bool(bound == (limits.longest_s if name == "max_duration_s" else getattr(limits, name)))


def _joined(pieces: list[StoredClip]) -> StoredClip:
    return replace(
        pieces[0],
        features=np.concatenate([piece.features for piece in pieces]),
        waveform=np.concatenate([piece.waveform for piece in pieces]),
        video_mask=np.concatenate([piece.video_mask for piece in pieces]),
        audio_mask=np.concatenate([piece.audio_mask for piece in pieces]),
        jpegs=tuple(jpeg for piece in pieces for jpeg in piece.jpegs),
        mirrored=_concat_optional([piece.mirrored for piece in pieces]),
        spectrogram_features=_concat_optional([piece.spectrogram_features for piece in pieces]),
    )


def _concat_optional(parts: list[Float16Array | None]) -> Float16Array | None:
    present = [part for part in parts if part is not None]
    # all or none: columns of one part are either prepared or empty
    return np.concatenate(present) if len(present) == len(parts) else None


def _flat(vectors: Float16Array | None) -> Float16Array:
    return np.zeros(0, np.float16) if vectors is None else vectors.reshape(-1)
