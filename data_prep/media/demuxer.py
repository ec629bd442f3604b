"""Packets of one file for a video and an audio reader, from one open container.

For every open MP4, FFmpeg keeps an index of all packets of all tracks: 17 MB for three hours of
video at 25 frames per second with sound at 16 kHz. The two readers of a clip therefore share a
container. Packets that are demuxed while the other reader asks for its own wait in a queue.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from data_prep.heartbeat import beat
from data_prep.media.pyav_media import audio_stream, open_media, packets, video_stream

TrackKind = Literal["video", "audio"]

MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Of one track; a minute of uncompressed stereo sound at 48 kHz is 12 MB."""

_BYTES_PER_PACKET = 600  # beside its data: measured, PyAV 18.1


@dataclass
class _Track:
    stream: Any
    waiting: deque[Any] = field(default_factory=deque)
    waiting_bytes: int = 0
    n_taken: int = 0
    has_overflowed: bool = False

    def add(self, packet: Any) -> None:
        if self.has_overflowed:
            return
        self.waiting.append(packet)
        self.waiting_bytes += packet.size + _BYTES_PER_PACKET
        if self.waiting_bytes > MOST_WAITING_BYTES:
            self.has_overflowed = True
            self.waiting.clear()

    def take(self) -> Any:
        packet = self.waiting.popleft()
        self.waiting_bytes -= packet.size + _BYTES_PER_PACKET
        self.n_taken += 1
        return packet


class Demuxer:
    """Opens a file when the first track is read, and closes it after the last expected one."""

    def __init__(self, path: str, reordered: bool = False) -> None:
        """reordered: as for `open_media`."""
        self._path, self._reordered = path, reordered
        self._expected: list[TrackKind] = []
        self._tracks: dict[TrackKind, _Track] = {}
        self._problems: list[str] = []
        self._source: Iterator[Any] = iter(())
        self._opened: ExitStack | None = None

    def expect(self, kind: TrackKind) -> None:
        """Announce that a track will be read from its start, before any of them is read."""
        self._expected.append(kind)

    @contextmanager
    def track(self, kind: TrackKind, problems: list[str]) -> Iterator[tuple[Any, Iterator[Any]]]:
        """(stream, its packets from the start of the file); stream None if there is no such track.

        An error that ends demuxing is appended to `problems` once the packets before it were taken.
        A track that was not expected, or is read again, gets a container of its own. Raises
        MediaError if the file cannot be opened.
        """
        if kind not in self._expected:
            with open_media(self._path, self._reordered) as container:
                stream = _stream(container, kind)
                yield stream, _packets(container, stream, problems)
            return
        try:
            track = self._open().get(kind)
            if track is None:
                yield None, iter(())
            else:
                yield track.stream, self._packets(kind, track, problems)
        finally:
            self._release(kind)

    def _open(self) -> dict[TrackKind, _Track]:
        if self._opened is None:
            with ExitStack() as stack:
                container = stack.enter_context(open_media(self._path, self._reordered))
                streams = {kind: _stream(container, kind) for kind in self._expected}
                self._tracks = {
                    kind: _Track(stream) for kind, stream in streams.items() if stream is not None
                }
                present = [track.stream for track in self._tracks.values()]
                self._source = packets(container, present, self._problems)
                self._opened = stack.pop_all()
        return self._tracks

    def _release(self, kind: TrackKind) -> None:
        self._expected.remove(kind)
        self._tracks.pop(kind, None)
        if not self._expected and self._opened is not None:
            self._source = iter(())
            self._opened.close()

    def _packets(self, kind: TrackKind, track: _Track, problems: list[str]) -> Iterator[Any]:
        while not track.has_overflowed:
            if track.waiting:
                beat()  # decoding a long queue takes time
                yield track.take()
            elif not self._read_next():
                problems += self._problems
                return
        # the tracks are far apart in the file: read this one through a container of its own
        with open_media(self._path, self._reordered) as container:
            rest = _packets(container, _stream(container, kind), problems)
            yield from itertools.islice(rest, track.n_taken, None)

    def _read_next(self) -> bool:
        """Put the next packet into its queue; False at the end of the file."""
        packet = next(self._source, None)
        if packet is None:
            return False
        for track in self._tracks.values():
            # not packet.stream_index, which is 0 in the packets that flush a decoder at the end
            if track.stream.index == packet.stream.index:
                track.add(packet)
        return True


def _stream(container: Any, kind: TrackKind) -> Any:
    return video_stream(container) if kind == "video" else audio_stream(container)


def _packets(container: Any, stream: Any, problems: list[str]) -> Iterator[Any]:
    return iter(()) if stream is None else packets(container, [stream], problems)
