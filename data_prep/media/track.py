"""One track by its packets: the time it covers, its pauses, and where its clock breaks."""

from __future__ import annotations

from dataclasses import dataclass, field

BREAK_S = 600.0
"""A recording that shows and says nothing for longer has a broken clock."""

_BACK_S = 1.0  # decode times never go back; careless muxers jitter by a few frames
_REORDERED_S = 60.0  # frames are shown at most so much after they are decoded
_REORDERED_FRAMES = 20
_MOST_OUTLIERS = 5
_GAP_S = 0.1
_LONG_PACKET_S = 0.5
_LONGEST_HOLD_S = 4 * 3600.0  # a picture that a container says is shown for so long


def tolerance_s(total_s: float, is_suspect: bool) -> float:
    """What may be missing at a track's end unremarked: whole files' headers are that imprecise."""
    return 0.1 if is_suspect else max(0.5, min(2.0, 0.02 * total_s))


@dataclass(frozen=True)
class Pause:
    """A stretch without packets; what had come before it, and what comes after."""

    start_s: float
    end_s: float
    reached_s: float
    """Where the last packet before it ends."""
    media_before_s: float
    """Length of all packets before it."""


@dataclass(frozen=True)
class _Mark:
    """How a track stood before its time jumped forward."""

    clock_s: float
    end_s: float
    reach_s: float
    n_packets: int
    media_s: float
    n_gaps: int
    n_pauses: int


@dataclass
class Track:
    """Times in seconds on the file's clock.

    start_s, end_s  the stretch whose clock is whole
    lost_s          length of the packets behind a break of the clock
    declared_s      length by the header, None where it says nothing
    gaps_s          stretches of more than 0.1 s without a packet
    broken          how the clock breaks, or ""
    """

    start_s: float = float("inf")
    end_s: float = float("-inf")
    lost_s: float = 0.0
    declared_s: float | None = None
    gaps_s: list[tuple[float, float]] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    broken: str = ""
    cut_off: str = ""
    """That the file's end is missing, where nothing tells how much there was."""
    is_suspect: bool = False
    """Something is known to be amiss in the file: then little may be missing unremarked."""
    outliers: int = 0
    """Packets whose times lie far from their neighbours' on both sides."""
    n_packets: int = 0
    media_s: float = 0.0
    _last_clock_s: float | None = None
    _last_end_s: float = 0.0
    _held_until_s: float = float("-inf")
    _before_jump: _Mark | None = None

    def add(self, start_s: float, dts_s: float | None, duration_s: float) -> bool:
        """Take a packet in; False where its time cannot be true, or lies behind a jump back."""
        duration_s = duration_s or self._usual_s
        if self.broken:
            self.lost_s += duration_s
            return False
        clock_s = dts_s if dts_s is not None else start_s
        reordered_s = _REORDERED_S + _REORDERED_FRAMES * max(duration_s, self._usual_s)
        if self.n_packets >= _REORDERED_FRAMES and abs(start_s - clock_s) > reordered_s:
            self.outliers += 1
            self.lost_s += duration_s
            return False
        if self._last_clock_s is not None:
            if dts_s is not None and clock_s < self._last_clock_s - _BACK_S:
                if not self._was_outlier(clock_s):
                    self.broken = (
                        f"its times go back from {self._last_clock_s:.1f} to {clock_s:.1f} s"
                    )
                    self.lost_s += duration_s
                    return False
            elif clock_s - self._last_end_s > _BACK_S:
                self._before_jump = _Mark(
                    self._last_clock_s, self._last_end_s, self.end_s, self.n_packets, self.media_s,
                    len(self.gaps_s), len(self.pauses),
                )  # fmt: skip
            self._note_gap(clock_s)
        self._take(start_s, clock_s, duration_s)
        return True

    @property
    def _usual_s(self) -> float:
        """Distance of packets so far, for containers that write no durations."""
        if self._last_clock_s is None or self.n_packets < 2:
            return 0.0
        return max(0.0, self._last_clock_s - self.start_s) / (self.n_packets - 1)

    def _was_outlier(self, clock_s: float) -> bool:
        """Whether what came since the last jump forward lies out of line, now that time is back."""
        mark = self._before_jump
        if mark is None or clock_s < mark.clock_s - _BACK_S:
            return False
        since = self.n_packets - mark.n_packets
        if since > _MOST_OUTLIERS:
            return False
        self.outliers += since
        self.lost_s += self.media_s - mark.media_s
        self._last_clock_s, self._last_end_s, self.end_s = mark.clock_s, mark.end_s, mark.reach_s
        self.n_packets, self.media_s = mark.n_packets, mark.media_s
        del self.gaps_s[mark.n_gaps :], self.pauses[mark.n_pauses :]
        self._before_jump = None
        return True

    def _note_gap(self, clock_s: float) -> None:
        assert self._last_clock_s is not None
        if clock_s - self._last_end_s > _GAP_S:
            self.gaps_s.append((self._last_end_s, clock_s))
        if clock_s - max(self._last_end_s, self._held_until_s) > BREAK_S:
            self.pauses.append(Pause(self._last_clock_s, clock_s, self._last_end_s, self.media_s))

    def _take(self, start_s: float, clock_s: float, duration_s: float) -> None:
        typical_s = self.media_s / self.n_packets if self.n_packets else duration_s
        own_s = duration_s
        if duration_s > _LONG_PACKET_S and duration_s > 10 * typical_s:
            own_s = typical_s  # some containers write a pause as one long packet
        self.n_packets += 1
        self.media_s += own_s
        self._last_clock_s, self._last_end_s = clock_s, clock_s + own_s
        self._held_until_s = clock_s + min(duration_s, _LONGEST_HOLD_S)
        self.start_s = min(self.start_s, start_s)
        self.end_s = max(self.end_s, start_s + duration_s)

    def cut_at(self, pause: Pause) -> None:
        """End the track where a pause begins that is too long to be one."""
        self.broken = f"its times jump from {pause.start_s:.1f} to {pause.end_s:.1f} s"
        self.end_s = pause.reached_s
        self.lost_s += self.media_s - pause.media_before_s
        self.gaps_s = [gap for gap in self.gaps_s if gap[1] <= pause.start_s + 1e-9]

    def hold(self) -> None:
        """The last picture is shown up to the end that the header declares."""
        if self.declared_s is not None and not self.is_empty:
            self.end_s = max(self.end_s, self.declared_s)

    @property
    def is_empty(self) -> bool:
        return self.n_packets == 0 or self.end_s < self.start_s

    @property
    def missing_s(self) -> float:
        """What should follow the whole stretch and does not: cut off, or behind a break."""
        if self.is_empty:
            return self.declared_s or 0.0
        short_s = 0.0
        if self.declared_s is not None and not self.broken:
            short_s = self.declared_s - (self.end_s - self.start_s)
            short_s = short_s if short_s > tolerance_s(self.declared_s, self.is_suspect) else 0.0
        return max(short_s, self.lost_s)


def cut_at_breaks(tracks: list[Track]) -> None:
    """End tracks at the first pause of more than ten minutes that all of them share.

    One track alone may pause: a slide that stands, a microphone that is off.
    """
    pauses = [pause for track in tracks for pause in track.pauses]
    for pause in sorted(pauses, key=lambda pause: pause.start_s):
        shared = [_shared(track, pause) for track in tracks]
        if all(shared):
            for track, own in zip(tracks, shared, strict=True):
                if isinstance(own, Pause):
                    track.cut_at(own)
            return


def _shared(track: Track, pause: Pause) -> Pause | bool:
    """The track's own pause that overlaps this one by long enough, or whether it has ended."""
    for own in track.pauses:
        if min(own.end_s, pause.end_s) - max(own.start_s, pause.start_s) > BREAK_S:
            return own
    return track.end_s <= pause.start_s + 1.0
