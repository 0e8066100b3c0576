"""A project as ws4redis's documentation has it: nothing in here knows of wsloop.

Where things are comes from the environment; the tests that need more override it.
"""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
REDIS_PORT = int(os.environ.get("DROPIN_REDIS_PORT", "6379"))

SECRET_KEY = "known to wsloop by a file"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "ws4redis",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates"],
        "OPTIONS": {"context_processors": ["ws4redis.context_processors.default"]},
    }
]
ROOT_URLCONF = "project.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_REDIRECT_URL = "/"
STATIC_URL = "/static/"
STATICFILES_DIRS = [HERE.parent / "node_modules" / "jquery" / "dist"]

SESSION_ENGINE = "redis_sessions.session"
SESSION_REDIS = {"host": "localhost", "port": REDIS_PORT, "prefix": "session"}

WEBSOCKET_URL = "/ws/"
WS4REDIS_CONNECTION = {"host": "localhost", "port": REDIS_PORT}
WS4REDIS_PREFIX = "demo"
WS4REDIS_EXPIRE = 30
WS4REDIS_HEARTBEAT = "--heartbeat--"
