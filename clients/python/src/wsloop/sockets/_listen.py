"""The socket at which wsloop finds an application."""

from __future__ import annotations

import errno
import os
import socket
import stat


def listen(path: str, mode: int = 0o600) -> socket.socket:
    """Listens at ``path``, in the place of a socket that nobody listens at any more. Who may connect
    is said before the file is there, so that nobody else gets in between."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(listener.fileno(), mode)
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_abandoned(path):
                raise
            os.unlink(path)
            listener.bind(path)
        os.chmod(path, mode)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _is_abandoned(path: str) -> bool:
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED
