"""What ends a demo early."""

from exporter.errors import ArgusError


class DemoError(ArgusError):
    """The demo cannot run; the text names what is missing and what would mend it."""
