"""Every setting the example reads from the environment."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class LlmSettings(BaseSettings):
    """An OpenAI-compatible endpoint. With a ``url`` an LLM coder joins the team (``BOXHUB_LLM_URL`` …)."""

    model_config = SettingsConfigDict(env_prefix="BOXHUB_LLM_", frozen=True)

    url: str = ""  # up to and without /chat/completions
    model: str = "default"
    key: SecretStr = SecretStr("")
    timeout_s: float = Field(default=120.0, gt=0)
    proposals: int = Field(default=8, ge=1)  # how often it is asked
    max_tokens: int = Field(default=12_000, ge=500)  # of the prompt


class DemoSettings(BaseSettings):
    """``DEMO_EXIT=1``: end when the repair has ended instead of staying up for a look at the dashboard."""

    model_config = SettingsConfigDict(env_prefix="DEMO_", frozen=True)

    exit: bool = False
