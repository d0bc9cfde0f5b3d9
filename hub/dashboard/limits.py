"""Every bound of the feed. Times are seconds, rates per second."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """Defaults are sized for 1,000 boxes and 1,000 messages/s on one core that has other work to do."""

    frame_s: float = 0.25
    """Changes are coalesced for this long; one frame then carries the newest value of each."""
    read_s: float = 0.5
    """What the bus says has changed is read again no more often than this."""
    sweep_s: float = 5.0
    """Everything is read again this often, so that a missed hint costs latency, never correctness."""
    read_share: float = 0.1
    """Reading takes at most this part of the time; with a slow store the page lags, the hub does not."""
    read_timeout_s: float = 10.0

    boxes: int = 10_000
    tasks: int = 500
    branches: int = 1_000
    single_reads: int = 100
    """Records read one by one after hints; more than that at once are read as one list."""

    bus_per_s: int = 4_000
    """Messages the bus may hand to the tap, all kinds together. Beyond it the tap samples."""
    bus_bytes_per_s: int = 16 * 1024 * 1024
    rows_per_s: int = 1_000
    """Messages of each kind that become rows of the page; further ones are counted."""
    traffic: int = 500
    """Newest rows that a new viewer is given."""
    history: int = 300
    """Seconds of rates that a new viewer is given."""
    preview_chars: int = 200

    viewers: int = 64
    frames_waiting: int = 16
    """Frames queued for one viewer; one that falls behind further gets a snapshot instead."""
    send_timeout_s: float = 10.0
    hello_timeout_s: float = 10.0
    incoming_bytes: int = 4_096
    """A frame from a browser; it has nothing long to say."""
