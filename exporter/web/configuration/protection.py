"""Whether a new web configuration protects less than the one in force."""

from __future__ import annotations

from exporter.web.configuration.webconfig import WebConfig
from exporter.web.tls.parameters import REQUIRED


def lowered(old: WebConfig, new: WebConfig) -> str:
    """The protection that `old` gives and `new` does not; "" = none.

    A file that an editor or a script is just writing may end after any line, and still be valid YAML.
    """
    if old.users and not new.users:
        return "basic_auth_users"
    if old.tls and not new.tls:
        return "tls_server_config"
    if old.tls and new.tls:
        if new.tls.client_auth != old.tls.client_auth == REQUIRED:
            return f"client_auth_type: {REQUIRED}"
        if old.tls.client_allowed_sans and not new.tls.client_allowed_sans:
            return "client_allowed_sans"
    return ""
