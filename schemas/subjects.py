"""Every subject on the bus, built and parsed here and nowhere else.

The first token is the tenant, the second the wire version. ``from.<sender>`` is part of every subject a box
publishes on, so that a credential can be limited to speaking as itself; receivers believe the subject, never
the body.

========================================  ==========================================================
``T.v1.inbox.<to>.from.<me>``             direct message, stored in stream ``BOXHUB_T_INBOX``
``T.v1.event.from.<me>.<name…>``          event, stored in stream ``BOXHUB_T_EVENTS``
``T.v1.signal.from.<me>.<name…>``         event that is not stored: progress, logs, presence
``T.v1.call.<box>.from.<me>.<skill>``     skill call, request and reply
``T.v1.control.<box>.from.<me>.<call>``   cancel or more credit for a running call
``T.v1.report.from.<me>.<task>``          what a runner says of an attempt, stream ``BOXHUB_T_REPORTS``
``T.v1.dead.<box>``                       dead letters, stream ``BOXHUB_T_DEAD``
========================================  ==========================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from schemas.errors import InvalidSubject

VERSION: Final = "v1"
DEFAULT_TENANT: Final = "default"
HUB: Final = "_hub"
"""Address of the hub's own skills. System addresses start with ``_``; users' names cannot."""

_TOKEN = re.compile(r"_?[a-z0-9][a-z0-9_-]{0,62}")
_EVENT_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_EVENT_TOKENS: Final = 8

Kind = Literal["inbox", "event", "signal", "call", "control", "report", "dead"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A parsed subject; fields that its kind does not have are empty."""

    tenant: str
    kind: Kind
    sender: str = ""
    box: str = ""
    name: str = ""


@lru_cache(maxsize=4096)
def token(text: str) -> str:
    """``text`` if it may be a tenant, box, node or skill token. Raises `InvalidSubject`."""
    if not isinstance(text, str) or _TOKEN.fullmatch(text) is None:
        raise InvalidSubject(
            f"{text!r} cannot be an address: use 1-63 of a-z, 0-9, '_' and '-', starting with a letter or digit",
            token=str(text)[:100],
        )
    return text


@lru_cache(maxsize=4096)
def event_name(name: str) -> str:
    """``name`` if it may name an event: 1-8 tokens of ``A-Z a-z 0-9 _ -`` joined by dots."""
    tokens = name.split(".") if isinstance(name, str) else []
    if not 1 <= len(tokens) <= _MAX_EVENT_TOKENS or any(_EVENT_TOKEN.fullmatch(t) is None for t in tokens):
        raise InvalidSubject(
            f"event name {str(name)[:100]!r}: use 1-8 tokens of letters, digits, '_' and '-', joined by dots"
        )
    return name


@lru_cache(maxsize=4096)
def event_pattern(pattern: str) -> str:
    """Like `event_name`, where a token may be ``*`` and the last one ``>``."""
    tokens = pattern.split(".") if isinstance(pattern, str) else []
    fits = 1 <= len(tokens) <= _MAX_EVENT_TOKENS and all(
        t == "*" or (t == ">" and i == len(tokens) - 1) or _EVENT_TOKEN.fullmatch(t) for i, t in enumerate(tokens)
    )
    if not fits:
        raise InvalidSubject(
            f"event pattern {str(pattern)[:100]!r}: tokens joined by dots, '*' for one, '>' at the end for the rest"
        )
    return pattern


def inbox(tenant: str, to: str, sender: str) -> str:
    return f"{token(tenant)}.{VERSION}.inbox.{token(to)}.from.{token(sender)}"


def inbox_filter(tenant: str, to: str) -> str:
    """Everything sent to one box, whoever sent it."""
    return f"{token(tenant)}.{VERSION}.inbox.{token(to)}.from.*"


def event(tenant: str, sender: str, name: str) -> str:
    return f"{token(tenant)}.{VERSION}.event.from.{token(sender)}.{event_name(name)}"


def event_filter(tenant: str, pattern: str, sender: str = "*") -> str:
    return f"{token(tenant)}.{VERSION}.event.from.{_or_star(sender)}.{event_pattern(pattern)}"


def signal(tenant: str, sender: str, name: str) -> str:
    return f"{token(tenant)}.{VERSION}.signal.from.{token(sender)}.{event_name(name)}"


def signal_filter(tenant: str, pattern: str, sender: str = "*") -> str:
    return f"{token(tenant)}.{VERSION}.signal.from.{_or_star(sender)}.{event_pattern(pattern)}"


def call(tenant: str, box: str, sender: str, skill: str) -> str:
    return f"{token(tenant)}.{VERSION}.call.{token(box)}.from.{token(sender)}.{token(skill)}"


def call_filter(tenant: str, box: str) -> str:
    """Every call to one box; subscribe in queue group `call_group` so that instances share the load."""
    return f"{token(tenant)}.{VERSION}.call.{token(box)}.from.*.*"


def call_group(box: str) -> str:
    return f"call-{token(box)}"


def control(tenant: str, box: str, sender: str, call_id: str) -> str:
    return f"{token(tenant)}.{VERSION}.control.{token(box)}.from.{token(sender)}.{token(call_id)}"


def control_filter(tenant: str, box: str) -> str:
    return f"{token(tenant)}.{VERSION}.control.{token(box)}.from.*.*"


def report(tenant: str, sender: str, task: str) -> str:
    return f"{token(tenant)}.{VERSION}.report.from.{token(sender)}.{token(task)}"


def dead(tenant: str, box: str) -> str:
    return f"{token(tenant)}.{VERSION}.dead.{token(box)}"


def every(tenant: str, kind: Kind) -> str:
    """The whole of one kind, as a stream binds it."""
    return f"{token(tenant)}.{VERSION}.{kind}.>"


def stream_name(tenant: str, kind: Literal["inbox", "event", "report", "dead"]) -> str:
    names = {"inbox": "INBOX", "event": "EVENTS", "report": "REPORTS", "dead": "DEAD"}
    return f"BOXHUB_{token(tenant)}_{names[kind]}"


@lru_cache(maxsize=16384)
def parse(subject: str) -> Subject:
    """The parts of one of our subjects. Raises `InvalidSubject` for any other."""
    match subject.split("."):
        case [tenant, "v1", "inbox", box, "from", sender] if _all(tenant, box, sender):
            return Subject(tenant, "inbox", sender=sender, box=box)
        case [tenant, "v1", "event" | "signal" as kind, "from", sender, *name] if _all(tenant, sender):
            return Subject(tenant, kind, sender=sender, name=event_name(".".join(name)))
        case [tenant, "v1", "call" | "control" as kind, box, "from", sender, name] if _all(tenant, box, sender, name):
            return Subject(tenant, kind, sender=sender, box=box, name=name)
        case [tenant, "v1", "report", "from", sender, task] if _all(tenant, sender, task):
            return Subject(tenant, "report", sender=sender, name=task)
        case [tenant, "v1", "dead", box] if _all(tenant, box):
            return Subject(tenant, "dead", box=box)
    raise InvalidSubject(f"{subject[:200]!r} is not a subject of this platform")


def source(tenant: str, box: str) -> str:
    """A box as a CloudEvents ``source``."""
    return f"/{token(tenant)}/{token(box)}"


def _all(*tokens: str) -> bool:
    return all(_TOKEN.fullmatch(t) for t in tokens)


def _or_star(sender: str) -> str:
    return "*" if sender == "*" else token(sender)
