"""What the project answers."""

from django.contrib.auth.views import LoginView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.page),
    path("login/", LoginView.as_view(template_name="login.html")),
    path("publish/", views.publish),
    path("fetch/", views.fetch),
    path("whoami/", views.whoami),
]
