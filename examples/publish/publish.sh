#!/bin/sh
# publish.sh NAME MESSAGE (needs redis-tools)
set -eu
channel="broadcast:$1"
redis() { redis-cli -e -u "${WSLOOP_REDIS:-redis://127.0.0.1:6380}" "$@"; }
# From standard input, the message may be binary, and is not for every user of ps to see.
receivers=$(printf %s "$2" | redis -x PUBLISH "$channel")
printf %s "$2" | redis -x SETEX "$channel" 3600 >/dev/null
echo "receivers: $receivers"
