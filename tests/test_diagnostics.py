"""inspect: what it keeps of a long file, and what it need not load."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from data_prep.clip import ClipChunk
from pipeline.cli.diagnostics import _Thinned, inspect_file
from pipeline.config import Config
from tests.helpers.odd_sound import recorded


def chunk(first: int, n_steps: int) -> ClipChunk:
    """Steps of one second whose frames are their number."""
    times = np.arange(first, first + n_steps, dtype=np.float64)
    frames = np.broadcast_to(
        (times % 256).astype(np.uint8)[:, None, None, None], (n_steps, 3, 2, 2)
    )
    there = np.ones(n_steps, bool)
    return ClipChunk(0, frames, times, np.zeros(n_steps, np.int16), there, there)


@pytest.mark.parametrize("n_steps", [1, 5, 8, 17, 100, 5000])
def test_of_a_long_file_few_frames_are_kept_evenly(n_steps: int) -> None:
    most = 8
    thinned = _Thinned(most)
    for first in range(0, n_steps, 7):
        thinned.take(chunk(first, min(7, n_steps - first)))
        assert len(thinned._frames) <= 2 * most
    kept = thinned.kept()
    assert len(kept) == min(most, n_steps)
    times = [time_s for time_s, _ in kept]
    assert times == sorted(set(times))
    assert all(frame.max() == time_s % 256 for time_s, frame in kept)
    if n_steps > most:
        assert max(np.diff(times)) <= 2.2 * n_steps / most
        assert times[0] <= n_steps / most
        assert times[-1] >= n_steps * (1 - 1.5 / most)


@pytest.mark.end_to_end
def test_the_settings_of_a_model_are_read_without_torch(journey) -> None:
    file = next(path for path in journey.data.rglob("*") if path.is_file())
    script = (
        "import sys; from pathlib import Path; from pipeline.config import Config; "
        "from pipeline.cli.diagnostics import inspect_file; "
        f"print(*inspect_file(Path({str(file)!r}), Path({str(journey.run)!r}), None, Config()));"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "status: ok" in done.stdout


def test_a_short_file_has_the_steps_that_a_folder_of_such_would_have(tmp_path) -> None:
    path = recorded(tmp_path / "a.wav", np.random.default_rng(0).normal(size=(7200, 1)) / 4)
    told = "\n".join(inspect_file(path, None, None, Config()))
    assert "0.45 s, 4 steps of 0.1 s" in told
