"""Who has which slots of a Redis Cluster, and what becomes of commands that are sent there.

It has no connection: the pools send, and hand over what was answered.

Rules:
- A command that was answered by MOVED, ASK, TRYAGAIN or CLUSTERDOWN was not done, and is sent again
  where it belongs, for a limited time. One that may have been done is not.
- The nodes are asked in turn who has which slots, and the newest of what they say counts. One that
  says that it cannot serve is believed only while nothing else is known.
- A node that does not answer is left alone for a while, as long as others do.
- MULTI and EXEC hold for the channels of one slot, as in any cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import redis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from ._exchange import LONGEST_WAIT, Command, channel_of, framed
from ._places import Cluster

Address = tuple[str, int]

#: After so many seconds the cluster is asked about itself again, if somebody publishes.
LOOK_EVERY = 1.0
#: So many seconds a node that did not answer is not asked about it.
LEFT_ALONE = 10.0
#: Between two attempts, in seconds.
PAUSE = 0.05
#: Redirections that are followed without a pause.
MOST_HOPS = 3
#: What a node is asked about the cluster.
QUESTIONS: list[Command] = [("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")]

# The answers of a node that has not done what it was told. redis-py's MOVED is a kind of its ASK,
# and which of its connections know these words depends on its version.
_NOT_DONE = {
    "MOVED": MovedError,
    "ASK": AskError,
    "TRYAGAIN": TryAgainError,
    "CLUSTERDOWN": ClusterDownError,
}


class Unreached(Exception):
    """There is no connection, so that nothing was sent."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        #: As it would be raised elsewhere.
        self.why = why


class Said(NamedTuple):
    """What a node says of the cluster."""

    serves: bool
    epoch: int
    #: First and last slot, and the nodes that have them, the master first.
    ranges: list[tuple[int, int, list[Address]]]


class Slots:
    """What is known of one cluster."""

    def __init__(self, place: Cluster) -> None:
        self._seeds = place.addresses
        self._members: list[Address] = []
        self._owners: dict[int, Address] = {}
        self._left_alone: dict[Address, float] = {}
        self._due = 0.0
        self._epoch = 0
        self._asked = 0

    @property
    def is_known(self) -> bool:
        """Whether somebody has said who has which slots."""
        return bool(self._owners)

    def has(self, address: Address) -> bool:
        """Whether it is a node's, as far as is known."""
        return address in self._members or address in self._seeds

    def is_due(self, now: float) -> bool:
        """Whether the cluster is to be asked before anything is sent."""
        return not self.is_known or now >= self._due

    def to_ask(self, now: float) -> list[Address]:
        """Whom, one after the other until one is believed."""
        self._due = now + LOOK_EVERY
        self._asked += 1
        first = self._asked % max(1, len(self._members))
        every = [*self._members[first:], *self._members[:first]]
        every += [seed for seed in self._seeds if seed not in every]
        return [each for each in every if self._left_alone.get(each, 0.0) <= now] or every

    def is_silent(self, address: Address, now: float) -> None:
        """One has not answered."""
        self._left_alone = {
            each: until for each, until in self._left_alone.items() if until > now
        }
        self._left_alone[address] = now + LEFT_ALONE

    def believes(self, said: Said) -> bool:
        """Takes what a node says, if it can serve and knows nothing newer than what is known."""
        if not said.serves or said.epoch < self._epoch:
            return False
        self._adopt(said)
        return True

    def concluded(
        self, asked: int, others: Sequence[Said], failures: Sequence[tuple[Address, Exception]]
    ) -> None:
        """Nobody was believed: an error that says why, if nothing is known."""
        # It was set up anew, when most know nothing that is as new as what was known.
        is_anew = len(others) * 2 > asked and any(said.serves for said in others)
        if others and (is_anew or not self.is_known):
            self._adopt(max(others, key=lambda said: (said.serves, said.epoch)))
        if self.is_known:
            return
        whys = "; ".join(f"{host}:{port}: {why}" for (host, port), why in failures)
        text = f"no node of the cluster says who has which slots: {whys}"
        # What one refuses it will refuse again; the others may come back.
        if all(isinstance(why, redis.ResponseError) for _, why in failures):
            raise redis.ResponseError(text)
        raise redis.ConnectionError(f"{text}; nothing was published")

    def owner(self, slot: int) -> Optional[Address]:
        """Who has a slot."""
        return self._owners.get(slot)

    def moved(self, slot: int, address: Address) -> None:
        """A slot was found to be somewhere."""
        self._owners[slot] = address

    def doubt(self) -> None:
        """Something went wrong: the cluster is asked at once."""
        self._due = 0.0

    def _adopt(self, said: Said) -> None:
        self._epoch = said.epoch
        masters: list[Address] = []
        others: list[Address] = []
        for first, last, (master, *replicas) in said.ranges:
            self._owners.update(dict.fromkeys(range(first, last + 1), master))
            masters.append(master)
            others += replicas
        self._members = list(dict.fromkeys((*masters, *others)))


class Parcel(NamedTuple):
    """What is sent to one node at one time."""

    address: Address
    #: As it is sent.
    sent: list[Command]
    #: Which commands these are, and where their answers are among all.
    places: list[tuple[int, slice]]


class Course:
    """What has become of some commands."""

    def __init__(
        self, slots: Slots, commands: list[Command], transaction: bool, now: float
    ) -> None:
        self._slots = slots
        self._commands = commands
        self._end = now + LONGEST_WAIT
        self._hops = 0
        by_slot: dict[int, list[int]] = {}
        for place, command in enumerate(commands):
            by_slot.setdefault(key_slot(channel_of(command).encode()), []).append(place)
        self._transaction = transaction
        # What goes together, and its slot.
        self._left: list[tuple[int, list[int]]] = []
        for slot, places in by_slot.items():
            self._left += [(slot, places)] if transaction else [(slot, [at]) for at in places]
        self._asking: dict[int, Address] = {}
        self._answers: dict[int, Any] = {}
        self._sent: dict[int, tuple[int, list[int]]] = {}
        self._refusal: Optional[Exception] = None
        self._failure: Optional[Exception] = None
        self._missed: Optional[Exception] = None

    def parcels(self) -> list[Parcel]:
        """What is to be sent now, node by node."""
        self._hops += 1
        self._missed = None
        parcels: dict[Address, Parcel] = {}
        nowhere = []
        for slot, places in sorted(self._left, key=lambda each: each[1]):
            asked = self._asking.pop(places[0], None)
            address = asked or self._slots.owner(slot)
            if address is None:
                nowhere.append((slot, places))
                continue
            parcel = parcels.setdefault(address, Parcel(address, [], []))
            commands = framed([self._commands[place] for place in places], self._transaction)
            if asked:
                parcel.sent.append(("ASKING",))
            first = len(parcel.sent)
            parcel.sent.extend(commands)
            parcel.places.append((places[0], slice(first, first + len(commands))))
        if nowhere:
            self._slots.doubt()
            why = "nobody in the cluster has the slot of a channel"
            self._missed = redis.ConnectionError(f"{why}; nothing was published there")
        self._sent = {places[0]: (slot, places) for slot, places in self._left}
        self._left = nowhere
        return list(parcels.values())

    def answered(self, parcel: Parcel, answers: list[Any]) -> None:
        """A node has answered."""
        for place, where in parcel.places:
            theirs = answers[where]
            slot, places = self._sent[place]
            refusal = next((each for each in theirs if _word_of(each)), None)
            if refusal is not None:
                self._sent_on(parcel.address, slot, places, refusal)
                continue
            executed = theirs[-1] if self._transaction else theirs
            executed = executed if isinstance(executed, list) else []
            errors = (each for each in (*theirs, *executed) if isinstance(each, Exception))
            self._failure = self._failure or next(errors, None)
            self._answers.update(zip(places, executed))

    def unreached(self, parcel: Parcel, why: Exception) -> None:
        """There was no connection to a node, and nothing was sent."""
        self._slots.doubt()
        self._missed = why
        self._left += [self._sent[place] for place, _ in parcel.places]

    def failed(self, why: Exception) -> None:
        """Something was sent, and there are no answers to it."""
        self._slots.doubt()
        self._failure = self._failure or why

    def is_over(self, now: float) -> bool:
        """Whether nothing more is to be sent."""
        return not self._left or now + PAUSE >= self._end

    def pause(self) -> float:
        """How long to wait before the next attempt, in seconds."""
        is_elsewhere = self._missed is None and _word_of(self._refusal) in ("MOVED", "ASK")
        return 0.0 if is_elsewhere and self._hops <= MOST_HOPS else PAUSE

    def outcome(self) -> list[Any]:
        """The answers to the commands; the first error is raised."""
        failure = self._failure
        if failure is None and self._left:
            failure = self._missed or self._refusal
        if failure is not None:
            raise failure
        return [self._answers[place] for place in range(len(self._commands))]

    def _sent_on(
        self, asked: Address, slot: int, places: list[int], refusal: Exception
    ) -> None:
        self._slots.doubt()
        self._refusal = refusal
        self._left.append((slot, places))
        word = _word_of(refusal)
        if word not in ("MOVED", "ASK"):
            return
        # The slot, and the host and port, behind the word where that is still there.
        host, _, port = str(refusal).split(" ")[-1].rpartition(":")
        address = (asked[0] if host in ("", "?") else host), int(port)
        if word == "MOVED":
            self._slots.moved(slot, address)
        else:
            self._asking[places[0]] = address


def _word_of(answer: Any) -> Optional[str]:
    """The word by which a node says that it has not done what it was told."""
    if not isinstance(answer, redis.ResponseError):
        return None
    for word, kind in _NOT_DONE.items():
        if isinstance(answer, kind) or str(answer).startswith(f"{word} "):
            return word
    return None


def said_of(answers: list[Any], asked: Address) -> Said:
    """What a node has answered. redis.ResponseError is for what is no answer of a cluster."""
    info, slots = answers
    try:
        lines = (line.strip().partition(":") for line in _text(info).splitlines())
        state = {key: value for key, _, value in lines}
        ranges = [
            (int(first), int(last), [_address(node, asked) for node in nodes])
            for first, last, *nodes in slots
            if nodes
        ]
        said = Said(
            state["cluster_state"] == "ok", int(state["cluster_current_epoch"]), ranges
        )
    except (TypeError, ValueError, LookupError, AttributeError):
        raise redis.ResponseError("this is no answer of a cluster") from None
    if not ranges:
        raise redis.ResponseError("nobody has any slots there")
    return said


def _address(node: Any, asked: Address) -> Address:
    # A node may not know by which name it is reached.
    host = _text(node[0]) if node[0] else ""
    return (asked[0] if host in ("", "?") else host), int(node[1])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
