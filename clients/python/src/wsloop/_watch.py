"""Where the sentinels of a Redis say that its master is, and when they are asked again.

It has no connection: the pools ask, and hand over what was answered.

Rules:
- All sentinels are asked, and the newest of their answers counts, so that one that was cut off
  together with an old master misleads nobody.
- A master that the sentinels hold for dead is not gone to, even if it still takes connections.
- What is older than what was followed before counts only where most of the sentinels say it: they
  were set up anew. Whoever reaches only one that was cut off stays where it was.
- When no sentinel answers, Redis stays where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import redis

from ._places import Sentinels

Address = tuple[str, int]

#: After so many seconds sentinels are asked again, if somebody publishes.
LOOK_EVERY = 1.0
#: So many seconds one that did not answer is left alone, as long as others do.
LEFT_ALONE = 10.0
#: Between two attempts to find a master, in seconds.
PAUSE = 0.1


class State(NamedTuple):
    """What one sentinel says. The newest is the greatest, and of equals one that is up."""

    epoch: int
    is_up: bool
    address: Address


class Watch:
    """What is known of one master."""

    def __init__(self, place: Sentinels) -> None:
        self._place = place
        self._left_alone = [0.0] * len(place.sentinels)
        self._due = 0.0
        self._epoch = 0
        #: Where the master is.
        self.known: Optional[Address] = None

    def question(self) -> tuple[str, ...]:
        """What every sentinel is asked."""
        return ("SENTINEL", "MASTER", self._place.name)

    def is_due(self, now: float) -> bool:
        """Whether they are to be asked before anything is sent."""
        return self.known is None or now >= self._due

    def to_ask(self, now: float) -> list[int]:
        """Which of them."""
        every = range(len(self._left_alone))
        return [at for at in every if self._left_alone[at] <= now] or list(every)

    def is_silent(self, at: int, now: float) -> None:
        """One has not answered."""
        self._left_alone[at] = now + LEFT_ALONE

    def concluded(
        self, answers: Sequence[State], failures: Sequence[tuple[int, Exception]], now: float
    ) -> Address:
        """Where the master is by these answers, or an error that says why that is not known."""
        self._due = now + LOOK_EVERY
        if answers:
            newest = max(answers)
            same = sum(each._replace(is_up=newest.is_up) == newest for each in answers)
            if newest.epoch >= self._epoch or same * 2 > len(self._left_alone):
                self._epoch = newest.epoch
                self.known = newest.address if newest.is_up else None
        if self.known is None:
            raise self._not_known(bool(answers), failures)
        return self.known

    def doubt(self, address: Optional[Address] = None) -> None:
        """Something went wrong: they are asked at once, and this address is no longer believed."""
        self._due = 0.0
        if address is not None and self.known == address:
            self.known = None

    def _not_known(self, is_down: bool, failures: Sequence[tuple[int, Exception]]) -> Exception:
        name = self._place.name
        if is_down:
            why = f"the sentinels have no master for {name!r} now"
            return redis.ConnectionError(f"{why}; nothing was published")
        whys = []
        for at, why_not in failures:
            host, port = self._place.addresses[at]
            whys.append(f"{host}:{port}: {why_not}")
        text = f"no sentinel says where {name!r} is: {'; '.join(whys)}"
        # What one refuses it will refuse again; the others may come back.
        is_refused = all(_is_refusal(why_not) for _, why_not in failures)
        return redis.ResponseError(text) if is_refused else redis.ConnectionError(text)


def state_of(reply: Any) -> State:
    """What an answer says. redis.ResponseError is for one that is none."""
    try:
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2])
        said = {_text(key): _text(value) for key, value in pairs}
        flags = said["flags"].split(",")
        is_up = "master" in flags and not {"s_down", "o_down"} & set(flags)
        return State(int(said["config-epoch"]), is_up, (said["ip"], int(said["port"])))
    except (TypeError, ValueError, LookupError, AttributeError):
        raise redis.ResponseError("this is no answer of a sentinel") from None


def is_master(role: Any) -> bool:
    """Whether this is the answer of a master to ROLE."""
    return bool(isinstance(role, list) and role and _text(role[0]) == "master")


def tells_of_a_replica(answers: list[Any]) -> bool:
    """Whether one of these answers came from what is a master no longer."""
    return any(
        isinstance(answer, redis.ReadOnlyError)
        or (isinstance(answer, redis.ResponseError) and "READONLY" in str(answer))
        for answer in answers
    )


def may_pass(why: Exception) -> bool:
    """Whether it may be otherwise in a moment, when the next master is there."""
    return not _is_refusal(why)


def _is_refusal(why: Exception) -> bool:
    return isinstance(why, (redis.ResponseError, redis.AuthenticationError))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
