"""The smallest Django project that ws4redis runs in."""

import os

SECRET_KEY = "of a benchmark on loopback"
INSTALLED_APPS = ["django.contrib.sessions", "ws4redis"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
WEBSOCKET_URL = "/ws/"
WS4REDIS_CONNECTION = {"host": "127.0.0.1", "port": int(os.environ["REDIS_PORT"])}
WS4REDIS_EXPIRE = 3600
