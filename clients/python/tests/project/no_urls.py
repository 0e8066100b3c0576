"""A project with a page, and no view for wsloop's question."""

from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse("the project's page"))]
