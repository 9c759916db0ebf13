"""The error of the demo."""

from exporter.errors import ArgusError


class DemoError(ArgusError):
    """The demo cannot run."""
