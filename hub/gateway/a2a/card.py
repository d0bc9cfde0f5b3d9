"""The agent card of one box."""

from __future__ import annotations

from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)

from schemas.box import LiveBox

PROTOCOL_VERSION = "1.0"


def card_of(box: LiveBox, base_url: str) -> AgentCard:
    """What the box can do and where to reach it. ``base_url`` ends without a slash."""
    url = f"{base_url}/a2a/{box.id}"
    return AgentCard(
        name=box.id,
        description=box.description or f"box {box.box or box.id}",
        version=box.fingerprint[:12] or "0",
        supported_interfaces=[
            AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version=PROTOCOL_VERSION),
            AgentInterface(url=f"{url}/v1", protocol_binding="HTTP+JSON", protocol_version=PROTOCOL_VERSION),
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=False),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=[
            AgentSkill(
                id=s.name,
                name=s.name,
                description=s.description or s.name,
                tags=[box.box or "box", f"isolation:{box.isolation}"],
            )
            for s in box.skills
        ],
        security_schemes={"bearer": SecurityScheme(http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="bearer"))},
        security_requirements=[SecurityRequirement(schemes={"bearer": StringList()})],
    )
