"""The three chats.

Browsers only listen. To say something they post to a view, which knows who they are and decides
what is published, and to whom: so nobody can say anything in somebody else's name.
"""

import json

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods
from wsloop import RedisPublisher

FACILITY = "foobar"


@require_http_methods(["GET", "HEAD", "POST"])
def everybody(request):
    """One room for all. Whoever opens it has the others greeted."""
    if request.method == "POST":
        return publish(request, broadcast=True)
    RedisPublisher(facility=FACILITY, broadcast=True).publish_message("Hello everybody")
    context = {"facility": FACILITY, "audience": "broadcast"}
    return render(request, "chat/everybody.html", context)


@login_required
def one_user(request):
    """Messages to one user, on every device of theirs."""
    people = User.objects.exclude(pk=request.user.pk).order_by("username")
    if request.method == "POST":
        user = get_object_or_404(people, username=request.POST.get("to"))
        return publish(request, users=[user.username])
    names = [user.username for user in people]
    context = {"facility": FACILITY, "audience": "user", "names": names}
    return render(request, "chat/one_user.html", context)


@login_required
def one_group(request):
    """Messages to all members of a group; only members send them."""
    groups = Group.objects.filter(user=request.user).order_by("name")
    if request.method == "POST":
        group = get_object_or_404(groups, name=request.POST.get("to"))
        return publish(request, groups=[group.name])
    names = [group.name for group in groups]
    context = {"facility": FACILITY, "audience": "group", "names": names}
    return render(request, "chat/one_group.html", context)


def publish(request, **audience):
    """Publishes what was posted, in the name of who is logged in."""
    if not request.user.is_authenticated:
        return HttpResponse("Log in first.", status=403)
    text = request.POST.get("message", "").strip()
    if not text:
        return HttpResponse("Write something first.", status=400)
    message = json.dumps({"from": request.user.username, "text": text})
    RedisPublisher(facility=FACILITY, **audience).publish_message(message)
    return HttpResponse(status=204)
