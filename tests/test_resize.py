import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.video.resize import decode_jpeg, encode_jpeg, scaled_size
from tests.helpers.media import squared

sides = st.integers(1, 4000)


@given(sides, sides, st.integers(32, 300), st.sampled_from(["letterbox", "stretch", "crop"]))
def test_every_shape_becomes_a_full_square(width: int, height: int, side: int, fit: str) -> None:
    w, h = scaled_size((width, height), side, fit)
    if fit == "letterbox":
        assert max(w, h) == side
        assert min(w, h) >= 1
    elif fit == "crop":
        assert min(w, h) >= side
    w, h = min(w, 1200), min(h, 1200)  # extreme crops would only cost memory here
    square = squared(np.full((h, w, 3), 9, np.uint8), side)
    assert square.shape == (3, side, side)
    if fit != "letterbox":
        assert np.all(square == 9)


def test_letterbox_keeps_proportions_and_centres() -> None:
    assert scaled_size((640, 360), 224, "letterbox") == (224, 126)
    square = squared(np.full((126, 224, 3), 200, np.uint8), 224)
    assert np.all(square[:, 49:175] == 200)
    assert np.all(square[:, :49] == 124)
    assert np.all(square[:, 175:] == 124)


def test_crop_takes_the_middle() -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 255
    assert np.all(squared(picture, 10) == 255)


def test_jpeg_is_close() -> None:
    y, x = np.mgrid[0:64, 0:64]
    frame = np.stack([x * 4, y * 4, (x + y) * 2]).astype(np.uint8)
    error = np.abs(decode_jpeg(encode_jpeg(frame)).astype(int) - frame)
    assert error.mean() < 2
