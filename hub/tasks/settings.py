"""Limits and times of the task engine. Read from the environment by `hub.config`, not here."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TaskSettings(BaseModel):
    """Times are seconds, sizes bytes."""

    model_config = ConfigDict(frozen=True)

    lease_s: float = Field(default=15.0, gt=0)
    """A runner that does not renew for so long has lost its attempts."""
    grace_s: float = Field(default=1.0, ge=0)
    """After the end of a lease, before another attempt may start: clocks and queues between hub and runner."""
    scan_s: float = Field(default=1.0, gt=0)
    """How often the store is looked through for what a lost wake-up left behind, and for what is due."""
    start_ack_s: float = Field(default=5.0, gt=0)
    """How long a runner may take to say whether it starts an attempt; then the lease decides."""
    cancel_ack_s: float = Field(default=5.0, gt=0)
    refused_wait_s: float = Field(default=0.5, gt=0)
    """A refused task waits this long, and longer with every refusal in a row (up to 30 times as long)."""
    starts: int = Field(default=256, ge=1)
    """Attempts being handed to runners at once."""
    agent_attempts: int = Field(default=256, ge=1)
    """Attempts an attached agent is given at once before it said how many it takes; it may refuse earlier."""
    backlog: int = Field(default=20_000, ge=1)
    """Queued tasks remembered at once; the store has them all, the next scan brings the rest."""
    report_batch: int = Field(default=256, ge=1)
    reports_ack_wait_s: float = Field(default=30.0, gt=0)
    started_linger_s: float = Field(default=0.004, ge=0)
    """How long a lone "started" waits for the result of a short task, so that both are one write."""
    poll_s: float = Field(default=1.0, gt=0)
    """A reader of updates looks into the store this often, in case another replica wrote and no wake-up came."""
    updates_kept: int = Field(default=2048, ge=64)
    """Updates kept of one task; a reader that asks for older ones gets a gap marker."""
    retention_s: float = Field(default=7 * 86_400.0, gt=0)
    """Ended tasks are forgotten after this time, and with them their ids."""
    close_s: float = Field(default=3.0, gt=0)
