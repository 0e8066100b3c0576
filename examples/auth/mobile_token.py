#!/usr/bin/python3
"""mobile_token.py KEYFILE USER [GROUP…] prints a token that is good for ten minutes.

It needs PyJWT (python3-jwt). The file holds a secret that wsloop has as --token-key-file.
"""

import sys
import time
from pathlib import Path

import jwt

key, user, *groups = sys.argv[1:]
secret = Path(key).read_bytes().removesuffix(b"\n")
claims = {"sub": user, "groups": groups, "exp": int(time.time()) + 600}
print(jwt.encode(claims, secret, algorithm="HS256"))
