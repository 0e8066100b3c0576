"""The app's entry."""

from django.apps import AppConfig
from django.core.checks import register


class WsloopConfig(AppConfig):
    """``wsloop.django``, labelled ``wsloop``."""

    name = "wsloop.django"
    label = "wsloop"

    def ready(self) -> None:
        """Looks at the settings, listens for logins and logouts, and adds the system checks."""
        from . import checks, signals, start  # noqa: F401

        start.check_settings()
        register(checks.left_from_ws4redis, "wsloop")
        register(checks.middleware, "wsloop")
