#!/usr/bin/php
<?php
// publish.php NAME MESSAGE (needs php-redis)
[, $name, $message] = $argv;
$channel = "broadcast:$name";
$url = parse_url(getenv('WSLOOP_REDIS') ?: 'redis://127.0.0.1:6380');
$redis = new Redis();
$redis->connect($url['host'], $url['port'] ?? 6379);
[$receivers] = $redis->pipeline()
    ->publish($channel, $message)
    ->setEx($channel, 3600, $message)
    ->exec();
echo "receivers: $receivers\n";
