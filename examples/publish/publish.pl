#!/usr/bin/perl
# publish.pl NAME MESSAGE (needs libredis-perl)
use strict;
use warnings;
use Redis;

my ($name, $message) = @ARGV;
my $channel = "broadcast:$name";
my $url = $ENV{WSLOOP_REDIS} // 'redis://127.0.0.1:6380';
my ($server) = $url =~ m{^redis://([^/]+)};
my $redis = Redis->new(server => $server);
my $receivers = $redis->publish($channel, $message);
$redis->setex($channel, 3600, $message);
print "receivers: $receivers\n";
