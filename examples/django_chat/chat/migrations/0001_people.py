"""john and mary, who chat, and admin, for /admin/. The password of each is "secret"."""

from django.contrib.auth.hashers import make_password
from django.db import migrations


def create(apps, schema_editor):
    users = apps.get_model("auth", "User").objects
    chatusers = apps.get_model("auth", "Group").objects.create(name="chatusers")
    for name in ("john", "mary"):
        users.create(username=name, password=make_password("secret")).groups.add(chatusers)
    users.create(
        username="admin", password=make_password("secret"), is_staff=True, is_superuser=True
    )


class Migration(migrations.Migration):
    dependencies = [("auth", "0012_alter_user_first_name_max_length")]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
