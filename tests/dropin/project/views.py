"""A page that listens, and views that publish and fetch: as projects with ws4redis have them.

``whoami`` alone is for wsloop.
"""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from ws4redis.publisher import RedisPublisher
from ws4redis.redis_store import SELF, RedisMessage

FACILITY = "foobar"


def page(request):
    """Listens to what the query says, and sends if that says so."""
    options = request.META["QUERY_STRING"]
    return render(request, "page.html", {"facility": FACILITY, "options": options})


@csrf_exempt
def publish(request):
    """Publishes ``message`` to ``broadcast``, ``groups``, ``users`` and ``sessions``."""
    audience = {
        name: [SELF if who == "SELF" else who for who in request.POST.getlist(name)]
        for name in ("groups", "users", "sessions")
    }
    audience["broadcast"] = "broadcast" in request.POST
    publisher = RedisPublisher(request=request, facility=FACILITY, **audience)
    publisher.publish_message(RedisMessage(request.POST["message"]))
    return HttpResponse(status=204)


def fetch(request):
    """The message that is stored for ``audience``."""
    found = RedisPublisher().fetch_message(request, FACILITY, request.GET["audience"])
    return HttpResponse(found or b"", status=200 if found else 404)


def whoami(request):
    """Tells wsloop whose WebSocket it is, for ``--auth-url``."""
    response = HttpResponse(status=204)
    if request.user.is_authenticated:
        response["X-Wsloop-User"] = request.user.get_username().encode()
        response["X-Wsloop-Groups"] = ",".join(request.session["ws4redis:memberof"]).encode()
    if request.session.session_key:
        response["X-Wsloop-Session"] = request.session.session_key
    return response
