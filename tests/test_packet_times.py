from data_prep.media.packet_times import KEY, SHOWN, PacketIndexBuilder


def built(*packets):
    builder = PacketIndexBuilder()
    for packet in packets:
        builder.add(*packet)
    return builder.build()


def test_flags_become_columns() -> None:
    coded = built((0.0, 0, KEY | SHOWN, 9), (0.2, 200, KEY, 8), (0.1, 100, SHOWN, 7))
    assert coded.is_key.tolist() == [True, True, False]
    assert coded.is_shown.tolist() == [True, False, True]
    assert (len(coded), coded.is_reordered, coded.is_reliable) == (3, True, True)


def test_a_packet_without_time_spoils_the_table() -> None:
    assert built((0.0, 0, KEY | SHOWN, 9), (None, None, SHOWN, 8)) is None
    assert built() is None


def test_unsound_tables_are_told() -> None:
    twice = built((0.0, 0, KEY | SHOWN, 9), (0.0, 0, SHOWN, 8))
    headless = built((0.0, 0, SHOWN, 9), (0.1, 100, KEY | SHOWN, 8))
    assert not twice.is_reliable
    assert not headless.is_reliable
