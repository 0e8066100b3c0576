"""Users that are in no database."""

from django.contrib.auth.models import AnonymousUser


class Person(AnonymousUser):
    is_authenticated = True

    def get_username(self):
        return "john"


class Backend:
    def get_user(self, user_id):
        return Person()
