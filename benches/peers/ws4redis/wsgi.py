"""ws4redis's loop for uWSGI, with the sockets of gevent, as its documentation has it.

Usage: REDIS_PORT=PORT uwsgi --http-socket 127.0.0.1:PORT --gevent 500 --wsgi-file wsgi.py
"""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import gevent.socket
import redis.connection

redis.connection.socket = gevent.socket

from ws4redis.uwsgi_runserver import uWSGIWebsocketServer

application = uWSGIWebsocketServer()
