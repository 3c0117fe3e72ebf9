"""``tls:``, the certificate of the launcher's own HTTPS."""

from __future__ import annotations

from pydantic import Field

from hotseat.config_fields import ConfigModel


class TlsConfig(ConfigModel):
    """HTTPS served by hotseat itself."""

    cert: str | None = Field(default=None, description="A PEM file with the certificate and its chain.")
    key: str | None = Field(default=None, description="A PEM file with the certificate's private key.")
