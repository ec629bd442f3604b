from data_prep.decode_errors import Losses


def test_only_what_lies_between_good_pieces_is_in_the_middle() -> None:
    losses = Losses()
    for piece in "xx.x..xx":
        if piece == ".":
            losses.good()
        else:
            losses.lost(piece)
    assert (losses.leading, losses.middle, losses.trailing) == (2, 1, 2)
    assert (losses.total, losses.n_good, losses.share_good) == (5, 3, 3 / 8)


def test_the_first_reason_is_kept() -> None:
    losses = Losses()
    assert losses.share_good == 1.0
    losses.lost("a")
    losses.lost("b")
    assert losses.reason == "a"
