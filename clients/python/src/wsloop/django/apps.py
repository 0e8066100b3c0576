"""The app's entry."""

from django.apps import AppConfig
from django.core.checks import register


class WsloopConfig(AppConfig):
    """``wsloop.django``, labelled ``wsloop``."""

    name = "wsloop.django"
    label = "wsloop"

    def ready(self) -> None:
        """Listens for logins and logouts, and adds the system checks."""
        from . import checks, signals  # noqa: F401

        register(checks.left_from_ws4redis, "wsloop")
