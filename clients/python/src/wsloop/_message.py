"""What is published: bytes."""

from __future__ import annotations

from typing import Any, List, Tuple, Union

#: What a message can be made from. A list or tuple is a pub/sub reply of redis-py.
Publishable = Union[str, bytes, bytearray, memoryview, List[Any], Tuple[Any, ...]]


class RedisMessage(bytes):
    """A message as Redis and the browsers get it: text as UTF-8, bytes as they are.

    Also takes a pub/sub reply, ``[b"message", channel, data]``, for its data. Any other type is a
    TypeError: objects have to be serialised by the caller, who knows what the browser expects.
    """

    def __new__(cls, value: Publishable) -> RedisMessage:
        if isinstance(value, (list, tuple)):
            value = _data(value)
        if isinstance(value, str):
            value = value.encode()
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"a message is str or bytes, not {type(value).__name__}")
        return super().__new__(cls, value)


def _data(reply: Any) -> Any:
    if len(reply) != 3 or reply[0] not in (b"message", "message"):
        raise TypeError("a message is str or bytes; this list is no message from Redis either")
    return reply[2]
