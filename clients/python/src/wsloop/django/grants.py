"""Whether browsers may publish.

By default they may not. In ws4redis they might, and a page that came from there would be mute
without a word: so whoever starts wsloop with settings of ws4redis is told.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from .checks import settings_of_ws4redis

_NOTE = """\
Pages that publish (publish-broadcast and so on) are not heard: nothing grants it.
These settings are of ws4redis, which granted it to everybody: {found}.
Where pages need it, grant it facility by facility, in a file that WSLOOP_CONFIG names:
    [[allow]]
    facility = "chat/*"
    audience = "broadcast"
    direction = "publish"
    who = "logged-in"
WSLOOP_ALLOW = "all" grants everything to everybody, as ws4redis did."""


def note(flags: Mapping[str, str], more: Sequence[str]) -> Optional[str]:
    """What is to be said, if the server is started with these flags and these arguments."""
    found = settings_of_ws4redis()
    if not found or _may_publish({**_environment(), **flags, **_parsed(more)}):
        return None
    return _NOTE.format(found=", ".join(found))


def _may_publish(flags: Mapping[str, str]) -> bool:
    if "allow" in flags:
        granted = any(_is_about_publishing(word) for word in re.split(r"[\s,]+", flags["allow"]))
    else:
        # The server's own chat, for which it grants `publish-broadcast`. It is on by itself where
        # there is no Redis, and nobody can be told from anybody.
        needs = {"redis", "auth-url", "session-key", "token-key-file", "require-login"}
        granted = flags.get("demo", "off" if needs & flags.keys() else "on") != "off"
    return granted or ("config" in flags and _rules_say(Path(flags["config"])))


def _rules_say(path: Path) -> bool:
    """Whether the file says anything about publishing; to deny it is to know of it."""
    if sys.version_info < (3, 11):
        return True
    import tomllib

    try:
        said = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        # The server says what is wrong with it.
        return True
    rules = said.get("allow", [])
    rules = re.split(r"[\s,]+", rules) if isinstance(rules, str) else rules
    return said.get("demo") in (True, "on") or any(_is_about_publishing(rule) for rule in rules)


def _is_about_publishing(rule: Any) -> bool:
    if isinstance(rule, str):
        return rule == "all" or rule.startswith("publish-")
    return "publish" in rule.get("direction", "publish")


def _environment() -> dict[str, str]:
    """The server's own variables, which it inherits; empty ones count as not set."""
    names = ("ALLOW", "CONFIG", "DEMO")
    values = ((name.lower(), os.environ.get(f"WSLOOP_{name}")) for name in names)
    return {name: value for name, value in values if value}


def _parsed(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments as flags: ``--flag=value``, ``--flag value``, or ``--flag`` for itself."""
    flags: dict[str, str] = {}
    for at, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        following = arguments[at + 1] if at + 1 < len(arguments) else "--"
        if name.startswith("--"):
            if not separator and not following.startswith("--"):
                value = following
            flags[name[2:]] = value
    return flags
