"""What of Django is taken for a name, and what is not."""

from django.contrib.auth.models import AnonymousUser, Group, User
from django.test import RequestFactory, TestCase
from django.utils.functional import SimpleLazyObject, lazy, lazystr
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, override
from wsloop import SELF, RedisPublisher, disconnect

from .support import RedisTestCase
from .test_django import make_users
from .test_publisher import Text, TextRole


class Person(User):
    """A user by another text."""

    class Meta:
        proxy = True
        app_label = "auth"

    def __str__(self):
        return f"Mr. {self.username}"


class Names(TestCase):
    def setUp(self):
        make_users()
        self.john = User.objects.get(username="john")

    def names(self, **audiences):
        return RedisPublisher(facility=audiences.pop("facility", "f"), **audiences).channels

    def test_lazy_strings_are_one_name(self):
        for name in [
            gettext_lazy("staff"),
            lazystr("staff"),
            mark_safe("staff"),
            SimpleLazyObject(lambda: "staff"),
            # Texts whose str() is another one.
            SimpleLazyObject(lambda: Text("staff")),
            lazy(lambda: Text("staff"), str)(),
        ]:
            for audience in ("user", "group", "session"):
                for one in (name, [name]):
                    with self.subTest(kind=type(name), audience=audience):
                        names = self.names(**{f"{audience}s": one})
                        self.assertEqual(names, (f"{audience}:staff:f",))
            self.assertEqual(self.names(broadcast=True, facility=name), ("broadcast:staff",))
        with override("de"):
            self.assertEqual(self.names(groups=gettext_lazy("Yes")), ("group:Ja:f",))

    def test_what_is_lazy_and_no_text_is_no_name(self):
        for value in [
            lazy(lambda: ["staff"], list)(),
            lazy(lambda: b"staff", bytes)(),
            SimpleLazyObject(lambda: object()),
        ]:
            with self.subTest(kind=type(value)), self.assertRaises(TypeError):
                self.names(groups=[value])

    def test_users_are_named_by_get_username(self):
        person = Person.objects.get(username="john")
        lazy_person = SimpleLazyObject(lambda: person)
        for john in (self.john, person, lazy_person):
            for one in (john, [john], {john}):
                self.assertEqual(self.names(users=one), ("user:john:f",))
        self.assertEqual(self.names(users=Person.objects.order_by("pk")), ("user:john:f", "user:mary:f"))
        nobody = SimpleLazyObject(lambda: AnonymousUser())
        self.assertEqual(self.names(users=[AnonymousUser(), nobody, person]), ("user:john:f",))
        self.assertEqual(self.names(users=AnonymousUser()), ())

    def test_groups_are_named_by_their_names(self):
        group = Group.objects.get()
        for one in (group, [group], Group.objects.all(), self.john.groups.all()):
            self.assertEqual(self.names(groups=one), ("group:chatusers:f",))
        with self.assertRaises(TypeError):
            self.names(groups=Group(name=b"staff"))
        self.assertEqual(self.names(groups=Group(name=TextRole.ADMIN)), ("group:admin:f",))
        for audience, value in [("users", group), ("groups", self.john), ("sessions", self.john)]:
            with self.subTest(audience), self.assertRaises(TypeError):
                self.names(**{audience: value})

    def test_rows_are_no_names(self):
        rows = User.objects.values_list("username")
        with self.assertRaises(TypeError) as told:
            self.names(users=rows)
        self.assertIn("('john',)", str(told.exception))
        flat = User.objects.order_by("pk").values_list("username", flat=True)
        self.assertEqual(self.names(users=flat), ("user:john:f", "user:mary:f"))
        with self.assertRaises(TypeError):
            self.names(users=User.objects.values("username"))

    def test_self_is_the_requests_user(self):
        request = RequestFactory().get("/")
        request.user = SimpleLazyObject(lambda: Person.objects.get(username="john"))
        self.assertEqual(self.names(request=request, users=[SELF]), ("user:john:f",))


class Disconnected(RedisTestCase, TestCase):
    def test_users_and_groups_by_their_names(self):
        make_users()
        pubsub = self.listen("wsloop:control")
        for whom, expected in [
            ({"user": Person.objects.get(username="john")}, b'{"user": "john"}'),
            ({"group": Group.objects.get()}, b'{"group": "chatusers"}'),
            ({"group": gettext_lazy("staff")}, b'{"group": "staff"}'),
        ]:
            disconnect(redis=self.redis.url, **whom)
            self.assertEqual(self.heard(pubsub), b'{"disconnect": ' + expected + b"}")
        with self.assertRaises(ValueError):
            disconnect(user=AnonymousUser(), redis=self.redis.url)
