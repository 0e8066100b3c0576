#!/bin/sh
# publish.sh NAME MESSAGE (needs redis-tools)
set -eu
channel="broadcast:$1"
url=${WSLOOP_REDIS:-redis://127.0.0.1:6380}
rest=${url#redis://}
[ "$rest" != "$url" ] || { echo 'WSLOOP_REDIS is no redis:// URL' >&2 && exit 1; }
place=${rest##*@}
credentials=${rest%"$place"} credentials=${credentials%@}
decoded() { env printf %b "$(printf %s "$1" | sed 's/\\/\\\\/g; s/%\([[:xdigit:]]\{2\}\)/\\x\1/g')"; }
user=$(decoded "${credentials%%:*}")
# Every user can read command lines. The password goes into the environment, and the message, which
# may be binary, to standard input.
if [ -n "$credentials" ]; then
    REDISCLI_AUTH=$(decoded "${credentials#*:}")
    export REDISCLI_AUTH
fi
redis() { timeout 5 redis-cli -e -u "redis://$place" ${user:+--user "$user"} "$@"; }
# redis-cli goes on when a password or a database is wrong, and says so.
said=$(redis PING 2>&1) || said=${said:-no answer within 5 s}
[ "$said" = PONG ] || { echo "$said" >&2 && exit 1; }
receivers=$(printf %s "$2" | redis -x PUBLISH "$channel")
printf %s "$2" | redis -x SETEX "$channel" 3600 >/dev/null
echo "receivers: $receivers"
