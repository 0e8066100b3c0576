"""Callbacks as they were written for ws4redis."""

from types import SimpleNamespace

from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext_lazy


def denies(request, channels):
    raise PermissionDenied("not for you")


def only_logged_in(request, channels):
    if not request.user.is_authenticated:
        raise PermissionDenied("log in first")
    return channels


def denies_on_demand(request, channels):
    if request.GET.get("deny-channels") == "YES":
        raise PermissionDenied("the query asks for it")
    return channels


def only_broadcast(request, channels):
    return set(channels).intersection(["subscribe-broadcast"])


def nothing(request, channels):
    return []


def returns_none(request, channels):
    return None


def returns_text(request, channels):
    return "subscribe-broadcast"


def attribute_error(request, channels):
    return request.user.no_such_attribute


def by_path(request, channels):
    if request.path_info == "/ws/grüße" and request.GET["token"] == "a b":
        return channels
    raise PermissionDenied(f"{request.path_info} {request.GET}")


def process_request(request):
    request.session = None
    request.user = SimpleNamespace(is_authenticated=True, username="from a token")


def more_groups(user):
    return ["everyone", f"own-{user.get_username()}"]


def odd_groups(user):
    return [gettext_lazy("lazy"), *user.groups.all(), 7, b"bytes", ("row",), None]


def one_group(user):
    return "staff"


def no_groups(user):
    return None


def named_by_bytes(request):
    request.session = None
    request.user = SimpleNamespace(is_authenticated=True, username=b"john")
