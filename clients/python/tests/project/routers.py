"""Sessions in a database of their own."""


class SessionsElsewhere:
    def db_for_read(self, model, **hints):
        return "other" if model._meta.app_label == "sessions" else None

    db_for_write = db_for_read
