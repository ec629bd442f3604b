"""What a closer look at a video gives; apart from its decoding, and from what is made of it."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.clip import UInt8Array

LOOK_SIDE_PX = 64
LOOK_STEP_S = 0.2
LOOK_MAX_S = 10.0


@dataclass(frozen=True)
class Look:
    """frames uint8 [T, side, side], one every LOOK_STEP_S, each held until the next one."""

    frames: UInt8Array
