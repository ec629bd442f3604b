"""Settings of the network, its temporal models by name, and widths that follow from them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TEMPORAL_MODELS = {
    "gru": "recurrent",
    "lstm": "recurrent",
    "rnn": "recurrent",
    "layer_norm_gru": "recurrent",
    "layer_norm_lstm": "recurrent",
    "dilated": "dilated",
    "mean": "stepwise",
}
"""Name → module of models.temporal whose `build` makes it."""
RANDOM_WEIGHTS = "random"
"""Value of `frame_weights` for random initialisation: no file is read."""


class ModelSettings(BaseModel):
    """The network: which encoders, how wide, which temporal head. Stored with the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modalities: Literal["auto", "both", "picture", "sound"] = Field(
        "auto", description="Input modalities; auto: those that the training clips have."
    )
    frame_encoder: str = Field(
        "efficientnet_lite2",
        description="CNN backbone applied to every frame: efficientnet_lite0, efficientnet_lite2 "
        "or the name of any torchvision classification network.",
    )
    frame_weights: str | None = Field(
        None,
        description="File (.pth or .safetensors) with the CNN's weights; null: the pretrained "
        "weights shipped with the encoder; 'random': random weights, for tests.",
    )
    trainable_blocks: int = Field(
        0, ge=0, le=100, description="Number of last CNN blocks to fine-tune; 0: the CNN is frozen."
    )
    picture_features: int = Field(
        128, ge=4, le=4096, description="Features per time step of the video branch."
    )
    motion: bool = Field(
        False,
        description="Append the absolute change of each frame feature since the previous step.",
    )
    audio_front_end: Literal["pretrained", "log_mel", "waveform"] = Field(
        "pretrained",
        description="Input of the strided Conv1D stack. pretrained: features that the frame "
        "encoder extracts from log-mel spectrograms of windows, and statistics of the bands "
        "(computed by prep, one more CNN call per window). log_mel: log-mel bands. waveform: a "
        "learned filterbank on the samples, initialised to mel bands.",
    )
    sound_window_s: float | None = Field(
        None,
        ge=0.1,
        le=30,
        description="Window length of the pretrained front end in seconds. null: 2, or with "
        "clip.causal=true, where windows end with their hop, the longer of 1 and a time step.",
    )
    sound_hop_s: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Hop between windows in seconds; must divide a time step. null: one step.",
    )
    mel_bins: int = Field(
        64, ge=8, le=256, description="Number of bands of the log_mel and waveform front ends."
    )
    mel_low_hz: float = Field(
        30.0, ge=1, le=250_000, description="Lowest frequency of the bands in Hz, any front end."
    )
    mel_high_hz: float | None = Field(
        None,
        gt=1,
        le=250_000,
        description="Highest frequency of the bands in Hz; null: half of clip.audio_rate_hz.",
    )
    mel_hop_ms: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="Hop between frames of the bands in milliseconds; must divide a time step. "
        "null: the divisor nearest to 10 ms.",
    )
    audio_strides: tuple[int, ...] | None = Field(
        None,
        max_length=32,
        description="Strides of the Conv1D layers; their product must be the number of windows, or "
        "of frames of the bands, per time step. null: factorised automatically.",
    )
    audio_channels: int = Field(64, ge=4, le=1024, description="Channels of the Conv1D layers.")
    audio_features: int = Field(
        64, ge=4, le=4096, description="Features per time step of the audio branch."
    )
    head: str = Field(
        "gru",
        description="Temporal model: recurrent (gru, lstm, rnn with tanh, layer_norm_gru, "
        "layer_norm_lstm), causal dilated convolutions (dilated), or a layer applied to each "
        "step independently (mean).",
    )
    head_units: int = Field(
        128, ge=4, le=4096, description="Units per layer of the temporal model."
    )
    head_layers: int = Field(
        1,
        ge=1,
        le=8,
        description="Layers of the temporal model; in dilated, layer k has dilation 2 ** (k − 1).",
    )
    bidirectional: bool = Field(
        False,
        description="Run recurrent temporal models in both directions, each with half of the "
        "units.",
    )
    refinement_stages: int = Field(
        0,
        ge=0,
        le=10,
        description="Of a timeline: further stages, each of dilated convolutions on the class "
        "probabilities of the one before, which see 63 steps on either side.",
    )
    readout: Literal["auto", "last", "mean", "deviation", "attention"] = Field(
        "auto",
        description="Pooling over time: last step, mean, mean and standard deviation (deviation), "
        "or attention; auto: last, or mean with model.head=mean.",
    )
    dropout: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="Dropout before, between and after the layers of the temporal model.",
    )
    own_answers: bool = Field(
        True,
        description="Add a unimodal head for picture and for sound beside the fused head. Which "
        "heads are averaged is chosen on clips that were not used for training.",
    )
    step_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Dropout of the candidate that each time step adds to the hidden state "
        "(layer_norm_gru and layer_norm_lstm).",
    )

    @model_validator(mode="after")
    def _strides_positive(self) -> Self:
        if self.audio_strides is not None and (
            not self.audio_strides or min(self.audio_strides) < 1
        ):
            raise ValueError("model.audio_strides must be whole numbers of at least 1")
        return self

    @model_validator(mode="after")
    def _band_edges_ascending(self) -> Self:
        if self.mel_high_hz is not None and self.mel_high_hz <= self.mel_low_hz:
            raise ValueError(
                f"model.mel_high_hz={self.mel_high_hz:g} must be above "
                f"model.mel_low_hz={self.mel_low_hz:g}"
            )
        return self

    def band_edges_hz(self, audio_rate_hz: int) -> tuple[float, float]:
        """(lowest, highest) frequency of the bands at a rate.

        Raises ValueError if an edge is above half of the rate.
        """
        half_hz = float(audio_rate_hz // 2)
        high_hz = half_hz if self.mel_high_hz is None else self.mel_high_hz
        name, value = "model.mel_high_hz", high_hz
        if self.mel_low_hz >= half_hz:
            name, value = "model.mel_low_hz", self.mel_low_hz
        if high_hz > half_hz or self.mel_low_hz >= half_hz:
            raise ValueError(
                f"{name}={value:g} is too high: audio at clip.audio_rate_hz={audio_rate_hz} has "
                f"frequencies up to {half_hz:g} Hz only; raise clip.audio_rate_hz in prep"
            )
        return self.mel_low_hz, high_hz

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if self.head not in TEMPORAL_MODELS:
            raise ValueError(
                f"model.head={self.head} is not a known temporal model; choose from "
                f"{', '.join(TEMPORAL_MODELS)}"
            )
        recurrent = TEMPORAL_MODELS[self.head] == "recurrent"
        if self.bidirectional and not recurrent:
            raise ValueError(f"model.bidirectional=true needs a recurrent head, not {self.head}")
        if self.bidirectional and self.head_units % 2:
            raise ValueError(
                f"model.head_units={self.head_units} must be even with model.bidirectional=true"
            )
        if self.step_dropout and not self.head.startswith("layer_norm_"):
            raise ValueError(
                f"model.step_dropout={self.step_dropout:g} is for layer_norm_gru and "
                f"layer_norm_lstm, not for model.head={self.head}"
            )
        if self.head == "mean" and self.readout == "last":
            raise ValueError(
                "model.readout=last would reduce model.head=mean to the last step; use mean, "
                "deviation or attention"
            )
        return self

    @property
    def resolved_readout(self) -> str:
        """last, mean, deviation or attention."""
        if self.readout != "auto":
            return self.readout
        return "mean" if self.head == "mean" else "last"


CHANGE_LAGS = (1, 5, 20)
"""Frames of about 10 ms over which the change of log-mel bands is measured."""
N_BAND_STATISTICS = 5 + len(CHANGE_LAGS)
WINDOW_BANDS = 128
"""Log-mel bands of a spectrogram window."""


def spectrogram_feature_dim(n_encoder_features: int) -> int:
    """Features per spectrogram window: the CNN's, and statistics of the window's bands."""
    return n_encoder_features + N_BAND_STATISTICS * WINDOW_BANDS
