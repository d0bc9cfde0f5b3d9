"""What a Box acts with: each verb as the attached agent of its name, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from box_agent.live import SyncLiveBox


class Verbs:
    """The agent joins the bus when the first verb is used; with no hub around, a private one is started."""

    name: str

    def spawn(self, **options: Any) -> SyncLiveBox:
        """A live box, ready; its skills are methods. Options: ``branch``, ``isolation``, ``node``, ``timeout_s``."""
        from box_agent import sync

        return sync.agent_for(self.name).spawn(self, **options)

    def send_message(self, to: Any, data: Any = None, **options: Any) -> str:
        """Send to another Box; returns the message id when it is stored."""
        from box_agent import sync

        return str(sync.agent_for(self.name).send_message(to, data, **options))

    def publish_event(self, name: str, data: Any = None, **options: Any) -> int:
        """Publish to whoever subscribed; returns the sequence when it is stored."""
        from box_agent import sync

        return int(sync.agent_for(self.name).publish_event(name, data, **options))

    def on_event(self, pattern: str, handler: Callable[[Any], Any], **options: Any) -> Any:
        """Call ``handler(event)``, in a thread of its own, for every event that fits."""
        from box_agent import sync

        return sync.agent_for(self.name).on_event(pattern, handler, **options)

    def on_message(self, handler: Callable[[Any], Any], **options: Any) -> Any:
        """Call ``handler(message)`` for everything sent to this Box's name."""
        from box_agent import sync

        return sync.agent_for(self.name).on_message(handler, **options)

    def call(self, box: Any, skill: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a skill of another box and wait for its result."""
        from box_agent import sync

        return sync.agent_for(self.name).call(box, skill, *args, **kwargs)
