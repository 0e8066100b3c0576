"""What the project answers."""

from django.contrib.auth import logout
from django.http import HttpResponse
from django.urls import path
from wsloop.django import views


def leave(request):
    logout(request)
    return HttpResponse("bye")


urlpatterns = [
    path("", lambda request: HttpResponse("the project's page")),
    path("leave/", leave),
    path("wsloop/auth/", views.auth),
]
