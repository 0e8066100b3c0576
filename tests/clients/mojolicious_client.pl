# Mojolicious's WebSocket client, which compresses: says the same long message twice, and hears it.
use strict;
use warnings;
use Mojo::UserAgent;
use Mojo::IOLoop;
use Mojolicious;

my ($url) = @ARGV;
my $text  = 'the same long message ' x 40;
my ($heard, $code) = ([], '');
my $agent = Mojo::UserAgent->new;
my $tx    = $agent->build_websocket_tx($url);
$tx->req->headers->sec_websocket_extensions('permessage-deflate');
$agent->start($tx => sub {
    my (undef, $socket) = @_;
    die 'no WebSocket' unless $socket->is_websocket;
    $socket->on(finish => sub { $code = $_[1] // ''; Mojo::IOLoop->stop });
    $socket->on(
        text => sub {
            push @$heard, $_[1] eq $text ? 'True' : 'False';
            @$heard < 2 ? $_[0]->send($text) : $_[0]->finish;
        }
    );
    $socket->send($text);
});
Mojo::IOLoop->timer(10 => sub { Mojo::IOLoop->stop });
Mojo::IOLoop->start;
print Mojolicious->VERSION, ' [', join(', ', @$heard), "] $code\n";
