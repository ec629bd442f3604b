"""What processes map is what was written, kind and shape of numbers too."""

from __future__ import annotations

import pytest
import torch

from pipeline.encoding.mapped_samples import map_samples, write_samples
from pipeline.encoding.samples import Sample


def sample(n_steps: int, width: int, is_mirrored: bool, per_step: int = 3) -> Sample:
    torch.manual_seed(n_steps)
    return Sample(
        torch.rand(n_steps, width).half(),
        torch.rand(n_steps * per_step, 2),
        torch.rand(n_steps) > 0.5,
        torch.rand(n_steps) > 0.5,
        mirrored=torch.rand(n_steps, width).half() if is_mirrored else None,
    )


@pytest.mark.parametrize("width", [4, 0])
@pytest.mark.parametrize("mirrored", [(True, True, True), (False,) * 3, (False, True, False)])
def test_they_come_back(tmp_path, width: int, mirrored) -> None:
    written = [sample(n, width, m) for n, m in zip((5, 1, 7), mirrored, strict=True)]
    write_samples(tmp_path, written)
    read = map_samples(tmp_path)
    assert len(read) == 3
    for one, other in zip(written, read, strict=True):
        for name in ("picture", "sound", "has_picture", "has_sound", "mirrored"):
            a, b = getattr(one, name), getattr(other, name)
            if a is None or not a.numel():
                assert b is None or b.shape == a.shape
            else:
                assert a.dtype == b.dtype
                torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_disk_that_is_full_is_an_error_and_no_end(tmp_path) -> None:
    """A file may not grow here; into a mapped one it would be a signal that ends the process."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_samples(tmp_path, [sample(500, 100, True)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_change_stays_in_its_process(tmp_path) -> None:
    write_samples(tmp_path, [sample(2, 3, False)])
    map_samples(tmp_path)[0].sound.zero_()
    assert map_samples(tmp_path)[0].sound.abs().sum() > 0
