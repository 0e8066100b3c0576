"""The project of ``tests``, with a database that its processes share."""

import os

from tests.project.settings import *  # noqa: F403

ROOT_URLCONF = "deployed.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["DEPLOYED_DATABASE"],
        "OPTIONS": {"timeout": 20},
    }
}
# Its connections are told apart from others by the name.
WSLOOP_REDIS = {
    "host": "127.0.0.1",
    "port": int(os.environ["DEPLOYED_REDIS_PORT"]),
    "client_name": "publisher",
}
WSLOOP_URI = os.environ.get("DEPLOYED_WEBSOCKETS")
