"""Features on disk beside the clips they came from, and clips read back for training."""

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
        ("mirrored", pa.list_(pa.float16())),
        ("sound", pa.list_(pa.float16())),
    ]
)

DAMAGED_PART = (
    pa.ArrowInvalid, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError,
)  # fmt: skip
"""What reading a truncated or foreign part raises."""


@dataclass(frozen=True)
class StoredClip:
    """A prepared clip, whole.

    features float16 [T, D]; waveform float32 [S] in ±1; video_mask, audio_mask
    bool [T];
    jpegs: one file per step, empty unless asked for; mirrored float16 [T, D]: features of the
    mirrored frames; sound float16 [T · windows per step, D]: features of windows of the sound;
    both None where they were not prepared.
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
    """What was decoded of a clip: its frames as JPEG, one for each pictured step, and their times
    from the clip's time zero; waveform float32 [S] in ±1."""

    id: str
    jpegs: tuple[bytes, ...]
    times_s: tuple[float, ...]
    waveform: Samples


@dataclass(frozen=True)
class FeatureStore:
    """The two folders of parts of one set of settings."""

    clips: Path
    features: Path
    n_features: int
    """Of a frame."""
    n_spectrogram_features: int
    """Of a window of sound."""

    def finished(self, limits: LimitSettings | None = None) -> dict[str, ClipOutcome]:
        """How each clip ended that needs no further work. Raises one of DAMAGED_PART.

        limits: where given, clips that other limits cut or refused are not settled.
        """
        outcomes: dict[str, ClipOutcome] = {}
        for number in self._complete_parts():
            outcomes |= read_outcomes(part_path(self.clips, number))
        return {
            clip_id: outcome
            for clip_id, outcome in outcomes.items()
            if outcome.status not in TRIED_AGAIN and _within(outcome, limits)
        }

    def next_part(self) -> int:
        return max(self._complete_parts(), default=-1) + 1

    def clean(self) -> None:
        """Remove unfinished files, halves of a pair, and parts that cannot be read."""
        complete = {number for number in self._complete_parts() if self._readable(number)}
        for folder in (self.clips, self.features):
            remove_temporary(folder)
            for number in part_numbers(folder):
                if number not in complete:
                    part_path(folder, number).unlink()

    def write_part(
        self, number: int, items: Iterator[EncodedItem], n_clips: int
    ) -> Iterator[EncodedItem]:
        """Write the items of the next clips as part `number`, passing each on as it is written."""
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
            stored.finish(outcomes)  # last: a part counts once both are there
        finally:
            features.abandon()  # leaves a finished part alone
            stored.abandon()

    def read(
        self, ids: Container[str], jpegs: bool = False, features_alone: bool = False
    ) -> Iterator[StoredClip]:
        """The stored clips among `ids`, each whole; features_alone: without the waveform and the
        features of mirrored frames, which take longer to read than all else."""
        columns = ["id", "chunk", "has_picture", "has_sound"]
        columns += [] if features_alone else ["waveform", "waveform_scale"]
        homes = self._homes()
        for number in self._complete_parts():
            usable = {
                clip_id for clip_id, home in homes.items() if home == number and clip_id in ids
            }
            if not usable:
                continue
            rows = read_rows(
                part_path(self.clips, number), [*columns, "frames"] if jpegs else columns, usable
            )
            left_out = "mirrored" if features_alone else ""
            features = [name for name in FEATURE_SCHEMA.names if name != left_out]
            vectors = read_rows(part_path(self.features, number), features, usable)
            pieces: list[StoredClip] = []
            for row, vector in zip(rows, vectors, strict=True):
                if (row["id"], row["chunk"]) != (vector["id"], vector["chunk"]):
                    raise ValueError(f"part {number}: clips and features do not belong together")
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
                        _more(vector, "mirrored", self.n_features),
                        _more(vector, "sound", self.n_spectrogram_features),
                    )
                )
            if pieces:
                yield _joined(pieces)

    def recordings(self, ids: Container[str]) -> Iterator[StoredRecording]:
        """Frames and sound of the stored clips among `ids`, without their features."""
        homes = self._homes()
        for number in self._complete_parts():
            own = {clip_id for clip_id, home in homes.items() if home == number and clip_id in ids}
            if not own:
                continue
            rows = read_rows(
                part_path(self.clips, number),
                ["id", "frames", "frame_times_s", "has_picture", "waveform", "waveform_scale"],
                own,
            )
            for clip_id, chunks in groupby(rows, key=itemgetter("id")):
                yield _recording(clip_id, list(chunks))

    def _homes(self) -> dict[str, int]:
        """The part that holds each usable clip: the last one, where it was prepared again.

        A clip that failed may have left chunks in a part before it did; they are nobody's.
        """
        return {
            clip_id: number
            for number in self._complete_parts()
            for clip_id, outcome in read_outcomes(part_path(self.clips, number)).items()
            if outcome.status.usable
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
    """Where a work folder keeps what was prepared with these settings."""
    return FeatureStore(
        space.clips(record.clip), space.features(record), record.frame_features,
        spectrogram_feature_dim(record.encoder.n_features),
    )  # fmt: skip


def _recording(clip_id: str, chunks: list[dict[str, Any]]) -> StoredRecording:
    pictured = [
        (jpeg, float(time_s))
        for chunk in chunks
        for jpeg, time_s, there in zip(
            chunk["frames"], chunk["frame_times_s"], chunk["has_picture"], strict=True
        )
        if there
    ]
    return StoredRecording(
        clip_id,
        tuple(jpeg for jpeg, _ in pictured),
        tuple(time_s for _, time_s in pictured),
        np.concatenate([samples_of(chunk) for chunk in chunks]),
    )


def finished_clips(store: FeatureStore, work: Path) -> dict[str, ClipOutcome]:
    """How each clip of a work folder ended. Raises UserError where a part is damaged."""
    try:
        return store.finished()
    except DAMAGED_PART as error:
        raise UserError(
            f"a part in {work} is damaged ({error}); run the same `framewave prep` command again, "
            "it makes that part anew"
        ) from error


def _more(row: dict[str, Any], column: str, width: int) -> Float16Array | None:
    """None where they were not prepared: the column is empty, or older parts have none."""
    flat = row.get(column)
    return None if flat is None or not len(flat) else flat.reshape(-1, width)


def _within(outcome: ClipOutcome, limits: LimitSettings | None) -> bool:
    """Whether an outcome still holds under these limits: the one that cut or refused it is as it
    was, and no clip is longer than they allow now."""
    if limits is None:
        return True
    if outcome.limit is None or outcome.limit[0] not in RESULT_LIMITS:
        return (outcome.duration_s or 0.0) <= limits.longest_s
    name, bound = outcome.limit
    return bool(bound == (limits.longest_s if name == "max_duration_s" else getattr(limits, name)))


def _joined(pieces: list[StoredClip]) -> StoredClip:
    return replace(
        pieces[0],
        features=np.concatenate([piece.features for piece in pieces]),
        waveform=np.concatenate([piece.waveform for piece in pieces]),
        video_mask=np.concatenate([piece.video_mask for piece in pieces]),
        audio_mask=np.concatenate([piece.audio_mask for piece in pieces]),
        jpegs=tuple(jpeg for piece in pieces for jpeg in piece.jpegs),
        mirrored=_together([piece.mirrored for piece in pieces]),
        spectrogram_features=_together([piece.spectrogram_features for piece in pieces]),
    )


def _together(parts: list[Float16Array | None]) -> Float16Array | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _flat(vectors: Float16Array | None) -> Float16Array:
    return np.zeros(0, np.float16) if vectors is None else vectors.reshape(-1)
