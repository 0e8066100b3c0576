"""The Django app: ``INSTALLED_APPS = [..., "wsloop.django"]``.

Login and logout are known to wsloop then, templates have ``{% load wsloop %}``, and there is
``manage.py wsloop``. ``wsloop.django.views.auth`` tells wsloop who somebody is, and
``wsloop.django.middleware.close_old_sockets`` ends what was open before a login.
"""
