"""Time covered by one track according to its packets: extent, gaps and timestamp discontinuities.

A track's clock is "broken" from the first discontinuity that no real recording has: decode times
that go back, or a pause of more than BREAK_S in all tracks at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BREAK_S = 600.0
"""A pause longer than this in all tracks at once means that the clock is broken."""

_BACK_S = 1.0  # DTS must be monotonic, but some muxers jitter by a few frames
_REORDERED_S = 60.0  # largest distance of PTS from DTS in a valid stream
_REORDERED_FRAMES = 20  # H.264 and HEVC reorder at most 16 frames
_MOST_OUTLIERS = 5
_GAP_S = 0.1
_LONG_PACKET_S = 0.5
_LONGEST_HOLD_S = 4 * 3600.0  # cap for a packet duration that holds a picture


def tolerance_s(total_s: float, is_suspect: bool) -> float:
    """Shortfall in s at a track's end that is ignored, as headers of complete files are inexact."""
    return 0.1 if is_suspect else max(0.5, min(2.0, 0.02 * total_s))


@dataclass(frozen=True)
class Pause:
    """A stretch without packets, longer than BREAK_S. Times in seconds on the file's clock."""

    start_s: float
    end_s: float
    reached_s: float
    """End of the last packet before it."""
    media_before_s: float
    """Summed duration of all packets before it."""


@dataclass(frozen=True)
class _Mark:
    """State of a track before its time jumped forward, restored if that was an outlier."""

    clock_s: float
    end_s: float
    reach_s: float
    n_packets: int
    media_s: float
    n_gaps: int
    n_pauses: int


@dataclass
class Track:
    """Extent of one track, in seconds on the file's clock.

    start_s, end_s  the stretch before the clock breaks
    lost_s          summed duration of the packets after a break and of outliers
    declared_s      duration by the header, None if it declares none
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
    """Message that the file is truncated by an unknown amount, or ""."""
    is_suspect: bool = False
    """The file has a known problem, so even a small shortfall is reported."""
    outliers: int = 0
    """Number of packets whose times are far from those of both neighbours."""
    n_packets: int = 0
    media_s: float = 0.0
    _last_clock_s: float | None = None
    _last_end_s: float = 0.0
    _held_until_s: float = float("-inf")
    _before_jump: _Mark | None = None

    def add(self, start_s: float, dts_s: float | None, duration_s: float) -> bool:
        """Add a packet; False if its time is implausible or the clock is broken already."""
        duration_s = duration_s or self._mean_interval_s  # some formats store no durations
        if self.broken:
            self.lost_s += duration_s
            return False
        # DTS, not PTS: B-frames make presentation times go back in a healthy stream
        clock_s = dts_s if dts_s is not None else start_s
        reordered_s = _REORDERED_S + _REORDERED_FRAMES * max(duration_s, self._mean_interval_s)
        if self.n_packets >= _REORDERED_FRAMES and abs(start_s - clock_s) > reordered_s:
            self.outliers += 1
            self.lost_s += duration_s
            return False
        if self._last_clock_s is not None:
            if dts_s is not None and clock_s < self._last_clock_s - _BACK_S:
                if not self._undo_jump(clock_s):
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
    def _mean_interval_s(self) -> float:
        """Mean distance of the packets so far, 0 for fewer than two."""
        if self._last_clock_s is None or self.n_packets < 2:
            return 0.0
        return max(0.0, self._last_clock_s - self.start_s) / (self.n_packets - 1)

    def _undo_jump(self, clock_s: float) -> bool:
        """Drop the few packets since a jump forward if time is back before it; False otherwise."""
        mark = self._before_jump
        if mark is None or clock_s < mark.clock_s - _BACK_S:
            return False
        since = self.n_packets - mark.n_packets
        if since > _MOST_OUTLIERS:  # too many: a real break of the clock, not stray timestamps
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
        # a slide may declare a long packet duration: while it is held, there is no pause
        if clock_s - max(self._last_end_s, self._held_until_s) > BREAK_S:
            self.pauses.append(Pause(self._last_clock_s, clock_s, self._last_end_s, self.media_s))

    def _take(self, start_s: float, clock_s: float, duration_s: float) -> None:
        typical_s = self.media_s / self.n_packets if self.n_packets else duration_s
        own_s = duration_s
        if duration_s > _LONG_PACKET_S and duration_s > 10 * typical_s:
            own_s = typical_s  # some muxers write a pause as one long packet
        self.n_packets += 1
        self.media_s += own_s
        self._last_clock_s, self._last_end_s = clock_s, clock_s + own_s
        self._held_until_s = clock_s + min(duration_s, _LONGEST_HOLD_S)
        self.start_s = min(self.start_s, start_s)
        self.end_s = max(self.end_s, start_s + duration_s)

    def cut_at(self, pause: Pause) -> None:
        """End the track where this pause begins; what follows counts as lost."""
        self.broken = f"its times jump from {pause.start_s:.1f} to {pause.end_s:.1f} s"
        self.end_s = pause.reached_s
        self.lost_s += self.media_s - pause.media_before_s
        self.gaps_s = [gap for gap in self.gaps_s if gap[1] <= pause.start_s + 1e-9]

    def hold(self) -> None:
        """Extend the track to its declared end: the last frame is held until there."""
        if self.declared_s is not None and not self.is_empty:
            self.end_s = max(self.end_s, self.declared_s)

    @property
    def is_empty(self) -> bool:
        return self.n_packets == 0 or self.end_s < self.start_s

    @property
    def missing_s(self) -> float:
        """Seconds missing after `end_s`: truncated, or after a break of the clock."""
        if self.is_empty:
            return self.declared_s or 0.0
        short_s = 0.0
        if self.declared_s is not None and not self.broken:
            short_s = self.declared_s - (self.end_s - self.start_s)
            short_s = short_s if short_s > tolerance_s(self.declared_s, self.is_suspect) else 0.0
        return max(short_s, self.lost_s)  # not the sum: the same seconds may count in both


def cut_at_breaks(tracks: list[Track]) -> None:
    """End all tracks at the first pause of more than BREAK_S that they share.

    A pause in one track alone is legitimate: a still slide, a muted microphone.
    """
    pauses = [pause for track in tracks for pause in track.pauses]
    for pause in sorted(pauses, key=lambda pause: pause.start_s):
        shared = [_overlapping_pause(track, pause) for track in tracks]
        if all(shared):  # a pause, or True for a track that has ended by then
            for track, own in zip(tracks, shared, strict=True):
                if isinstance(own, Pause):
                    track.cut_at(own)
            return


def _overlapping_pause(track: Track, pause: Pause) -> Pause | bool:
    """The track's own pause that overlaps this one by BREAK_S, else whether it ended before."""
    for own in track.pauses:
        if min(own.end_s, pause.end_s) - max(own.start_s, pause.start_s) > BREAK_S:
            return own
    return track.end_s <= pause.start_s + 1.0
