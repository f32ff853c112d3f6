"""Who may use the service: API keys, and what needs none."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from pydantic import BaseModel, Field, SecretStr, field_validator

from settings.listed import Listed


class AccessSettings(BaseModel):
    """Where the keys are, and what is open to those without one."""

    api_keys_file: Path | None = Field(
        None,
        description="File with the API keys, as python -m api.keys writes it; changes of it take "
        "effect within seconds",
    )
    api_keys: SecretStr | None = Field(
        None,
        description="API keys themselves: what such a file holds, or lines of ID:SHA256[:SCOPE]. "
        "Hashes only, never a key",
    )
    api_keys_in_store: bool = Field(
        False,
        description="The API keys are in SD_STORE, for all hosts that share it: python -m api.keys "
        "writes them there as well, and changes take effect within seconds",
    )
    allow_anonymous: bool = Field(
        False,
        description="Without keys: serve whoever reaches an address that is not a loopback one",
    )
    public_docs: bool = Field(
        False, description="With keys: show the page at / and the OpenAPI document to everybody"
    )
    metrics_from: Listed[str] = Field(
        (),
        description="With keys: addresses and networks, comma-separated, whose requests for "
        "/metrics need none, such as 127.0.0.1 or that of Prometheus",
    )

    @field_validator("metrics_from")
    @classmethod
    def _metrics_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks

    @property
    def has_keys(self) -> bool:
        """Whether clients need a key, even if there is none yet."""
        named = self.api_keys_file is not None or self.api_keys is not None
        return named or self.api_keys_in_store
