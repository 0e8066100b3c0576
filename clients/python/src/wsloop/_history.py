"""Which channels keep their last messages, and the command that adds to them what is published.

The rules are those of the server's ``--history``; the names and the script are in the book's page
about history.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Optional, Union

#: One rule or several with commas between, or a collection of them.
Rules = Union[str, "list[str]", "tuple[str, ...]"]

#: Limits of the server.
MOST_MESSAGES = 100_000
LONGEST_SECONDS = 100 * 365 * 24 * 3600

# It adds a message to a stream and publishes it, as one. The server has the same to the letter.
SCRIPT = """\
local kept = redis.pcall('XADD', KEYS[1], 'MAXLEN', '=', ARGV[3], '*', 'message', ARGV[2])
local heard = redis.call('PUBLISH', ARGV[1], ARGV[2])
if type(kept) == 'table' then
  return redis.error_reply('UNKEPT ' .. kept.err)
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return heard
"""
# The same where only the shard of the channel is told.
SHARDED_SCRIPT = SCRIPT.replace("'PUBLISH'", "'SPUBLISH'")


class Rule(NamedTuple):
    """How much is kept of the channels that it fits."""

    facility: "re.Pattern[str]"
    messages: int
    seconds: int


def rules_of(rules: Optional[Rules], name: str) -> tuple[Rule, ...]:
    """Reads rules such as ``chat/*=100/300``. What is wrong is an error with this name."""
    if rules is None:
        return ()
    if not isinstance(rules, (str, list, tuple)):
        raise TypeError(f"{name} is a text such as 'chat/*=100/300', not {rules!r}")
    texts = rules.split(",") if isinstance(rules, str) else rules
    return tuple(_rule(text, name) for text in texts if not isinstance(text, str) or text.strip())


def _rule(text: Any, name: str) -> Rule:
    wrong = f"{name} is 'chat/*=100/300' for 100 messages and 300 seconds, not {text!r}"
    if not isinstance(text, str):
        raise TypeError(wrong)
    parts = re.fullmatch(r"\s*(.*?)\s*=\s*([0-9]+)\s*/\s*([0-9]+)\s*", text, re.DOTALL)
    if parts is None or "{" in parts[1] or "}" in parts[1]:
        raise ValueError(wrong)
    messages, seconds = int(parts[2]), int(parts[3])
    if not 1 <= messages <= MOST_MESSAGES or not 1 <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"{name} has a number that is out of range: {text!r}")
    pattern = ".*".join(re.escape(part) for part in parts[1].split("*"))
    return Rule(re.compile(pattern, re.DOTALL), messages, seconds)


def recording(
    rules: tuple[Rule, ...], prefix: str, channel: str, message: Any, sharded: bool = False
) -> Optional[tuple[Any, ...]]:
    """The command that publishes a message and adds it to the channel's history, if it has one."""
    if not rules or "{" in channel or "}" in channel:
        return None
    facility = _facility(channel, prefix)
    rule = next((rule for rule in rules if rule.facility.fullmatch(facility)), None)
    if rule is None:
        return None
    stream = f"wsloop:history:{{{channel}}}"
    script = SHARDED_SCRIPT if sharded else SCRIPT
    return ("EVAL", script, 1, stream, channel, message, rule.messages, rule.seconds * 1000)


def _facility(channel: str, prefix: str) -> str:
    name = channel[len(prefix) + 1 :] if prefix else channel
    audience, _, rest = name.partition(":")
    return rest if audience == "broadcast" else rest.rpartition(":")[2]
