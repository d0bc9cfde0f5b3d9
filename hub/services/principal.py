"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

Kind = Literal["agent", "operator", "system"]


@dataclass(frozen=True, slots=True)
class Principal:
    """``address`` is the asker's on the bus, proved by the subject; empty for people who come through the gateway."""

    kind: Kind
    address: str = ""

    @classmethod
    def of_caller(cls, address: str) -> Self:
        """The sender of a call on the bus."""
        return cls("system" if address.startswith("_") else "agent", address)

    @property
    def owner(self) -> str:
        """What things made for it are marked with."""
        return self.address if self.kind == "agent" else ""


OPERATOR = Principal("operator")
SYSTEM = Principal("system")
