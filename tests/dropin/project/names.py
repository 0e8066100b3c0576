"""The one thing that wsloop wants of a project whose sessions it reads: the user's name in them.

ws4redis writes the groups there and no name. A project has ``@receiver(user_logged_in)`` above this
function, in any of its modules; the tests connect it where they need it.
"""


def store_name_in_session(sender, user, request, **kwargs):
    request.session["wsloop:username"] = user.get_username()
