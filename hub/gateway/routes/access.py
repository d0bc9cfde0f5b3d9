"""What a handler gets from the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Path, Request

from schemas.ids import check_name

if TYPE_CHECKING:
    from box_agent.agent import Agent
    from hub.app import Hub
    from hub.services import Services


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


def _services(request: Request) -> Services:
    """The services of the tenant in ``X-Boxhub-Tenant``, the default tenant without one."""
    hub = _hub(request)
    tenant = request.headers.get("x-boxhub-tenant", hub.settings.tenant)
    return hub.services(check_name(tenant, "tenant"))


def _agent(request: Request) -> Agent:
    return _hub(request).agent


HubOf = Annotated[Any, Depends(_hub)]
ServicesOf = Annotated[Any, Depends(_services)]
AgentOf = Annotated[Any, Depends(_agent)]
Id = Annotated[str, Path(pattern=r"^_?[a-z0-9][a-z0-9_-]{0,62}$")]
ConversationId = Annotated[str, Path(pattern=r"^@?_?[a-z0-9][a-z0-9_-]{0,62}$")]
"""Of a conversation, or ``@`` and the id of a branch."""
