"""The views, against the Redis that WSLOOP_REDIS names."""

import json

import redis
from django.conf import settings
from django.test import Client, TestCase, override_settings

from .permissions import get_allowed_channels
from .views import FACILITY


@override_settings(WSLOOP_PREFIX="demo-test")
class Chats(TestCase):
    def login(self, name):
        self.assertTrue(self.client.login(username=name, password="secret"))

    def stored(self, name):
        channel = f"demo-test:{name}:{FACILITY}"
        with redis.Redis.from_url(settings.WSLOOP_REDIS) as client:
            value = client.get(channel)
            client.delete(channel)
        return value

    def said(self, name):
        message = json.loads(self.stored(name))
        self.assertEqual(set(message), {"from", "text"})
        return message["from"], message["text"]

    def test_whoever_comes_has_the_others_greeted(self):
        page = self.client.get("/chat/")
        self.assertContains(page, "ws://testserver/ws/")
        self.assertContains(page, 'chat("ws://testserver/ws/", "foobar", "broadcast")')
        self.assertEqual(self.stored("broadcast"), b"Hello everybody")

    def test_a_message_to_everybody(self):
        self.login("john")
        self.assertEqual(self.client.post("/chat/", {"message": "hello"}).status_code, 204)
        self.assertEqual(self.said("broadcast"), ("john", "hello"))
        self.assertEqual(self.client.post("/chat/", {"message": ""}).status_code, 400)
        self.client.logout()
        self.assertEqual(self.client.post("/chat/", {"message": "hello"}).status_code, 403)
        self.assertIsNone(self.stored("broadcast"))

    def test_nobody_is_somebody_else(self):
        self.login("john")
        forged = json.dumps({"from": "mary", "text": "hello"})
        for more in [
            {"message": forged},
            {"message": "mary: hello", "from": "mary", "user": "mary", "username": "mary"},
        ]:
            for path, to, name in [
                ("/chat/?from=mary&user=mary", "", "broadcast"),
                ("/userchat/?from=mary", "mary", "user:mary"),
                ("/groupchat/?from=mary", "chatusers", "group:chatusers"),
            ]:
                answer = self.client.post(path, {"to": to, **more}, headers={"X-User": "mary"})
                self.assertEqual(answer.status_code, 204)
                self.assertEqual(self.said(name), ("john", more["message"]))

    def test_another_sites_form_says_nothing(self):
        browser = Client(enforce_csrf_checks=True)
        browser.login(username="john", password="secret")
        for path in ("/chat/", "/userchat/", "/groupchat/"):
            answer = browser.post(path, {"to": "mary", "message": "hello"})
            self.assertEqual(answer.status_code, 403)

    def test_the_other_chats_need_a_login(self):
        for path in ("/userchat/", "/groupchat/"):
            self.assertRedirects(self.client.get(path), f"/accounts/login/?next={path}")

    def test_a_message_to_one_user(self):
        self.login("john")
        answer = self.client.post("/userchat/", {"to": "mary", "message": "hello"})
        self.assertEqual(answer.status_code, 204)
        self.assertEqual(self.said("user:mary"), ("john", "hello"))
        for to in ("john", "nobody"):
            answer = self.client.post("/userchat/", {"to": to, "message": "hello"})
            self.assertEqual(answer.status_code, 404)

    def test_a_message_to_a_group_by_its_members_only(self):
        message = {"to": "chatusers", "message": "hello"}
        self.login("admin")
        self.assertEqual(self.client.post("/groupchat/", message).status_code, 404)
        self.assertContains(self.client.get("/groupchat/"), "<bdi>admin</bdi> is in no group")
        self.login("mary")
        self.assertEqual(self.client.post("/groupchat/", message).status_code, 204)
        self.assertEqual(self.said("group:chatusers"), ("mary", "hello"))
        empty = self.client.post("/groupchat/", {**message, "message": " "})
        self.assertEqual(empty.status_code, 400)

    def test_nobody_speaks_by_a_websocket(self):
        asked = ["subscribe-broadcast", "publish-broadcast", "subscribe-user", "publish-user"]
        request = self.client.get("/chat/").wsgi_request
        self.assertEqual(get_allowed_channels(request, asked), asked[:1])
        self.login("john")
        request = self.client.get("/chat/").wsgi_request
        self.assertEqual(get_allowed_channels(request, asked), [asked[0], asked[2]])
