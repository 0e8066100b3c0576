"""Who may listen, asked for every WebSocket. Nobody speaks by one: see views.py."""


def get_allowed_channels(request, channels):
    """Everybody listens to the room; what is for users and groups needs a login."""
    allowed = {"subscribe-broadcast"}
    if request.user.is_authenticated:
        allowed |= {"subscribe-user", "subscribe-group"}
    return [channel for channel in channels if channel in allowed]
