#!/usr/bin/python3
"""Flask tells wsloop who a browser belongs to. It needs Flask only (python3-flask).

This is an example: whoever says that they are john is john, without a password.
"""

import os
import re
import secrets
from pathlib import Path
from urllib.parse import quote

from flask import Flask, abort, redirect, request, send_file, session

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
    groups = GROUPS.get(user, [])
    return "", {"X-Wsloop-User-Encoded": header(user), "X-Wsloop-Groups-Encoded": header(*groups)}


def header(*names):
    """The names as wsloop takes them. One with blanks around it or control characters is none."""
    if any(name != name.strip() or re.search(r"[\x00-\x1f\x7f-\x9f]", name) for name in names):
        abort(403, "This name cannot be used.")
    return ",".join(quote(name, safe="") for name in names)
