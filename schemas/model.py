"""The two ancestors of every wire model: strict about what we write, tolerant of newer peers when we read."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A mutable record; unknown fields from a newer peer are ignored."""

    model_config = ConfigDict(extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    def wire(self) -> dict[str, Any]:
        """JSON-able dict without fields that have their default, the form for the bus and the store."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Value(Model):
    """A frozen model: compared by content, hashable where its fields are."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_bytes="base64", val_json_bytes="base64")


def timestamp() -> float:
    """Seconds since the epoch; every ``…_at`` field of a record is one of these."""
    return time.time()
