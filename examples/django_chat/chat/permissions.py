"""Who may listen and who may speak, asked for every WebSocket."""


def get_allowed_channels(request, channels):
    """Everybody listens to the room; only who is logged in says something there."""
    allowed = {"subscribe-broadcast"}
    if request.user.is_authenticated:
        allowed |= {"subscribe-user", "subscribe-group", "publish-broadcast"}
    return [channel for channel in channels if channel in allowed]
