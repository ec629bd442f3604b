from pipeline.progress_state import ProgressState


def state(**values) -> ProgressState:
    made = ProgressState("classifying", 400, 100)
    made.began_s = 0.0
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_a_line_says_how_far_how_fast_and_how_long_still() -> None:
    made = state(done=100, failed=3, media_s=4500.0, expected_bytes=400, bytes_done=100)
    assert made.line(60.0) == (
        "classifying: 200 of 400, 75 min of recordings, 75.0 × real time, 3 failed, "
        "about 3 min left"
    )


def test_time_left_by_files_where_sizes_are_unknown() -> None:
    assert "about 120 s left" not in state(done=100).line(60.0)
    assert "about 2 min left" in state(done=100).line(60.0)


def test_nothing_is_promised_too_early_or_at_the_end() -> None:
    assert "left" not in state(done=1).line(1.0)
    assert "left" not in state(done=300).line(60.0)
