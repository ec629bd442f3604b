"""Plan of prep: what is encoded of each clip, how long that takes, and checks of a work folder.

A work folder keeps the settings it was first prepared with; others are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.manifest import ManifestRow
from data_prep.settings import ClipSettings
from models.backbones import get_backbone
from models.settings import ModelSettings
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.features.spectrogram_windows import window_length_s
from pipeline.reporter import ProgressReporter
from pipeline.storage.workspace import WINDOW_KEYS, PrepRecord, SoundWindowRecord

_SIDES = frozenset(  # mirroring a frame would contradict such a label
    ("left", "right", "leftwards", "rightwards", "clockwise", "counterclockwise", "anticlockwise",
     "links", "rechts", "gauche", "droite", "izquierda", "derecha", "sinistra", "destra")
)  # fmt: skip


# Core-seconds per call of the CNN (default encoder) and per decoded second of video: (fast, slow)
# processor.
_CALL_S, _DECODE_S = (0.006, 0.03), (0.008, 0.04)


@dataclass(frozen=True)
class PrepEstimate:
    """Estimated work of prep. calls: of the CNN, kinds: what for; recorded_s: of all clips."""

    calls: float
    kinds: tuple[str, ...]
    recorded_s: float

    def text(self) -> str:
        """The work of the CNN in words, which explains the time of prep; "" without any."""
        return f"about {self.calls:,.0f} calls of the CNN: {', '.join(self.kinds)}" * bool(
            self.calls
        )

    def minutes(self, encoder: str, n_cores: int) -> tuple[float, float]:
        """(lowest, highest) estimate in minutes on a CPU."""
        share = get_backbone(encoder).relative_cost
        low, high = (
            (self.calls * call_s * share + self.recorded_s * decode_s) / n_cores / 60
            for call_s, decode_s in zip(_CALL_S, _DECODE_S, strict=True)  # fast processor first
        )
        return low, high


def estimate_work(
    clip: ClipSettings,
    mirrored: bool,
    windows: SoundWindowRecord | None,
    rows: Iterable[ManifestRow],
) -> PrepEstimate:
    """Work of prep for the usable rows.

    mirrored: frames are encoded mirrored too; windows: of sound to encode, or None.
    """
    usable = [row for row in rows if row.status.usable]
    durations_s = [row.planned_duration_s or 0.0 for row in usable]
    video_s = sum(
        duration_s for duration_s, row in zip(durations_s, usable, strict=True) if row.has_video
    )
    audio_s = sum(
        duration_s for duration_s, row in zip(durations_s, usable, strict=True) if row.has_audio
    )
    # each frame once as it is and once mirrored
    calls, kinds = clip.file_frame_rate_hz * video_s * (2 if mirrored else 1), []
    if video_s:
        kinds.append("each frame as it is and mirrored" if mirrored else "each frame once")
    if windows is not None and audio_s:
        hop_s = windows.sound_hop_s or 1 / clip.step_rate_hz  # default: one window per step
        # time expansion slows the sound down, so there is more of it
        calls += audio_s * clip.time_expansion / hop_s
        kinds.append("audio windows")
    return PrepEstimate(calls, tuple(kinds), sum(durations_s))


def with_stored_windows(model: ModelSettings, record: PrepRecord) -> ModelSettings:
    """The settings with the sound windows that a work folder was prepared with."""
    assert record.sound_windows is not None
    # statistics is a fact about the store, not a setting
    return model.model_copy(update=record.sound_windows.model_dump(exclude={"statistics"}))


def windows_to_encode(record: PrepRecord | None, config: Config) -> SoundWindowRecord | None:
    """The sound windows that prep encodes, None for none.

    record: of a prepared work folder, or None. Raises UserError if explicit settings ask for
    other windows than the folder has.
    """
    model = config.model
    requested = (
        SoundWindowRecord(
            sound_window_s=window_length_s(model, config.clip),
            sound_hop_s=model.sound_hop_s,
            mel_low_hz=model.mel_low_hz,
            mel_high_hz=model.mel_high_hz,
            statistics=True,
        )
        # other front ends work on the waveform, which is stored anyway
        if model.audio_front_end == "pretrained" and model.modalities != "picture"
        else None
    )
    if record is None:
        return requested
    explicit_keys = {"audio_front_end", *WINDOW_KEYS} & config.explicit("model").keys()
    if explicit_keys and requested is not None and record.sound_windows != requested:
        raise UserError(
            "the work folder was prepared with "
            + ("other" if record.sound_windows else "no")
            + " audio windows, which contradicts "
            + ", ".join(f"model.{key}" for key in sorted(explicit_keys))
            + "; prepare into another folder with --work"
        )
    return record.sound_windows  # defaults that changed meanwhile do not matter


def encodes_mirrored(
    record: PrepRecord | None,
    config: Config,
    rows: Iterable[ManifestRow],
    progress: ProgressReporter,
) -> bool:
    """Whether frames are prepared mirrored as well.

    Raises UserError if train.mirror=always and the work folder has no mirrored frames.
    """
    setting = config.train.mirror
    if record is not None:
        if setting == "always" and not record.mirrored:
            raise UserError(
                "train.mirror=always, but this work folder was prepared without mirrored frames; "
                "prepare into another folder with --work"
            )
        return record.mirrored
    if setting != "auto":
        return setting == "always"
    sided = sorted({row.label for row in rows if has_side_word(row.label)})
    if sided:
        progress.note(
            f"the label '{sided[0]}' names a side, so frames are not prepared mirrored "
            "(train.mirror=always overrides this)"
        )
    return not sided


def has_side_word(label: str) -> bool:
    """Whether a label contains left, right, clockwise or the like as a separate word."""
    # turnLeft: two words
    words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower())
    return not _SIDES.isdisjoint(words)


def refuse_other_encoder(record: PrepRecord, new_record: PrepRecord, work: Path) -> None:
    """Raise UserError if a work folder was prepared with another frame encoder."""
    if record.encoder == new_record.encoder:
        return
    raise UserError(
        f"{work} was prepared with {_encoder_text(record)}, now it would be "
        f"{_encoder_text(new_record)}; "
        "leave classify.precision out, or add "
        f"classify.backend={record.encoder.backend.partition('-')[0]} "
        f"classify.precision={record.encoder.precision}, or prepare into another folder with "
        "--work"
    )


def stored_request(config: Config) -> dict[str, Any]:
    """{key: value} of changed settings, besides clip and model, that shape a work folder.

    These are labels, splits, limits, the backend of the encoder and mirrored frames.
    """
    settings = config.changed(("labels", "split", "limits"))
    classify = config.changed(("classify",))
    keys = ("classify.backend", "classify.precision", "classify.frame_batch")
    settings |= {key: classify[key] for key in keys if key in classify}
    settings |= config.changed(("task",))
    if config.train.mirror != "auto":
        settings["train.mirror"] = config.train.mirror
    return settings | ({"device": config.device} if config.device != "auto" else {})


def refuse_other_versions(record: PrepRecord, now: Mapping[str, str], work: Path) -> None:
    """Raise UserError if a work folder was prepared with other versions of the libraries.

    Otherwise one folder would mix features that differ slightly.
    """
    library = record.encoder.backend.partition("-")[0]  # the library that computes the features
    for name in ("framewave", library, "av", "libavcodec", "pillow"):
        old, new = record.environment.get(name), now.get(name)
        if old and new and old != new:  # unknown on either side: no proof of a difference
            raise UserError(
                f"{work} was prepared with {name} {old}, but {new} is installed, so features may "
                "differ; prepare into another folder with --work, or install "
                # libavcodec cannot be installed on its own
                + ("the PyAV that it came with" if name == "libavcodec" else f"{name}=={old}")
                + " again"
            )


def _encoder_text(record: PrepRecord) -> str:
    encoder = record.encoder
    return (
        f"{encoder.name} (weights {encoder.weights_digest}, {encoder.backend}, {encoder.precision})"
    )
