#!/usr/bin/php
<?php
// publish.php NAME MESSAGE (needs php-redis)
[, $name, $message] = $argv;
$channel = "broadcast:$name";
$url = parse_url(getenv('WSLOOP_REDIS') ?: 'redis://127.0.0.1:6380');
if (($url['scheme'] ?? '') !== 'redis') {
    throw new Exception('WSLOOP_REDIS is no redis:// URL');
}
$redis = new Redis();
$redis->connect(trim($url['host'], '[]'), $url['port'] ?? 6379, 5, null, 0, 5);
if (isset($url['pass'])) {
    $credentials = [rawurldecode($url['user'] ?? ''), rawurldecode($url['pass'])];
    $redis->auth(array_values(array_filter($credentials, 'strlen')));
}
if (!$redis->select((int) trim($url['path'] ?? '', '/'))) {
    throw new Exception($redis->getLastError());
}
[$receivers] = $redis->pipeline()
    ->publish($channel, $message)
    ->setEx($channel, 3600, $message)
    ->exec();
echo "receivers: $receivers\n";
