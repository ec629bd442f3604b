import os

import numpy as np
import pytest

from data_prep.video.shared_frames import PrivateBuffers, SharedSlots, slot_bytes
from data_prep.worker.protocol import SharedChunk
from pipeline.features.decode_pool import SharedFramePool

SIDE_PX = 20


def written(arena: SharedFramePool, slots: SharedSlots, value: int) -> SharedChunk:
    arena.grant(lambda: False)
    slots.acquire(2, SIDE_PX)[:] = value
    none = np.zeros(2, np.bool_)
    return SharedChunk(
        slots.release(),
        2,
        SIDE_PX,
        np.zeros(2),
        np.zeros(4, np.int16),
        none,
        none,
        (),
        0,
        1 / 32768,
    )


def test_what_one_side_writes_the_other_reads_in_place() -> None:
    arena = SharedFramePool(SIDE_PX)
    slots = SharedSlots(arena.file, arena.grants)
    chunks = [arena.lend(written(arena, slots, value)) for value in (1, 2, 3)]
    assert [int(chunk.frames.max()) for chunk in chunks] == [1, 2, 3]
    assert chunks[0].frames.shape == (2, 3, SIDE_PX, SIDE_PX)


def test_a_slot_is_granted_again_only_when_it_was_given_back() -> None:
    arena = SharedFramePool(SIDE_PX)
    slots = SharedSlots(arena.file, arena.grants)
    chunks = [arena.lend(written(arena, slots, value)) for value in (1, 2, 3)]
    asked = []
    arena.grant(lambda: bool(asked.append(1)) or len(asked) > 1)  # gives up the second time
    assert not arena._is_granted
    chunks[1].release()
    again = arena.lend(written(arena, slots, 9))
    assert again.frames.max() == 9
    assert chunks[1].frames.max() == 9  # the same memory
    assert chunks[0].frames.max() == 1


def test_a_clip_that_fails_half_way_leaves_its_slot_to_the_next() -> None:
    arena = SharedFramePool(SIDE_PX)
    slots = SharedSlots(arena.file, arena.grants)
    arena.grant(lambda: False)
    slots.acquire(1, SIDE_PX)  # and then it fails: nothing is handed over
    chunk = arena.lend(written(arena, slots, 7))
    assert chunk.frames.max() == 7


def test_lent_frames_outlive_the_arena() -> None:
    arena = SharedFramePool(SIDE_PX)
    chunk = arena.lend(written(arena, SharedSlots(arena.file, arena.grants), 5))
    arena.close()
    assert chunk.frames.max() == 5


def test_a_closed_pipe_ends_the_worker() -> None:
    arena = SharedFramePool(SIDE_PX)
    slots = SharedSlots(arena.file, os.dup(arena.grants))
    arena.close()
    with pytest.raises(BrokenPipeError):
        slots.acquire(1, SIDE_PX)


def test_slots_are_whole_pages() -> None:
    assert slot_bytes(SIDE_PX) % os.sysconf("SC_PAGE_SIZE") == 0
    assert slot_bytes(SIDE_PX) >= 64 * 3 * SIDE_PX**2
    assert PrivateBuffers().acquire(2, 5).shape == (2, 3, 5, 5)
