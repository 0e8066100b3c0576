"""Tasks that publish."""

import asyncio
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deployed.settings")

import django  # noqa: E402

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from celery import Celery  # noqa: E402
from wsloop import RedisPublisher, aio, disconnect  # noqa: E402

BROKER = f"redis://127.0.0.1:{os.environ['DEPLOYED_REDIS_PORT']}/1"
app = Celery("deployed", broker=BROKER, backend=BROKER)

# One that every process of the pool has from before its fork.
publisher = RedisPublisher(facility="fac", broadcast=True)
publisher.publish_message("from the parent", expire=0)


@app.task
def publish(text):
    return publisher.publish_message(text, expire=0).receivers


async def _publish(text):
    mine = aio.RedisPublisher(facility="fac", broadcast=True)
    return (await mine.publish_message(text, expire=0)).receivers


@app.task
def publish_async(text):
    return asyncio.run(_publish(text))


@app.task
def publish_to_sync(text):
    return async_to_sync(_publish)(text)


@app.task
def send_away(name):
    return disconnect(user=name)
