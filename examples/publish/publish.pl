#!/usr/bin/perl
# publish.pl NAME MESSAGE (needs libredis-perl)
use strict;
use warnings;
use Redis;

my ($name, $message) = @ARGV;
my $channel = "broadcast:$name";
my $url = $ENV{WSLOOP_REDIS} // 'redis://127.0.0.1:6380';
my ($userinfo, $server, $db) = $url =~ m{^redis://(?:(.*)@)?([^/]+?)(?:/(\d*))?$}
    or die "WSLOOP_REDIS is no redis://[user:password@]host[:port][/db]\n";
$server .= ':6379' unless $server =~ /:\d+$/;
my $redis = Redis->new(server => $server, cnx_timeout => 5, read_timeout => 5);
if (defined $userinfo) {
    my @credentials = grep { length } split /:/, $userinfo, 2;
    s/%([0-9a-f]{2})/chr hex $1/gie for @credentials;
    $redis->auth(@credentials);
}
$redis->select($db) if $db;
my $receivers = $redis->publish($channel, $message);
$redis->setex($channel, 3600, $message);
print "receivers: $receivers\n";
