"""Settings for trying it out: no Redis, sessions in SQLite. Not for the public."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "for a demonstration, where there is nothing to protect"
DEBUG = True
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "wsloop.django",
    "chat",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "wsloop.django.middleware.close_old_sockets",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "demo.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("CHAT_DATABASE", BASE_DIR / "db.sqlite3"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STATIC_URL = "/static/"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "everybody"
LOGOUT_REDIRECT_URL = "login"

# Without a Redis, wsloop's own broker does its work. To use a real one: WSLOOP_REDIS=redis://…
WSLOOP_REDIS = os.environ.get("WSLOOP_REDIS") or None
WSLOOP_RESP = os.environ.get("WSLOOP_RESP", "127.0.0.1:6380")
WSLOOP_PREFIX = "demo"
# What was said in the last five minutes, a hundred messages at most, reaches also who was away.
WSLOOP_HISTORY = "foobar=100/300"
WSLOOP_ALLOWED_CHANNELS = "chat.permissions.get_allowed_channels"
# The server has a chat of its own, which this project is in place of.
WSLOOP_DEMO = False

# Where `cargo build` puts the server, when it is not on PATH.
for _profile in ("release", "debug"):
    _built = BASE_DIR.parent.parent / "target" / _profile / "wsloop"
    if "WSLOOP_BINARY" not in os.environ and _built.exists():
        WSLOOP_BINARY = str(_built)
        break
