"""Settings of data preparation: clips, annotations, splits and limits.

They are defined here, next to the code that uses them; `pipeline.config` composes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

RAW_FRAME_RATE_HZ = 25.0  # FFmpeg's default for raw video streams without a frame rate
DEFAULT_FRAME_SIZE_PX = 260  # input size of the default CNN, where no CNN is loaded
STEPS_PER_CHUNK = 64  # clips are passed on and stored in chunks of at most this many time steps


def exact_rate(rate_hz: float) -> Fraction:
    """The rate as a fraction, to test exactly whether a step is a whole number of samples."""
    return Fraction(rate_hz).limit_denominator(1000)  # 0.1 becomes 1/10, not its binary float


def samples_per_step(audio_rate_hz: int, frame_rate_hz: float) -> int:
    """Audio samples per time step: audio_rate_hz / frame_rate_hz.

    Raises ValueError, suggesting rates that work, if that is not a whole number.
    """
    quotient = Fraction(audio_rate_hz) / exact_rate(frame_rate_hz)
    if quotient.denominator != 1:
        unit = exact_rate(frame_rate_hz).numerator  # every multiple of it gives whole steps
        near = [
            unit * k
            for k in range(-(-8_000 // unit), 48_000 // unit + 1)  # 8 to 48 kHz
            if _is_smooth(int(Fraction(unit * k) / exact_rate(frame_rate_hz)))
        ]
        best = sorted(near, key=lambda rate: abs(rate - audio_rate_hz))[:3]
        hint = " or ".join(f"clip.audio_rate_hz={rate}" for rate in sorted(best))
        raise ValueError(
            f"clip.audio_rate_hz ({audio_rate_hz}) divided by clip.frame_rate_hz "
            f"({frame_rate_hz:g}) must be a whole number of samples per frame"
            + (f"; try {hint}" if hint else "")
        )
    return int(quotient)


def _is_smooth(n: int) -> bool:
    """Whether n has no prime factor but 2, 3 and 5, so that strides and hops divide it."""
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


_FALLBACK_RATE_HZ = 1.0
_AUTO_RATES_HZ = (1, 2, 4, 5, 8, 10, 20)  # all divide the default sample rate
_MIN_STEPS = 4  # of a clip; with fewer there is hardly a temporal order to learn from


class ClipSettings(BaseModel):
    """Clips: rates, frame size and preprocessing. Stored with the work folder and the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)  # a misspelt key must not be ignored

    frame_rate_hz: Annotated[float, Field(ge=0.05, le=60)] | Literal["auto"] = Field(
        "auto",
        description="Frames (time steps) per second of video; auto: 1, or if half of the clips "
        "would then have fewer than 4 steps, the lowest of 2, 4, 5, 8, 10 and 20 that gives them "
        "4. prep chooses it once, for the work folder and its models.",
    )
    audio_rate_hz: int = Field(
        16_000,
        ge=8_000,
        le=500_000,
        description="Sample rate that the audio is resampled to (mono); half of it is the highest "
        "frequency available to the model.",
    )
    audio_channel: Annotated[int, Field(ge=1, le=512)] | Literal["mix", "loudest"] = Field(
        "mix",
        description="Audio channel: mix (the mean of all channels; a known loudspeaker layout is "
        "mixed down as FFmpeg does), loudest (the channel with the most energy in the clip), or a "
        "channel number, counted from 1.",
    )
    audio_gain_db: float = Field(
        0.0,
        ge=-120,
        le=120,
        description="Gain applied to the audio in decibels (negative: quieter), for 32-bit float "
        "recordings whose level is to be set afterwards.",
    )
    time_expansion: float = Field(
        1.0,
        ge=0.01,
        le=100,
        description="Slow recordings down by this factor, which divides their frequencies: 10 "
        "shifts a bat call at 45 kHz to 4.5 kHz, and one second of the file becomes ten seconds of "
        "time steps. Times in tables remain those of the file.",
    )
    frame_size_px: int | None = Field(
        None,
        ge=32,
        le=1024,
        description="Side of the square frames in pixels; null: the encoder's.",
    )
    frame_fit: Literal["stretch", "letterbox", "crop"] = Field(
        "stretch",
        description="How frames are made square: stretch (changes the aspect ratio), letterbox "
        "(pads with bars), crop (centre crop).",
    )

    frame_tolerance_s: float | None = Field(
        None,
        ge=0,
        le=3600,
        description="Largest deviation of a frame from its target time (the middle of its step) in "
        "seconds; null: half a step, so that every frame comes from its own step; 0: exact. The "
        "cheapest way of decoding that respects it is used.",
    )
    raw_frame_rate_hz: float = Field(
        RAW_FRAME_RATE_HZ,
        gt=0,
        le=1000,
        description="Frame rate assumed for raw streams (H.264, HEVC, MJPEG) that declare none.",
    )
    loop_filter: bool = Field(
        True,
        description="Apply the codec's deblocking filter; false decodes up to a third faster and "
        "changes pixels slightly (H.264: by 0.02 to 2.2 of 255 on average).",
    )
    picture_change: bool = Field(
        False,
        description="Append to the CNN features the change of each of 8 × 8 fields of the frame "
        "since the previous frame.",
    )

    causal: bool = Field(
        False,
        description="A time step knows nothing later than its own end: the frame displayed in its "
        "middle, and sound that ends with it. task=forecast needs it. Decoding can take longer.",
    )

    @model_validator(mode="after")
    def _causal_fits(self) -> Self:
        if self.causal and self.audio_channel == "loudest":
            raise ValueError(
                "clip.audio_channel=loudest knows the whole clip, which clip.causal=true excludes; "
                "give a channel number, or mix"
            )
        if self.causal and self.frame_tolerance_s:
            raise ValueError(
                f"clip.frame_tolerance_s={self.frame_tolerance_s:g} allows frames after the middle "
                "of their step; with clip.causal=true leave it out (it is 0)"
            )
        return self

    @model_validator(mode="after")
    def _rates_divide(self) -> Self:
        samples_per_step(self.audio_rate_hz, self.step_rate_hz)  # raises if it is not whole
        if self.file_audio_rate_hz != self.audio_rate_hz * self.time_expansion:
            raise ValueError(
                f"clip.audio_rate_hz ({self.audio_rate_hz}) times clip.time_expansion "
                f"({self.time_expansion:g}) must be a whole number of samples per second"
            )
        return self

    def sized(self, side_px: int = DEFAULT_FRAME_SIZE_PX) -> Self:
        """A copy with this frame size if none is set."""
        if self.frame_size_px is not None:
            return self
        return self.model_copy(update={"frame_size_px": side_px})

    def with_frame_rate(self, lengths_s: Sequence[float]) -> Self:
        """A copy with the frame rate chosen for clips of these lengths, if it is auto."""
        if self.frame_rate_hz != "auto":
            return self
        return self.model_copy(update={"frame_rate_hz": self.rate_for(lengths_s)})

    def rate_for(self, lengths_s: Sequence[float]) -> float:
        """The lowest candidate rate at which half of the clips have at least 4 steps.

        Candidates divide the sample rate; the highest is returned if none is high enough.
        """
        if not lengths_s:
            return _FALLBACK_RATE_HZ
        # rates are steps per second of expanded time
        median_s = sorted(lengths_s)[len(lengths_s) // 2] * self.time_expansion
        candidates = [rate for rate in _AUTO_RATES_HZ if self.audio_rate_hz % rate == 0]
        return float(next((r for r in candidates if median_s * r >= _MIN_STEPS), candidates[-1]))

    @property
    def step_rate_hz(self) -> float:
        """Time steps per second after time expansion; 1 while frame_rate_hz is still auto."""
        return _FALLBACK_RATE_HZ if self.frame_rate_hz == "auto" else self.frame_rate_hz

    @property
    def samples_per_step(self) -> int:
        return samples_per_step(self.audio_rate_hz, self.step_rate_hz)

    @property
    def file_audio_rate_hz(self) -> int:
        """Samples per second of the file: audio_rate_hz times time_expansion."""
        return round(self.audio_rate_hz * self.time_expansion)  # whole, see _rates_divide

    @property
    def file_frame_rate_hz(self) -> float:
        """Time steps per second of the file."""
        return self.step_rate_hz * self.time_expansion

    @property
    def highest_hz(self) -> float:
        """Highest frequency of the file that is available to the model."""
        return self.file_audio_rate_hz / 2

    @property
    def step_s(self) -> float:
        """Length of a time step in seconds of the file."""
        return float(1 / exact_rate(self.file_frame_rate_hz))

    @property
    def tolerance_s(self) -> float:
        """Largest deviation of a frame from its target time: frame_tolerance_s, or half a step."""
        if self.causal:
            return 0.0  # within a tolerance, later key frames decide which frame is cheapest
        return self.step_s / 2 if self.frame_tolerance_s is None else self.frame_tolerance_s


class LabelSettings(BaseModel):
    """Annotation tables with other column names, paths or encodings than framewave's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str | None = Field(None, description="Column with the label; null: label.")
    path_column: str | None = Field(
        None,
        description="Column with the file; several column names joined by / make one path "
        "(RelativePath/File). null: path.",
    )
    start_column: str | None = Field(
        None, description="Column with the start of a segment; null: start_s if it exists."
    )
    end_column: str | None = Field(
        None, description="Column with the end of a segment; null: end_s if it exists."
    )
    group_column: str | None = Field(
        None, description="Column with the group (camera, person, day); null: group if it exists."
    )
    fold_column: str | None = Field(
        None, description="Column with the fold; null: fold if it exists."
    )
    split_column: str | None = Field(
        None, description="Column with train, val or test; null: split if it exists."
    )
    annotator_column: str | None = Field(
        None,
        description="Column with who labelled a segment in time; null: annotator if it exists.",
    )
    annotator: str | None = Field(
        None,
        description="Whose segments are the labels of files that several people labelled in time; "
        "null: of the one with the most files. The others' are compared with them.",
    )
    folder: str | None = Field(
        None, description="Folder that file paths are relative to; null: the folder of the table."
    )
    encoding: str | None = Field(
        None,
        description="Encoding of the table, such as cp1252; null: UTF-8, or UTF-16 if detected.",
    )


class TaskSettings(BaseModel):
    """What a model predicts, and how labels in time are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "clip_label",
        description="What the model predicts; clip_label: one label for each whole clip; timeline: "
        "one label for each time step, from labelled segments of the files; forecast: the labels "
        "of the next steps; events: the list of what happens. task=timeline is short for "
        "task.name=timeline.",
    )
    background: str = Field(
        "background",
        min_length=1,
        max_length=200,
        description="Class of the steps between the labelled segments of a timeline.",
    )
    unlabelled: Literal["background", "ignore"] = Field(
        "background",
        description="Steps of a timeline that no segment covers: background, or ignore (their "
        "label is unknown: they are neither trained on nor scored).",
    )
    overlap: Literal["error", "first", "last"] = Field(
        "error",
        description="Segments of a timeline that overlap: error, or keep the earlier one (first) "
        "or the later one (last) where they do.",
    )

    form: Literal["sequence_to_sequence", "sequence_to_vector"] = Field(
        "sequence_to_sequence",
        description="Of a forecast: every step of a sequence gives its next labels, with all steps "
        "before it as its past, or the last step of a window of task.history_steps does.",
    )
    history_steps: int = Field(
        30,
        ge=1,
        le=10_000,
        description="Time steps that a forecast with task.form=sequence_to_vector is made from.",
    )
    horizon_steps: int = Field(
        7, ge=1, le=1000, description="Number of next time steps that are forecast."
    )
    target: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Of a forecast: column of the table that names a CSV of numbers for each file, "
        "which are then forecast instead of labels.",
    )

    max_events: int = Field(
        20, ge=1, le=1000, description="Largest number of events in the list of a clip."
    )
    beam_width: int = Field(
        4,
        ge=1,
        le=100,
        description="Lists that the decoder of events follows at the same time; 1: greedy.",
    )

    def changed(self) -> dict[str, Any]:
        """{key: value} of the settings besides the name that are not the default."""
        values = self.model_dump(mode="json", exclude={"name"})
        return {k: v for k, v in values.items() if v != type(self).model_fields[k].default}


class SplitSettings(BaseModel):
    """Split of the clips into training, validation and test."""

    # fold names are text, but 5 in YAML is a number
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    by: Literal["group", "time"] = Field(
        "group",
        description="Unit of the split: group (recordings, cameras, people), or time (blocks of "
        "time within a recording) for few recordings with many segments each; accuracy by time "
        "blocks says nothing about other recordings.",
    )
    gap_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="With split.by=time: segments nearer than this, in seconds, to a validation or "
        "test segment are not used for training.",
    )
    val_fraction: float = Field(
        0.15, ge=0.05, le=0.45, description="Fraction of clips for validation (approximate)."
    )
    test_fraction: float = Field(
        0.2, ge=0.05, le=0.45, description="Fraction of clips for test (approximate)."
    )
    test_fold: str | None = Field(None, description="Fold used for test; null: the last fold.")
    val_fold: str | None = Field(
        None, description="Fold used for validation; null: the last but one."
    )
    infer_groups: bool = Field(
        True,
        description="Without a group column, infer groups from sub-folders or numbered file names.",
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


_DEFAULT_MAX_DURATION_S = 86_400.0


class LimitSettings(BaseModel):
    """Limits that keep a single unusual file from ending the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_duration_s: float | None = Field(
        None,
        gt=0,
        le=3_600_000,
        description="Longer files are truncated to this duration in seconds, and their row says "
        "so; null: 24 hours (86400) in prep, and the limit of the model's training clips in "
        "classify and eval.",
    )
    max_declared_s: float = Field(
        2_678_400,
        gt=0,
        description="Files whose header declares more seconds than this (31 days) are refused.",
    )
    max_picture_px: int = Field(
        8192 * 8192, ge=1024, description="Files with more pixels per frame than this are refused."
    )
    max_decoded_gb: float = Field(
        50_000,
        gt=0,
        description="Files whose frames would take more gigabytes decoded are refused.",
    )
    max_streams: int = Field(64, ge=1, description="Files with more streams than this are refused.")
    max_path_chars: int = Field(
        4096, ge=16, description="Files with a longer path (in characters) are refused."
    )
    max_label_chars: int = Field(
        200, ge=1, description="Files with a longer label (in characters) are refused."
    )
    max_labels: int = Field(
        1000, ge=2, le=100_000, description="Largest number of labels in a data set."
    )
    stall_timeout_s: float = Field(
        120, gt=0, description="Seconds without a heartbeat after which a decoder is killed."
    )
    timeout_s: float = Field(
        300, gt=0, description="Decoding time allowed per file in seconds, whatever its duration."
    )
    timeout_per_s: float = Field(
        20, ge=0, description="Additional seconds of decoding time allowed per second of the file."
    )
    worker_memory_mb: int = Field(
        4096, ge=0, description="Memory limit of a decoding process in MB (Linux); 0: unlimited."
    )

    @property
    def longest_s(self) -> float:
        """max_duration_s, or 24 hours if it is null; for use without a model's own limit."""
        return _DEFAULT_MAX_DURATION_S if self.max_duration_s is None else self.max_duration_s


RESULT_LIMITS = frozenset({"max_duration_s", "max_declared_s", "max_picture_px", "max_decoded_gb",
                           "max_streams", "max_path_chars", "max_label_chars",
                           "worker_memory_mb"})  # fmt: skip
"""Limits that change the result of a file; the others only bound the time spent on it."""


@dataclass(frozen=True)
class DecodeSettings:
    """Settings of a decoding worker: clip, limits, and which outputs are needed."""

    clip: ClipSettings
    limits: LimitSettings
    want_video: bool = True
    want_audio: bool = True
    want_jpegs: bool = False
    """Also return each frame as JPEG."""
    strategy: Literal["auto", "plan", "decord", "every"] = "auto"
    """Force one decoding strategy (where it is applicable), for tests and benchmarks."""
    frames_from_jpegs: bool = False
    """Return the frames after a JPEG round trip, to match those stored for fine-tuning."""
