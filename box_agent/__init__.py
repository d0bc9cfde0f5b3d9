"""The Box: define it, compose it, talk from it.

================  =====================================================================
``aio``           the async API: `connect` and `Agent`
``sync``          the same verbs, blocking; what this package's own names are
``background``    the event loop that the sync verbs run on
``agent``         `Agent`: an address on the bus, with every verb
``address``       what may stand for an address
``offering``      the skills an agent offers
``runner``        runs attempts of tasks under leases
``ending``        cancels: clean-up that one does not leave half-way, work of others that does not lose one
``discovery``     finds a running hub, or starts one quietly
``config``        settings
``bus/``          everything that touches NATS
``context/``      typed clients of the hub's services
``box/``          Box, skills, composition, fingerprint
``live``          the handle of a live box
``driver``        the port behind which boxes run; ``drivers/`` its adapters
``worker/``       what runs inside a box's process
``node/``         the service that runs boxes on a machine
``files/``        directories to trees and back
``explore/``      search over branches
================  =====================================================================

Names are loaded when first used, so that ``import box_agent`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from box_agent.box.box import Box as Box
    from box_agent.box.context import Context as Context
    from box_agent.box.skill import skill as skill
    from box_agent.bus.received import Event as Event
    from box_agent.bus.received import Message as Message
    from box_agent.bus.received import Signal as Signal
    from box_agent.config import AgentSettings as AgentSettings
    from box_agent.live import LiveBox as LiveBox
    from box_agent.sync import Agent as Agent
    from box_agent.sync import connect as connect
    from schemas import errors as errors

_PLACES = {
    "Agent": "box_agent.sync",
    "AgentSettings": "box_agent.config",
    "Box": "box_agent.box.box",
    "Context": "box_agent.box.context",
    "Event": "box_agent.bus.received",
    "LiveBox": "box_agent.live",
    "Message": "box_agent.bus.received",
    "Signal": "box_agent.bus.received",
    "aio": "",
    "connect": "box_agent.sync",
    "errors": "schemas",
    "skill": "box_agent.box.skill",
    "sync": "",
}
"""Where each public name is; an empty place means a module of this package."""

__all__ = sorted(_PLACES)  # noqa: PLE0605 - a list of str, made from the table


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if place == "":
        return import_module(f"{__name__}.{name}")
    value = import_module(f"{place}.{name}") if name == "errors" else getattr(import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
