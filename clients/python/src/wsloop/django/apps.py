"""The app's entry."""

from django.apps import AppConfig


class WsloopConfig(AppConfig):
    """``wsloop.django``, labelled ``wsloop``."""

    name = "wsloop.django"
    label = "wsloop"

    def ready(self) -> None:
        """Listens for logins and logouts."""
        from . import signals  # noqa: F401
