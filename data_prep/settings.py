"""Settings of data preparation: what a clip is, how files are split, what is refused.

They are typed here, beside the code that uses them; `pipeline.config` composes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

RAW_FRAME_RATE_HZ = 25.0
"""Of bare streams of pictures that state none, as FFmpeg takes them."""

DEFAULT_FRAME_SIZE_PX = 260
"""Side of the frames that the default CNN is fed, for where no CNN is loaded."""

STEPS_PER_CHUNK = 64
"""A clip travels and is stored in chunks of at most this many time steps."""


def exact_rate(rate_hz: float) -> Fraction:
    """The rate as a fraction, so that a step's length in samples can be tested for being whole."""
    return Fraction(rate_hz).limit_denominator(1000)


def samples_per_step(audio_rate_hz: int, frame_rate_hz: float) -> int:
    """Audio samples in one time step: audio_rate_hz / frame_rate_hz.

    Raises ValueError where that is no whole number, naming rates that work.
    """
    quotient = Fraction(audio_rate_hz) / exact_rate(frame_rate_hz)
    if quotient.denominator != 1:
        unit = exact_rate(frame_rate_hz).numerator  # audio rates that are multiples of it divide
        near = [
            unit * k
            for k in range(-(-8_000 // unit), 48_000 // unit + 1)
            if _splits_well(int(Fraction(unit * k) / exact_rate(frame_rate_hz)))
        ]
        best = sorted(near, key=lambda rate: abs(rate - audio_rate_hz))[:3]
        hint = " or ".join(f"clip.audio_rate_hz={rate}" for rate in sorted(best))
        raise ValueError(
            f"clip.audio_rate_hz ({audio_rate_hz}) divided by clip.frame_rate_hz "
            f"({frame_rate_hz:g}) must be a whole number of samples per frame"
            + (f"; try {hint}" if hint else "")
        )
    return int(quotient)


def _splits_well(n: int) -> bool:
    """Whether n is made of 2, 3 and 5 alone, so that strides and hops divide it."""
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


_USUAL_RATE_HZ = 1.0
_AUTO_RATES_HZ = (1, 2, 4, 5, 8, 10, 20)
_ENOUGH_STEPS = 4  # of a clip; with fewer there is hardly an order to learn from


class ClipSettings(BaseModel):
    """What a clip is: rates, picture size and fit. Stored with the work folder and the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame_rate_hz: Annotated[float, Field(ge=0.05, le=60)] | Literal["auto"] = Field(
        "auto",
        description="Frames (time steps) taken per second of video; auto: 1, and where half of the "
        "clips are too short for 4 steps then, the lowest of 2, 4, 5, 8, 10 and 20 that gives them "
        "as many. prep chooses it once, for the work folder and its models.",
    )
    audio_rate_hz: int = Field(
        16_000,
        ge=8_000,
        le=500_000,
        description="Sample rate the sound is converted to (mono); half of it is the highest "
        "frequency that the model can hear.",
    )
    audio_channel: Annotated[int, Field(ge=1, le=512)] | Literal["mix", "loudest"] = Field(
        "mix",
        description="Which channel is heard: mix (the mean of all; loudspeakers that the file "
        "names are mixed as FFmpeg does), loudest (the one with the most energy in the clip), or "
        "its number, counted from 1.",
    )
    audio_gain_db: float = Field(
        0.0,
        ge=-120,
        le=120,
        description="Makes the sound louder (or, below 0, quieter) by so many decibels, for "
        "32-bit float recordings whose level was left for later.",
    )
    time_expansion: float = Field(
        1.0,
        ge=0.01,
        le=100,
        description="Slows recordings down by this factor for the model, frequencies with it: 10 "
        "brings a bat's 45 kHz down to 4.5 kHz, and a second is ten time steps of a second. Times "
        "in tables stay those of the file.",
    )
    frame_size_px: int | None = Field(
        None, ge=32, le=1024, description="Side of the square frames; null: the encoder's own size."
    )
    frame_fit: Literal["stretch", "letterbox", "crop"] = Field(
        "stretch",
        description="How a picture becomes square: stretch (all of it, distorted), "
        "letterbox (all of it, bars), crop (its middle).",
    )

    frame_tolerance_s: float | None = Field(
        None,
        ge=0,
        le=3600,
        description="How far a frame may lie from its wanted time (the middle of its step), in "
        "seconds; null: half a step, so that every frame comes from its own step; 0: exact. The "
        "cheapest way that keeps it is taken.",
    )
    raw_frame_rate_hz: float = Field(
        RAW_FRAME_RATE_HZ,
        gt=0,
        le=1000,
        description="Frames per second of raw streams (H.264, HEVC, MJPEG) that state none.",
    )
    loop_filter: bool = Field(
        True,
        description="Smooth block edges as the codec does; false decodes up to a third faster and "
        "changes pictures a little (H.264: 0.02 to 2.2 of 255 on average).",
    )
    picture_change: bool = Field(
        False,
        description="Beside the CNN's features also give how much each of 8 by 8 fields of the "
        "picture changed since the frame before.",
    )

    @model_validator(mode="after")
    def _rates_divide(self) -> Self:
        samples_per_step(self.audio_rate_hz, self.step_rate_hz)
        if self.file_audio_rate_hz != self.audio_rate_hz * self.time_expansion:
            raise ValueError(
                f"clip.audio_rate_hz ({self.audio_rate_hz}) times clip.time_expansion "
                f"({self.time_expansion:g}) must be a whole number of samples per second"
            )
        return self

    def sized(self, side_px: int = DEFAULT_FRAME_SIZE_PX) -> Self:
        """The same with this picture size where none was asked for."""
        if self.frame_size_px is not None:
            return self
        return self.model_copy(update={"frame_size_px": side_px})

    def with_frame_rate(self, lengths_s: Sequence[float]) -> Self:
        """The same with a frame rate that suits clips of these lengths, where it is auto."""
        if self.frame_rate_hz != "auto":
            return self
        return self.model_copy(update={"frame_rate_hz": self.rate_for(lengths_s)})

    def rate_for(self, lengths_s: Sequence[float]) -> float:
        """The lowest rate at which half of the clips have enough steps, of those that divide the
        sample rate; the highest where none does."""
        if not lengths_s:
            return _USUAL_RATE_HZ
        middle_s = sorted(lengths_s)[len(lengths_s) // 2] * self.time_expansion
        divide = [rate for rate in _AUTO_RATES_HZ if self.audio_rate_hz % rate == 0]
        return float(next((r for r in divide if middle_s * r >= _ENOUGH_STEPS), divide[-1]))

    @property
    def step_rate_hz(self) -> float:
        """frame_rate_hz; where nothing is known of the clips and it is auto, 1."""
        return _USUAL_RATE_HZ if self.frame_rate_hz == "auto" else self.frame_rate_hz

    @property
    def samples_per_step(self) -> int:
        return samples_per_step(self.audio_rate_hz, self.step_rate_hz)

    @property
    def file_audio_rate_hz(self) -> int:
        """Samples taken from a second of the file: audio_rate_hz, more where time is expanded."""
        return round(self.audio_rate_hz * self.time_expansion)

    @property
    def file_frame_rate_hz(self) -> float:
        """Time steps in a second of the file."""
        return self.step_rate_hz * self.time_expansion

    @property
    def highest_hz(self) -> float:
        """The highest frequency of the file that the model can hear."""
        return self.file_audio_rate_hz / 2

    @property
    def step_s(self) -> float:
        """Length of a time step in seconds of the file."""
        return float(1 / exact_rate(self.file_frame_rate_hz))

    @property
    def tolerance_s(self) -> float:
        """The promise in seconds: frame_tolerance_s, or half a step."""
        return self.step_s / 2 if self.frame_tolerance_s is None else self.frame_tolerance_s


class LabelSettings(BaseModel):
    """How a table of labels is read, where it is not as framewave's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str | None = Field(
        None, description="Column with the label; null: the one named label."
    )
    path_column: str | None = Field(
        None,
        description="Column with the file; several, joined by /, make one path "
        "(RelativePath/File); null: the one named path.",
    )
    start_column: str | None = Field(
        None, description="Column with the start of a labelled part; null: start_s, if there."
    )
    end_column: str | None = Field(
        None, description="Column with the end of a labelled part; null: end_s, if there."
    )
    group_column: str | None = Field(
        None, description="Column with the group (camera, person, day); null: group, if there."
    )
    fold_column: str | None = Field(None, description="Column with the fold; null: fold, if there.")
    split_column: str | None = Field(
        None, description="Column with train, val or test; null: split, if there."
    )
    folder: str | None = Field(
        None, description="Folder that the files' names are relative to; null: the table's own."
    )
    encoding: str | None = Field(
        None, description="Encoding of the table, say cp1252; null: UTF-8, or UTF-16 where it is."
    )


class SplitSettings(BaseModel):
    """How clips are divided into training, validation and test."""

    # Fold names are text, and 5 in YAML is a number.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    by: Literal["group", "time"] = Field(
        "group",
        description="What divides clips: groups (recordings, cameras, people); or, where few "
        "recordings have many labelled parts each, time: blocks of a recording, which says nothing "
        "about other recordings.",
    )
    gap_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="With split.by=time: parts nearer than this to a part that is judged are not "
        "trained on.",
    )
    val_fraction: float = Field(
        0.15, ge=0.05, le=0.45, description="Share of clips for validation (approximate)."
    )
    test_fraction: float = Field(
        0.2, ge=0.05, le=0.45, description="Share of clips for test (approximate)."
    )
    test_fold: str | None = Field(
        None, description="Value of the fold column used as test; null: the last fold."
    )
    val_fold: str | None = Field(
        None, description="Value of the fold column used for validation; null: the last but one."
    )
    infer_groups: bool = Field(
        True, description="Without a group column, propose groups from sub-folders and name series."
    )
    seed: int = Field(0, ge=0, description="Seed of the split.")

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if self.val_fraction + self.test_fraction > 0.7:
            raise ValueError(
                "split.val_fraction and split.test_fraction together may be at most 0.7 "
                f"(now {self.val_fraction + self.test_fraction:g}): training needs the rest"
            )
        if self.test_fold is not None and self.test_fold == self.val_fold:
            raise ValueError("split.test_fold and split.val_fold must name different folds")
        return self


_USUAL_MAX_DURATION_S = 86_400.0


class LimitSettings(BaseModel):
    """Bounds that keep one strange file from costing the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_duration_s: float | None = Field(
        None,
        gt=0,
        le=3_600_000,
        description="A longer file is cut here, and its row says so; null: after 24 hours (86400) "
        "in prep, and where the model's own clips were cut in classify and eval.",
    )
    max_declared_s: float = Field(
        2_678_400, gt=0, description="Length in a header above which a file is refused (31 days)."
    )
    max_picture_px: int = Field(
        8192 * 8192, ge=1024, description="Width times height above which a file is refused."
    )
    max_decoded_gb: float = Field(
        50_000, gt=0, description="Decoded size of all its pictures above which a file is refused."
    )
    max_streams: int = Field(64, ge=1, description="Streams above which a file is refused.")
    max_path_chars: int = Field(
        4096, ge=16, description="Characters of a path above which a file is refused."
    )
    max_label_chars: int = Field(
        200, ge=1, description="Characters of a label above which its files are refused."
    )
    max_labels: int = Field(1000, ge=2, le=100_000, description="Most labels a data set may have.")
    stall_timeout_s: float = Field(
        120, gt=0, description="Longest wait for a sign of life from a file's decoder."
    )
    timeout_s: float = Field(300, gt=0, description="Time a file may take, whatever its length.")
    timeout_per_s: float = Field(
        20, ge=0, description="Time a file may take on top of that for each of its seconds."
    )
    worker_memory_mb: int = Field(
        4096, ge=0, description="Memory one decoding process may use (on Linux); 0: unlimited."
    )

    @property
    def longest_s(self) -> float:
        """Where clips are cut that no model has been trained on clips like."""
        return _USUAL_MAX_DURATION_S if self.max_duration_s is None else self.max_duration_s


RESULT_LIMITS = frozenset({"max_duration_s", "max_declared_s", "max_picture_px", "max_decoded_gb",
                           "max_streams", "max_path_chars", "max_label_chars",
                           "worker_memory_mb"})  # fmt: skip
"""Limits that decide what a row says; the others only how long and with what means it is tried."""


@dataclass(frozen=True)
class DecodeSettings:
    """What a decoding worker is told: the clip, the bounds, and which parts are wanted."""

    clip: ClipSettings
    limits: LimitSettings
    want_video: bool = True
    want_audio: bool = True
    want_jpegs: bool = False
    """Also give each frame as JPEG."""
    strategy: Literal["auto", "plan", "decord", "every"] = "auto"
    """Force one way of reading frames (where it can be used at all), for tests and benchmarks."""
    frames_from_jpegs: bool = False
    """Give the frames as they come back from JPEG: what fine-tuning on stored frames saw."""
