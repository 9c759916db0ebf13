"""Web configuration files with the certificates that they name."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography import x509

from tests.kit.web import Pair, make_pair, password_hash

TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
CLIENTS = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"


class WebFiles:
    """A web configuration file, an authority and certificates signed by it, in one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_pair(folder, "ca")
        self.server = make_pair(folder, "server", self.authority)
        self.path = folder / "web.yml"

    def write(self, text: str) -> Path:
        """Replaces the web configuration file by a rename, as an editor does."""
        fresh = self.folder / "web.yml.new"
        fresh.write_text(text)
        fresh.replace(self.path)
        return self.path

    def client(self, name: str, *sans: x509.GeneralName) -> Pair:
        """A client's certificate."""
        return make_pair(self.folder, name, self.authority, sans)


def users(**passwords: str) -> str:
    """The section `basic_auth_users`."""
    lines = "".join(f"  {name}: {password_hash(password)}\n" for name, password in passwords.items())
    return f"basic_auth_users:\n{lines}"


def basic(user: str, password: str) -> dict[str, str]:
    """The header of a login."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
