#!/usr/bin/python3
"""Flask tells wsloop who a browser belongs to. It needs Flask only (python3-flask).

This is an example: whoever says that they are john is john, without a password.
"""

import os
import secrets
from pathlib import Path

from flask import Flask, redirect, request, send_file, session

GROUPS = {"john": ["chatusers"]}
BANNED = {"banned"}

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_hex()
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"


@app.get("/")
def page():
    return send_file(Path(__file__).with_name("page.html"))


@app.post("/login")
def login():
    session.clear()
    session["user"] = request.args["user"]
    return redirect("/", 303)


@app.post("/logout")
def logout():
    session.clear()
    return redirect("/", 303)


@app.get("/wsloop-auth")
def wsloop_auth():
    """What wsloop asks. Keep it from the public, and from whatever redirects to a login page."""
    user = session.get("user")
    if user is None:
        return ""
    if user in BANNED:
        return "You are banned.", 403
    groups = ",".join(GROUPS.get(user, []))
    return "", {"X-Wsloop-User": header(user), "X-Wsloop-Groups": header(groups)}


def header(name):
    """WSGI writes headers in Latin-1, and wsloop reads UTF-8."""
    return name.encode().decode("latin-1")
