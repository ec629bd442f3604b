"""The work folder: where each stage's files lie, and the settings they were made with."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from data_prep.dataset.clip_store import clip_spec
from data_prep.files import write_text_atomically
from data_prep.manifest import MANIFEST_NAME
from data_prep.settings import ClipSettings
from data_prep.video.frame_difference import N_FIELDS
from pipeline.config import Config
from pipeline.errors import UserError

_PREP_NAME = "prep.json"


class EncoderIdentity(BaseModel):
    """What made a set of features: another one cannot be read by mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^\w[\w.-]{0,99}$")
    weights_digest: str = Field(pattern=r"^[0-9a-f]{0,64}$")
    """Name and digest are parts of a file's name: a stranger's must lead nowhere else."""
    n_features: int = Field(ge=1, le=1_000_000)
    backend: str
    precision: str


def frame_features(encoder: EncoderIdentity, clip: ClipSettings) -> int:
    """Width of a frame's vector: the CNN's features, and what is put beside them."""
    return encoder.n_features + (N_FIELDS if clip.picture_change else 0)


class SoundWindowRecord(BaseModel):
    """How windows of the sound were cut, and which frequencies they show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sound_window_s: float
    sound_hop_s: float | None
    mel_low_hz: float = 30.0
    mel_high_hz: float | None = None
    statistics: bool = False
    """Statistics of their bands stand beside the CNN's features."""


class PrepRecord(BaseModel):
    """Settings of a prepared work folder, written by prep and read by train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    clip: ClipSettings
    encoder: EncoderIdentity
    frame_weights: str | None = None
    mirrored: bool = False
    """Each frame was encoded mirrored left to right too."""
    sound_windows: SoundWindowRecord | None = None
    """Windows of the sound were encoded too, for the pretrained audio front end."""
    asked: dict[str, Any] = {}
    """Settings of other groups that shaped the folder, where they are not the default."""
    environment: dict[str, str] = {}
    """Versions that made the features; empty in folders of before."""
    max_duration_s: float = 3600
    """Clips were cut here; models made from them cut there too."""

    @property
    def frame_features(self) -> int:
        return frame_features(self.encoder, self.clip)

    @field_validator("clip", mode="before")
    @classmethod
    def _older_settings(cls, clip: object) -> object:
        return with_older_settings(clip)


def with_older_settings(clip: object) -> object:
    """Clip settings as they were written before there was a promise: frames were exact then."""
    if isinstance(clip, dict) and "frame_tolerance_s" not in clip:
        return {**clip, "frame_tolerance_s": 0.0}
    return clip


@dataclass(frozen=True)
class Workspace:
    """Paths inside a work folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST_NAME

    def clips(self, clip: ClipSettings) -> Path:
        return self.root / "clips" / clip_spec(clip)

    def features(self, record: PrepRecord) -> Path:
        identity: dict[str, Any] = record.encoder.model_dump() | {"clip": clip_spec(record.clip)}
        if record.mirrored:
            identity["mirrored"] = True
        if record.sound_windows is not None:
            windows = record.sound_windows.model_dump()
            if (windows["mel_low_hz"], windows["mel_high_hz"]) == (30.0, None):
                del windows["mel_low_hz"], windows["mel_high_hz"]  # older folders are found
            identity |= windows
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return self.root / "features" / digest[:12]

    def read_record(self) -> PrepRecord | None:
        """The settings this folder was prepared with, or None. Raises UserError if damaged."""
        path = self.root / _PREP_NAME
        try:
            record = PrepRecord.model_validate_json(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise UserError(f"{path} is damaged; prepare again into a new folder") from error
        if record.sound_windows is not None and not record.sound_windows.statistics:
            raise UserError(
                f"{self.root} was prepared by an older framewave, which described sound by less; "
                "prepare again into a new folder"
            )
        return record

    def write_record(self, record: PrepRecord) -> None:
        write_text_atomically(self.root / _PREP_NAME, record.model_dump_json(indent=1) + "\n")

    def prepared(self) -> PrepRecord:
        """The settings of a prepared folder. Raises UserError if nothing is prepared here."""
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


def refuse_other_settings(
    record: PrepRecord, config: Config, work: Path, encoder_size_px: int | None = None
) -> None:
    """Raise UserError where the user asks for other clip settings or another encoder."""
    asked: dict[str, Any] = {f"clip.{k}": v for k, v in config.explicit("clip").items()}
    have: dict[str, Any] = {f"clip.{k}": v for k, v in record.clip.model_dump().items()}
    if asked.get("clip.frame_size_px", 0) is None:
        asked["clip.frame_size_px"] = encoder_size_px or have["clip.frame_size_px"]
    model = config.explicit("model")
    if "frame_encoder" in model:
        asked["model.frame_encoder"], have["model.frame_encoder"] = (
            model["frame_encoder"], record.encoder.name,
        )  # fmt: skip
    if model.get("frame_weights") not in (None, "random"):
        model["frame_weights"] = str(Path(model["frame_weights"]).absolute())
    if "frame_weights" in model:
        asked["model.frame_weights"], have["model.frame_weights"] = (
            model["frame_weights"], record.frame_weights,
        )  # fmt: skip
    for key, value in asked.items():
        if have[key] != value:
            raise UserError(
                f"{key}={value} contradicts {work}, which was prepared with {key}={have[key]}; "
                "leave the key out, or prepare into another folder with --work"
            )


def refuse_full_disk(folder: Path, needed_bytes: int) -> None:
    """Raise UserError where the disk is too small for what is about to be written."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise UserError(
            f"{folder} has {free / 1e9:.1f} GB free, but this needs about "
            f"{needed_bytes / 1e9:.1f} GB; free some, or choose another folder with --work"
        )
