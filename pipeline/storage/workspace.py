"""The work folder: paths of each stage's files, and the settings they were made with."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from data_prep.dataset.clip_store import clip_spec
from data_prep.files import write_text_atomically
from data_prep.manifest import MANIFEST_NAME
from data_prep.settings import ClipSettings, TaskSettings
from data_prep.video.frame_difference import N_FIELDS
from pipeline.config import Config
from pipeline.errors import UserError

_PREP_NAME = "prep.json"


class EncoderIdentity(BaseModel):
    """Identity of the encoder that computed a set of features, so that they are not mixed up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # both become part of a file name: the patterns exclude path separators in foreign models
    name: str = Field(pattern=r"^\w[\w.-]{0,99}$")
    weights_digest: str = Field(pattern=r"^[0-9a-f]{0,64}$")
    n_features: int = Field(ge=1, le=1_000_000)
    backend: str
    precision: str


def frame_features(encoder: EncoderIdentity, clip: ClipSettings) -> int:
    """Features per frame: those of the CNN, and with picture_change those of the change."""
    return encoder.n_features + (N_FIELDS if clip.picture_change else 0)


class SoundWindowRecord(BaseModel):
    """Length, hop and frequency range of the audio windows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sound_window_s: float
    sound_hop_s: float | None
    mel_low_hz: float = 30.0
    mel_high_hz: float | None = None
    statistics: bool = False
    """Whether statistics of the bands are appended to the CNN features."""


class PrepRecord(BaseModel):
    """prep.json: settings of a prepared work folder, written by prep and read by train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    clip: ClipSettings
    encoder: EncoderIdentity
    frame_weights: str | None = None
    mirrored: bool = False
    """Whether horizontally flipped frames were encoded too."""
    sound_windows: SoundWindowRecord | None = None
    """Windows encoded for the pretrained audio front end; None for the other front ends."""
    asked: dict[str, Any] = {}
    """Settings of other groups that the folder depends on, if they are not the default."""
    environment: dict[str, str] = {}
    """Package versions that computed the features; empty in older folders."""
    max_duration_s: float = 3600  # models trained on these clips truncate at the same duration

    @property
    def frame_features(self) -> int:
        return frame_features(self.encoder, self.clip)

    @field_validator("clip", mode="before")
    @classmethod
    def _older_settings(cls, clip: object) -> object:
        return with_older_settings(clip)


def with_older_settings(clip: object) -> object:
    """Clip settings, with the behaviour of versions before frame_tolerance_s: exact frames."""
    if isinstance(clip, dict) and "frame_tolerance_s" not in clip:
        return {**clip, "frame_tolerance_s": 0.0}  # the default, null, means half a step
    return clip


@dataclass(frozen=True)
class Workspace:
    """Paths inside a work folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST_NAME

    def clips(self, clip: ClipSettings) -> Path:
        """Folder of the decoded clips with these settings."""
        return self.root / "clips" / clip_spec(clip)

    def features(self, record: PrepRecord) -> Path:
        """Folder of the features, named by a digest of everything they depend on."""
        identity: dict[str, Any] = record.encoder.model_dump() | {"clip": clip_spec(record.clip)}
        if record.mirrored:  # keys added later are omitted at their old value: folders are found
            identity["mirrored"] = True
        if record.sound_windows is not None:
            windows = record.sound_windows.model_dump()
            if (windows["mel_low_hz"], windows["mel_high_hz"]) == (30.0, None):
                del windows["mel_low_hz"], windows["mel_high_hz"]  # added later
            identity |= windows
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return self.root / "features" / digest[:12]

    def read_record(self) -> PrepRecord | None:
        """The settings this folder was prepared with, or None if it is not prepared.

        Raises UserError if the record is damaged, or was written by a version too old to read.
        """
        path = self.root / _PREP_NAME
        try:
            record = PrepRecord.model_validate_json(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise UserError(f"{path} is damaged; prepare again into a new folder") from error
        if record.sound_windows is not None and not record.sound_windows.statistics:  # too narrow
            raise UserError(
                f"{self.root} was prepared by an older framewave, without statistics of the sound "
                "bands; prepare again into a new folder"
            )
        return record

    def write_record(self, record: PrepRecord) -> None:
        write_text_atomically(self.root / _PREP_NAME, record.model_dump_json(indent=1) + "\n")

    def prepared(self) -> PrepRecord:
        """The settings of this folder. Raises UserError if it is not prepared."""
        if not self.root.is_dir():
            raise UserError(
                f"the work folder {self.root} does not exist; run "
                f"`framewave prep DATA --work {self.root}` first"
            )
        record = self.read_record()
        if record is None:
            raise UserError(
                f"{self.root} is not prepared; run `framewave prep DATA --work {self.root}` first"
            )
        return record


WINDOW_KEYS = ("sound_window_s", "sound_hop_s", "mel_low_hz", "mel_high_hz")
"""Settings of the model that prep encodes the sound windows with."""


def _uses_windows(config: Config) -> bool:
    """Whether a model trained with these settings takes the features of sound windows."""
    model = config.model
    return (
        model.audio_front_end == "pretrained"
        and model.modalities != "picture"
        and not model.trainable_blocks
    )


def refuse_other_settings(
    record: PrepRecord, config: Config, work: Path, encoder_size_px: int | None = None
) -> None:
    """Raise UserError if the user requests other clip settings or another encoder.

    Only explicitly set keys count. encoder_size_px: the value of clip.frame_size_px=null.
    """
    requested: dict[str, Any] = {f"clip.{k}": v for k, v in config.explicit("clip").items()}
    have: dict[str, Any] = {f"clip.{k}": v for k, v in record.clip.model_dump().items()}
    if requested.get("clip.frame_size_px", 0) is None:  # explicitly null
        requested["clip.frame_size_px"] = encoder_size_px or have["clip.frame_size_px"]
    model = config.explicit("model")
    if "frame_encoder" in model:
        requested["model.frame_encoder"], have["model.frame_encoder"] = (
            model["frame_encoder"], record.encoder.name,
        )  # fmt: skip
    if model.get("frame_weights") not in (None, "random"):
        model["frame_weights"] = str(Path(model["frame_weights"]).absolute())  # as prep records it
    if "frame_weights" in model:
        requested["model.frame_weights"], have["model.frame_weights"] = (
            model["frame_weights"], record.frame_weights,
        )  # fmt: skip
    if record.sound_windows is not None and _uses_windows(config):
        for key in WINDOW_KEYS:
            if model.get(key) is not None:
                requested[f"model.{key}"] = model[key]
                have[f"model.{key}"] = getattr(record.sound_windows, key)
    for key, value in requested.items():
        if have[key] != value:
            raise UserError(
                f"{key}={value} contradicts {work}, which was prepared with {key}={have[key]}; "
                "leave the key out, or prepare into another folder with --work"
            )


def prepared_task(record: PrepRecord) -> TaskSettings:
    """The task that a folder was prepared for."""
    asked = {
        key.removeprefix("task."): value
        for key, value in record.asked.items()
        if key.startswith("task.")
    }
    return TaskSettings.model_validate(asked)


def with_task(
    config: Config, record: PrepRecord, work: Path, free_keys: Collection[str] = ()
) -> Config:
    """The config with the task that the folder was prepared for. Raises UserError if the user asks
    for another one.

    free_keys: of the task's settings, those that may be others than in prep.
    """
    prepared = prepared_task(record)
    for key, value in config.explicit("task").items():
        have = getattr(prepared, key)
        if key in free_keys:
            prepared = prepared.model_copy(update={key: value})
        elif value != have:
            shown = "task" if key == "name" else f"task.{key}"
            raise UserError(
                f"{work} was prepared for {shown}={have}, not {shown}={value}; prepare into "
                "another folder with --work"
            )
    return config.model_copy(update={"task": prepared})


def refuse_full_disk(folder: Path, needed_bytes: int) -> None:
    """Raise UserError if the disk has less free space than is about to be written."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise UserError(
            f"{folder} has {free / 1e9:.1f} GB free, but this needs about "
            f"{needed_bytes / 1e9:.1f} GB; free some space, or choose another folder with --work"
        )
