"""What the project answers."""

from django.contrib.auth import get_user_model, login, logout, update_session_auth_hash
from django.db import transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from wsloop.django import views

BACKEND = "django.contrib.auth.backends.ModelBackend"


def enter(request, name):
    login(request, get_user_model().objects.get(username=name), backend=BACKEND)
    return HttpResponse("welcome")


def enter_and_fail(request, name):
    enter(request, name)
    raise RuntimeError("after the login")


def enter_and_stream(request, name):
    enter(request, name)
    return StreamingHttpResponse(iter(["wel", "come"]))


async def enter_by_asyncio(request, name):
    from asgiref.sync import sync_to_async

    return await sync_to_async(enter)(request, name)


def leave(request):
    logout(request)
    return HttpResponse("bye")


def leave_in_vain(request):
    try:
        with transaction.atomic():
            logout(request)
            raise RuntimeError("after the logout")
    except RuntimeError:
        return HttpResponse("not quite")


def change_password(request):
    request.user.set_password("other")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse("changed")


def flush(request):
    request.session.flush()
    return HttpResponse("forgotten")


def put_into_cart(request):
    request.session["cart"] = 1
    return HttpResponse("there")


urlpatterns = [
    path("", lambda request: HttpResponse("the project's page")),
    path("enter/<name>/", enter),
    path("enter-and-fail/<name>/", enter_and_fail),
    path("enter-and-stream/<name>/", enter_and_stream),
    path("enter-by-asyncio/<name>/", enter_by_asyncio),
    path("leave/", leave),
    path("leave-in-vain/", leave_in_vain),
    path("password/", change_password),
    path("flush/", flush),
    path("cart/", put_into_cart),
    path("wsloop/auth/", views.auth),
]
