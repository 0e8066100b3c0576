"""Pages that listen, and views that publish in every way there is."""

import asyncio

from asgiref.sync import async_to_sync
from django.contrib.staticfiles.views import serve
from django.http import HttpResponse, JsonResponse
from django.template import RequestContext, Template
from django.urls import path
from tests.project.urls import urlpatterns as tests_patterns
from wsloop import RedisPublisher, aio

PAGE = """{% load wsloop %}<!doctype html>
<title>a page that listens</title>
<link rel="icon" href="data:,">
<script type="module">
  import { WSLoop } from '/static/wsloop/wsloop.mjs';
  const options = ['broadcast', 'user', 'session'].map((who) => `subscribe-${who}`).join('&');
  window.heard = [];
  window.codes = [];
  window.loop = new WSLoop(`{% websocket_uri %}fac?${options}`);
  loop.addEventListener('message', ({ data }) => heard.push(data));
  loop.addEventListener('close', ({ code }) => codes.push(code));
</script>
"""


def page(request):
    return HttpResponse(Template(PAGE).render(RequestContext(request)))


def publish(request):
    """To the user or session that is named, or to everybody."""
    audience = {f"{who}s": [request.GET[who]] for who in ("user", "session") if who in request.GET}
    publisher = RedisPublisher(facility="fac", **audience or {"broadcast": True})
    return JsonResponse(publisher.publish_message(request.GET["text"], expire=0)._asdict())


async def publish_async(request):
    publisher = aio.RedisPublisher(facility="fac", broadcast=True)
    published = await publisher.publish_message(request.GET["text"], expire=0)
    return JsonResponse(published._asdict())


def publish_by_a_loop_of_its_own(request):
    return asyncio.run(publish_async(request))


urlpatterns = [
    path("page/", page),
    path("publish/", publish),
    path("publish-async/", publish_async),
    path("publish-to-sync/", lambda request: async_to_sync(publish_async)(request)),
    path("publish-by-a-loop/", publish_by_a_loop_of_its_own),
    path("static/<path:path>", serve, {"insecure": True}),
    *tests_patterns,
]
