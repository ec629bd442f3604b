"""What prep encodes of each clip, and that a work folder stays with what it began with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.manifest import ManifestRow
from data_prep.settings import ClipSettings
from models.settings import ModelSettings
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.reporter import ProgressReporter
from pipeline.storage.workspace import PrepRecord, SoundWindowRecord

_SIDES = frozenset(
    ("left", "right", "leftwards", "rightwards", "clockwise", "counterclockwise", "anticlockwise",
     "links", "rechts", "gauche", "droite", "izquierda", "derecha", "sinistra", "destra")
)  # fmt: skip


# Seconds of one core for a call of the CNN (default encoder; processors differ by so much), and for
# decoding a second of video; a smaller encoder takes less.
_CALL_S, _DECODE_S = (0.006, 0.03), (0.008, 0.04)
_OF_LITE0 = 0.4


@dataclass(frozen=True)
class PrepEstimate:
    """What prep has to do. kinds: what the CNN is called for; hours: of recording."""

    calls: float
    kinds: tuple[str, ...]
    recorded_s: float

    def text(self) -> str:
        """How much the CNN has to do, for people who wonder why prep takes long, or ""."""
        return f"about {self.calls:,.0f} calls of the CNN: {', '.join(self.kinds)}" * bool(
            self.calls
        )

    def minutes(self, encoder: str, n_cores: int) -> tuple[float, float]:
        """From … to, on a processor without a GPU."""
        share = _OF_LITE0 if encoder == "efficientnet_lite0" else 1.0
        low, high = (
            (self.calls * call_s * share + self.recorded_s * decode_s) / n_cores / 60
            for call_s, decode_s in zip(_CALL_S, _DECODE_S, strict=True)
        )
        return low, high


def estimate_work(
    clip: ClipSettings,
    mirrored: bool,
    windows: SoundWindowRecord | None,
    rows: Iterable[ManifestRow],
) -> PrepEstimate:
    """What these settings ask for, of rows that can be used."""
    usable = [row for row in rows if row.status.usable]
    known_s = [row.planned_duration_s or 0.0 for row in usable]
    seen_s = sum(s for s, row in zip(known_s, usable, strict=True) if row.has_video)
    heard_s = sum(s for s, row in zip(known_s, usable, strict=True) if row.has_audio)
    calls, kinds = clip.file_frame_rate_hz * seen_s * (2 if mirrored else 1), []
    if seen_s:
        kinds.append("each frame as it is and mirrored" if mirrored else "each frame once")
    if windows is not None and heard_s:
        hop_s = windows.sound_hop_s or 1 / clip.step_rate_hz
        calls += heard_s * clip.time_expansion / hop_s
        kinds.append("windows of sound")
    return PrepEstimate(calls, tuple(kinds), sum(known_s))


def with_stored_windows(model: ModelSettings, record: PrepRecord) -> ModelSettings:
    """The settings with the windows that a work folder was prepared with."""
    assert record.sound_windows is not None
    return model.model_copy(update=record.sound_windows.model_dump(exclude={"statistics"}))


def windows_to_encode(record: PrepRecord | None, config: Config) -> SoundWindowRecord | None:
    """Which windows of sound are encoded. Raises UserError where others were before."""
    model = config.model
    asked = (
        SoundWindowRecord(
            sound_window_s=model.sound_window_s,
            sound_hop_s=model.sound_hop_s,
            mel_low_hz=model.mel_low_hz,
            mel_high_hz=model.mel_high_hz,
            statistics=True,
        )
        if model.audio_front_end == "pretrained" and model.modalities != "picture"
        else None
    )
    if record is None:
        return asked
    keys = {
        "audio_front_end",
        "sound_window_s",
        "sound_hop_s",
        "mel_low_hz",
        "mel_high_hz",
    } & config.explicit("model").keys()
    if keys and asked is not None and record.sound_windows != asked:
        raise UserError(
            "the work folder was prepared with "
            + ("other windows of sound" if record.sound_windows else "no windows of sound")
            + f" than {', '.join(f'model.{key}' for key in sorted(keys))} asks for; prepare into "
            "another folder with --work"
        )
    return record.sound_windows


def encodes_mirrored(
    record: PrepRecord | None,
    config: Config,
    rows: Iterable[ManifestRow],
    progress: ProgressReporter,
) -> bool:
    """Whether frames are prepared mirrored too. Raises UserError where they were not before."""
    wish = config.train.mirror
    if record is not None:
        if wish == "always" and not record.mirrored:
            raise UserError(
                "train.mirror=always, but this work folder was prepared without mirrored frames; "
                "prepare into another folder with --work"
            )
        return record.mirrored
    if wish != "auto":
        return wish == "always"
    sided = sorted({row.label for row in rows if has_side_word(row.label)})
    if sided:
        progress.note(
            f"the label '{sided[0]}' names a side, so frames are not prepared mirrored "
            "(train.mirror=always does it all the same)"
        )
    return not sided


def has_side_word(label: str) -> bool:
    """Whether a label has left or right, clockwise or the like, as a word of its own."""
    words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower())
    return not _SIDES.isdisjoint(words)


def refuse_other_encoder(record: PrepRecord, new_record: PrepRecord, work: Path) -> None:
    if record.encoder == new_record.encoder:
        return
    raise UserError(
        f"{work} was prepared with {_named(record)}, this would be {_named(new_record)}; "
        "leave classify.precision out, or add "
        f"classify.backend={record.encoder.backend.partition('-')[0]} "
        f"classify.precision={record.encoder.precision}, or prepare into another folder with "
        "--work"
    )


def stored_request(config: Config) -> dict[str, Any]:
    """What shapes a work folder beside clip and model: how tables are read, splits, limits, what
    makes the features, mirrored frames."""
    found = config.changed(("labels", "split", "limits"))
    classify = config.changed(("classify",))
    keys = ("classify.backend", "classify.precision", "classify.frame_batch")
    found |= {key: classify[key] for key in keys if key in classify}
    if config.train.mirror != "auto":
        found["train.mirror"] = config.train.mirror
    return found | ({"device": config.device} if config.device != "auto" else {})


def refuse_other_versions(record: PrepRecord, now: Mapping[str, str], work: Path) -> None:
    """Raise UserError where clips would be prepared by other versions than those that are there:
    features that differ a little would be mixed in one folder."""
    library = record.encoder.backend.partition("-")[0]
    for name in ("framewave", library, "av", "libavcodec", "pillow"):
        then, here = record.environment.get(name), now.get(name)
        if then and here and then != here:
            raise UserError(
                f"{work} was prepared with {name} {then}, here is {here}, and its features may "
                "differ; prepare into another folder with --work, or install "
                + ("the PyAV that it came with" if name == "libavcodec" else f"{name}=={then}")
                + " again"
            )


def _named(record: PrepRecord) -> str:
    e = record.encoder
    return f"{e.name} (weights {e.weights_digest}, {e.backend}, {e.precision})"
