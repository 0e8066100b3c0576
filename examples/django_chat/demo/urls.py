"""What the project answers."""

from chat import views
from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from django.views.generic import RedirectView
from wsloop.django.views import auth

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="everybody")),
    path("chat/", views.everybody, name="everybody"),
    path("userchat/", views.one_user, name="one_user"),
    path("groupchat/", views.one_group, name="one_group"),
    path("accounts/login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("wsloop/auth/", auth),
]
