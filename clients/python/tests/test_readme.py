"""The README's Python, run as it stands."""

import re
from pathlib import Path
from unittest import mock

from django.test import SimpleTestCase

from .support import RedisTestCase

# In the package's folder, where tests/ is as well.
README = Path(__file__).parents[1] / "README.md"


class Blocks(RedisTestCase, SimpleTestCase):
    def test_every_block_runs(self):
        blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
        self.assertGreaterEqual(len(blocks), 3)
        # Names that the text around a block, or the project, has imported.
        project = "from django.dispatch import receiver\nfrom django.urls import path\n"
        project += "from django.contrib.auth.signals import user_logged_in\n"
        with mock.patch.dict("os.environ", WSLOOP_REDIS=self.redis.url):
            for block in blocks:
                with self.subTest(block):
                    names = {}
                    exec(project, names)  # noqa: S102
                    exec(block, names)  # noqa: S102
                    if "urlpatterns" in names:
                        self.assertEqual(names["urlpatterns"][-1].resolve("wsloop/auth/").args, ())
