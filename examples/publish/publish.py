#!/usr/bin/python3
"""publish.py NAME MESSAGE (needs python3-redis)"""
import os
import sys

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

name, message = sys.argv[1:]
channel = f"broadcast:{name}"
url = os.environ.get("WSLOOP_REDIS", "redis://127.0.0.1:6380")
# Nothing is tried again: what went out without an answer may have been published.
client = redis.Redis.from_url(url, socket_timeout=5, retry=Retry(NoBackoff(), 0))
with client.pipeline(transaction=False) as pipeline:
    pipeline.publish(channel, message)
    pipeline.setex(channel, 3600, message)
    print("receivers:", pipeline.execute()[0])
