"""Ends the sockets of a session.

What can go wrong here is logged and never raised: whoever wants to leave must be able to, whatever
else is broken.
"""

from __future__ import annotations

import logging
from typing import Any, Optional

from .. import disconnect

logger = logging.getLogger("wsloop")

#: The page comes back, as who it then is. (Any code would do that is not 1008 or 44xx, which tell
#: wsloop's JavaScript that asking again is useless.)
COME_BACK = 4001
#: Marks a request whose old session has no sockets any more.
_CLOSED = "_wsloop_closed"


def close_sockets(request: Any, key: str, reason: str, code: Optional[int] = None) -> None:
    """Closes the sockets of the session with this key, once for a request."""
    if getattr(request, _CLOSED, None) == key:
        return
    try:
        disconnect(session=key, code=code, reason=reason)
        setattr(request, _CLOSED, key)
    except Exception:
        logger.exception("the sockets of a session could not be closed: %s", reason)
