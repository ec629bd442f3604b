"""Prepared clips as what the network takes: one function for training, evaluation, classifying.

Samples in files that several processes map into memory, once for all of them.
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
from data_prep.video.resize import decode_jpeg
from models.audio.front_end import AudioFrontEnd
from models.classifier import ClipBatch
from pipeline.features.batch_encoder import Float16Array


@dataclass(frozen=True)
class Sample:
    """One clip, ready for the network.

    picture float16 [T, Dv]; sound [T · frames per step, Da], float32, or float16 where it is
    features of windows; video_mask, audio_mask bool [T]; jpegs
    only where the frame encoder itself is trained.
    """

    video: Tensor
    audio: Tensor
    video_mask: Tensor
    audio_mask: Tensor
    jpegs: tuple[bytes, ...] = ()
    frames: Tensor | None = None
    """uint8 [N, C, H, W] of the N steps with picture, where they were decoded from `jpegs`."""
    mirrored: Tensor | None = None
    """float16 [T, Dv] of the mirrored frames, where they were prepared; for training."""

    def with_frames(self) -> Sample:
        """The sample with its JPEGs decoded; what a loader's worker does."""
        frames = [torch.from_numpy(decode_jpeg(data)) for data in self.jpegs if data]
        return replace(self, jpegs=(), frames=torch.stack(frames) if frames else None)

    def with_modalities(self, picture: bool, sound: bool) -> Sample:
        """The clip as it is for those who see no picture, or hear no sound."""
        seen, heard = self.video_mask & picture, self.audio_mask & sound
        jpegs, frames = (self.jpegs, self.frames) if picture else ((), None)
        return replace(self, video_mask=seen, audio_mask=heard, jpegs=jpegs, frames=frames)

    def as_mirrored(self) -> Sample:
        """The same clip seen in a mirror, where it was prepared so or has its frames here."""
        frames = None if self.frames is None else self.frames.flip(-1)
        picture = self.video if self.mirrored is None else self.mirrored
        return replace(self, video=picture, frames=frames)

    @property
    def n_steps(self) -> int:
        return int(self.video_mask.shape[0])


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread meanwhile: a clip's small products are not worth more, other cores have
    frames to decode, and sums do not depend on how many cores there are."""
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
    """Arrays of one whole clip → Sample. The front end runs on this clip alone.

    sound: the waveform in ±1 [S], or features of windows [T · windows per step, D].
    """
    steps = video_mask.shape[0]
    if features.shape[0] != steps or sound.shape[0] != steps * front_end.inputs_per_step:
        raise ValueError(
            f"{steps} steps, but features {features.shape} and sound {sound.shape} "
            f"at {front_end.inputs_per_step} per step"
        )
    if front_end.mel is None:
        heard = torch.from_numpy(np.array(sound))
        heard = heard if front_end.takes_windows else heard[:, None]
    elif not audio_mask.any():
        heard = front_end.silence(steps)
    else:
        with torch.inference_mode(), one_thread():
            heard = front_end(torch.from_numpy(np.array(sound, np.float32))[None])[0].clone()
    return Sample(
        torch.from_numpy(np.array(features)),
        heard,
        torch.from_numpy(np.array(video_mask)),
        torch.from_numpy(np.array(audio_mask)),
        jpegs,
        mirrored=None if mirrored is None else torch.from_numpy(np.array(mirrored)),
    )


def collate(samples: Sequence[Sample]) -> ClipBatch:
    """Pad clips to the longest; lengths say what is real. Kinds of numbers stay what they are."""
    lengths = torch.tensor([sample.n_steps for sample in samples])
    picture, sound, video_mask, audio_mask = (
        pad_sequence([getattr(sample, name) for sample in samples], batch_first=True)
        for name in ("video", "audio", "video_mask", "audio_mask")
    )
    return ClipBatch(picture, sound, video_mask, audio_mask, lengths)


class LengthBuckets:
    """Batches of clips of like length, in an order that depends on seed and epoch alone."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed

    def epoch(self, epoch: int) -> list[list[int]]:
        """Index lists that cover every clip once. Shuffled, sorted by length inside wide pools."""
        rng = np.random.default_rng((self._seed, epoch))
        order = rng.permutation(self._lengths.size)
        pool = self._batch_size * 8
        batches: list[list[int]] = []
        for start in range(0, order.size, pool):
            part = order[start : start + pool]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [
                part[i : i + self._batch_size].tolist()
                for i in range(0, part.size, self._batch_size)
            ]
        return [batches[i] for i in rng.permutation(len(batches))]


_FIELDS = ("video", "audio", "video_mask", "audio_mask", "mirrored")


def write_samples(folder: Path, samples: Sequence[Sample]) -> None:
    """One file for each field, clip after clip along the first dimension, and their lengths.

    Frames and JPEGs are not written. Raises OSError where the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FIELDS:
        tensors = [_rows(sample, name) for sample in samples]
        ends = np.cumsum([len(tensor) for tensor in tensors])
        np.save(folder / f"{name}_ends.npy", ends)
        first = next((tensor for tensor in tensors if len(tensor)), tensors[0])
        _write_rows(folder / f"{name}.npy", tensors, (int(ends[-1]), *first.shape[1:]), first.dtype)


def _write_rows(
    path: Path, tensors: Sequence[Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """By write, not into a mapped file: where the disk is full, that would end the process."""
    kind = np.lib.format.dtype_to_descr(torch.empty(0, dtype=dtype).numpy().dtype)
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for tensor in tensors:
            if len(tensor):
                assert tensor.dtype == dtype
                file.write(np.ascontiguousarray(tensor.numpy()).data)


def map_samples(folder: Path) -> list[Sample]:
    """What was written, in its order; what is changed in it stays in this process."""
    parts = {name: _mapped(folder, name) for name in _FIELDS}
    return [
        Sample(picture, sound, video_mask, audio_mask, mirrored=mirrored if len(mirrored) else None)
        for picture, sound, video_mask, audio_mask, mirrored in zip(*parts.values(), strict=True)
    ]


def _rows(sample: Sample, name: str) -> Tensor:
    value: Tensor | None = getattr(sample, name)
    return sample.video[:0] if value is None else value


def _mapped(folder: Path, name: str) -> list[Tensor]:
    ends = np.load(folder / f"{name}_ends.npy").tolist()
    # copy on write, since torch has no read-only tensors
    whole = torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
    return [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
