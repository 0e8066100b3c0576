#!/usr/bin/python3
"""publish.py NAME MESSAGE (needs python3-redis)"""
import os
import sys

import redis

name, message = sys.argv[1:]
channel = f"broadcast:{name}"
client = redis.Redis.from_url(os.environ.get("WSLOOP_REDIS", "redis://127.0.0.1:6380"))
with client.pipeline(transaction=False) as pipeline:
    pipeline.publish(channel, message)
    pipeline.setex(channel, 3600, message)
    print("receivers:", pipeline.execute()[0])
