"""The views, against the Redis that WSLOOP_REDIS names."""

from django.test import TestCase, override_settings
from wsloop import RedisPublisher

from .permissions import get_allowed_channels
from .views import FACILITY


@override_settings(WSLOOP_PREFIX="demo-test")
class Chats(TestCase):
    def login(self, name):
        self.assertTrue(self.client.login(username=name, password="secret"))

    def stored(self, name):
        client = RedisPublisher()._redis
        channel = f"demo-test:{name}:{FACILITY}"
        value = client.get(channel)
        client.delete(channel)
        return value

    def test_whoever_comes_has_the_others_greeted(self):
        page = self.client.get("/chat/")
        self.assertContains(page, "ws://testserver/ws/")
        self.assertContains(page, 'heartbeat_msg: "--heartbeat--"')
        self.assertEqual(self.stored("broadcast"), b"Hello everybody")

    def test_the_other_chats_need_a_login(self):
        for path in ("/userchat/", "/groupchat/"):
            self.assertRedirects(self.client.get(path), f"/accounts/login/?next={path}")

    def test_a_message_to_one_user(self):
        self.login("john")
        answer = self.client.post("/userchat/", {"to": "mary", "message": "hello"})
        self.assertEqual(answer.status_code, 204)
        self.assertEqual(self.stored("user:mary"), b"john: hello")
        for to in ("john", "nobody"):
            answer = self.client.post("/userchat/", {"to": to, "message": "hello"})
            self.assertEqual(answer.status_code, 404)

    def test_a_message_to_a_group_by_its_members_only(self):
        message = {"to": "chatusers", "message": "hello"}
        self.login("admin")
        self.assertEqual(self.client.post("/groupchat/", message).status_code, 404)
        self.assertContains(self.client.get("/groupchat/"), "admin is in no group")
        self.login("mary")
        self.assertEqual(self.client.post("/groupchat/", message).status_code, 204)
        self.assertEqual(self.stored("group:chatusers"), b"mary: hello")
        empty = self.client.post("/groupchat/", {**message, "message": " "})
        self.assertEqual(empty.status_code, 400)

    def test_only_who_is_logged_in_speaks(self):
        asked = ["subscribe-broadcast", "publish-broadcast", "subscribe-user", "publish-user"]
        request = self.client.get("/chat/").wsgi_request
        self.assertEqual(get_allowed_channels(request, asked), asked[:1])
        self.login("john")
        request = self.client.get("/chat/").wsgi_request
        self.assertEqual(get_allowed_channels(request, asked), asked[:3])
