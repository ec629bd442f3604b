from data_prep.decode_errors import DecodeErrors


def test_only_what_lies_between_good_pieces_is_in_the_middle() -> None:
    losses = DecodeErrors()
    for piece in "xx.x..xx":
        if piece == ".":
            losses.record_success()
        else:
            losses.record_error(piece)
    assert (losses.leading, losses.middle, losses.trailing) == (2, 1, 2)
    assert (losses.total, losses.n_decoded, losses.success_share) == (5, 3, 3 / 8)


def test_the_first_reason_is_kept() -> None:
    losses = DecodeErrors()
    assert losses.success_share == 1.0
    losses.record_error("a")
    losses.record_error("b")
    assert losses.reason == "a"
