"""What gunicorn and uvicorn serve. A server that preloads imports this before it forks."""

import asyncio
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deployed.settings")

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

wsgi = get_wsgi_application()
asgi = get_asgi_application()

from wsloop import RedisPublisher, aio  # noqa: E402

# The connection that is open at the fork is not the workers'.
RedisPublisher(facility="fac", broadcast=True).publish_message("preloaded", expire=0)


async def publish():
    await aio.RedisPublisher(facility="fac", broadcast=True).publish_message("preloaded", expire=0)


if os.environ.get("DEPLOYED_PRELOADS"):
    asyncio.run(publish())
