"""Samples, the network's input: made from encoded clips, batched, and shared between processes.

Training, evaluation and classification use the same functions. For several processes, samples are
written to files that all of them map into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from data_prep.clip import BoolArray, Samples
from data_prep.manifest import ManifestRow
from data_prep.video.resize import decode_jpeg
from models.audio.front_end import AudioFrontEnd
from models.classifier import ClipBatch
from pipeline.features.batch_encoder import Float16Array


@dataclass(frozen=True)
class Sample:
    """One clip as input of the network.

    video       float16 [T, Dv] frame features
    audio       [T · frames per step, Da] front-end frames: float32, or float16 features of windows
    video_mask  bool [T], true where the step has a frame
    audio_mask  bool [T], true where the step has sound
    jpegs       frames as JPEG; only if the frame encoder is fine-tuned
    frames      uint8 [N, C, H, W] of the N steps with a frame, decoded from `jpegs`
    mirrored    float16 [T, Dv] features of the flipped frames, if prepared; for training
    """

    video: Tensor
    audio: Tensor
    video_mask: Tensor
    audio_mask: Tensor
    jpegs: tuple[bytes, ...] = ()
    frames: Tensor | None = None
    mirrored: Tensor | None = None

    def with_frames(self) -> Sample:
        """A copy with the JPEGs decoded, as done in a data loader's worker."""
        frames = [torch.from_numpy(decode_jpeg(data)) for data in self.jpegs if data]
        return replace(self, jpegs=(), frames=torch.stack(frames) if frames else None)

    def with_modalities(self, picture: bool, sound: bool) -> Sample:
        """A copy with a modality masked where its argument is false."""
        video_mask, audio_mask = self.video_mask & picture, self.audio_mask & sound
        # there must be as many frames as steps in the mask
        jpegs, frames = (self.jpegs, self.frames) if picture else ((), None)
        return replace(
            self, video_mask=video_mask, audio_mask=audio_mask, jpegs=jpegs, frames=frames
        )

    def steps(self, start: int, end: int) -> Sample:
        """The steps start to end − 1. Raises ValueError for samples with frames."""
        if self.jpegs or self.frames is not None:
            raise ValueError("samples with frames cannot be cut")
        per_step = self.audio.shape[0] // max(1, self.n_steps)
        return Sample(
            self.video[start:end],
            self.audio[start * per_step : end * per_step],
            self.video_mask[start:end],
            self.audio_mask[start:end],
            mirrored=None if self.mirrored is None else self.mirrored[start:end],
        )

    def as_mirrored(self) -> Sample:
        """A copy with frames or features flipped horizontally; unchanged if it has neither."""
        frames = None if self.frames is None else self.frames.flip(-1)  # [N, C, H, W]
        video = self.video if self.mirrored is None else self.mirrored
        return replace(self, video=video, frames=frames)

    @property
    def n_steps(self) -> int:
        return int(self.video_mask.shape[0])


@dataclass(frozen=True)
class LabelledSample:
    """A manifest row with its sample."""

    row: ManifestRow
    sample: Sample


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread within the context.

    The matrix products of one clip are too small for more, the other cores decode frames, and
    rounding does not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def make_sample(
    features: Float16Array,
    sound: Samples | Float16Array,
    video_mask: BoolArray,
    audio_mask: BoolArray,
    front_end: AudioFrontEnd,
    jpegs: tuple[bytes, ...] = (),
    mirrored: Float16Array | None = None,
) -> Sample:
    """Make a Sample from the arrays of one whole clip, running the audio front end.

    features: [T, Dv]. sound: the waveform in ±1 [S], or features of windows [T · windows per step,
    D]. Raises ValueError if the lengths do not match.
    """
    steps = video_mask.shape[0]
    if features.shape[0] != steps or sound.shape[0] != steps * front_end.inputs_per_step:
        raise ValueError(
            f"{steps} steps, but features {features.shape} and sound {sound.shape} "
            f"at {front_end.inputs_per_step} per step"
        )
    if front_end.mel is None:  # no transform: the dtype is kept
        audio = torch.from_numpy(np.array(sound))
        audio = audio if front_end.takes_windows else audio[:, None]  # [S, 1]
    elif not audio_mask.any():
        audio = front_end.silence(steps)  # [T · frames per step, Da]
    else:
        with torch.inference_mode(), one_thread():
            audio = front_end(torch.from_numpy(np.array(sound, np.float32))[None])[0].clone()
    return Sample(
        torch.from_numpy(np.array(features)),  # a copy: the array may be read-only or a view
        audio,
        torch.from_numpy(np.array(video_mask)),
        torch.from_numpy(np.array(audio_mask)),
        jpegs,
        mirrored=None if mirrored is None else torch.from_numpy(np.array(mirrored)),
    )


def collate(samples: Sequence[Sample]) -> ClipBatch:
    """Pad clips to the longest and stack them; dtypes are kept."""
    lengths = torch.tensor([sample.n_steps for sample in samples])
    video, audio, video_mask, audio_mask = (
        # audio stays aligned with video: T steps have exactly T · frames per step rows
        pad_sequence([getattr(sample, name) for sample in samples], batch_first=True)
        for name in ("video", "audio", "video_mask", "audio_mask")
    )
    return ClipBatch(video, audio, video_mask, audio_mask, lengths)


class LengthBuckets:
    """Batches of clips of similar length, in an order that depends on seed and epoch alone."""

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        per_epoch: int | None = None,
        n_always: int = 0,
    ) -> None:
        """per_epoch: number of clips in each epoch, None: all. n_always: so many of the first ones
        are in every epoch, the others are drawn."""
        self._per_epoch = len(lengths) if per_epoch is None else per_epoch
        self._n_always = min(n_always, self._per_epoch)
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed

    def epoch(self, epoch: int) -> list[list[int]]:
        """Index lists that cover every clip once, or those drawn for the epoch."""
        rng = np.random.default_rng((self._seed, epoch))
        order = rng.permutation(self._lengths.size)
        if self._per_epoch < order.size:
            drawn = order[order >= self._n_always][: self._per_epoch - self._n_always]
            order = rng.permutation(np.concatenate([np.arange(self._n_always), drawn]))
        pool = self._batch_size * 8  # sorted within pools alone: batches still differ by epoch
        batches: list[list[int]] = []
        for start in range(0, order.size, pool):
            part = order[start : start + pool]
            part = part[np.argsort(self._lengths[part], kind="stable")]  # less padding
            batches += [
                part[i : i + self._batch_size].tolist()
                for i in range(0, part.size, self._batch_size)
            ]
        return [batches[i] for i in rng.permutation(len(batches))]


_FIELDS = ("video", "audio", "video_mask", "audio_mask", "mirrored")


def write_samples(folder: Path, samples: Sequence[Sample]) -> None:
    """Write samples to a folder: per field one array of all clips, concatenated, and their ends.

    Frames and JPEGs are not written. Raises OSError if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FIELDS:
        tensors = [_rows(sample, name) for sample in samples]
        ends = np.cumsum([len(tensor) for tensor in tensors])
        np.save(folder / f"{name}_ends.npy", ends)
        # shape and dtype from a clip that has the field
        first = next((tensor for tensor in tensors if len(tensor)), tensors[0])
        _write_rows(folder / f"{name}.npy", tensors, (int(ends[-1]), *first.shape[1:]), first.dtype)


def _write_rows(
    path: Path, tensors: Sequence[Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Write a .npy file from tensors, without concatenating them in memory."""
    descr = np.lib.format.dtype_to_descr(torch.empty(0, dtype=dtype).numpy().dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    # not through a memory map: on a full disk that kills the process with SIGBUS
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for tensor in tensors:
            if len(tensor):
                assert tensor.dtype == dtype
                file.write(np.ascontiguousarray(tensor.numpy()).data)


def map_samples(folder: Path) -> list[Sample]:
    """Map the samples that `write_samples` wrote; changes to them stay in this process."""
    parts = {name: _mapped(folder, name) for name in _FIELDS}
    return [
        Sample(video, audio, video_mask, audio_mask, mirrored=mirrored if len(mirrored) else None)
        for video, audio, video_mask, audio_mask, mirrored in zip(*parts.values(), strict=True)
    ]


def _rows(sample: Sample, name: str) -> Tensor:
    value: Tensor | None = getattr(sample, name)
    return sample.video[:0] if value is None else value  # no rows


def _mapped(folder: Path, name: str) -> list[Tensor]:
    ends = np.load(folder / f"{name}_ends.npy").tolist()
    # copy-on-write, since torch has no read-only tensors
    whole = torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
    return [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
