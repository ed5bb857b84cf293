# Answers every request with its setting, its file, the number of its starts, and what it has of secrets, as JSON.
use strict;
use warnings;
use IO::Socket::INET;

$SIG{PIPE} = 'IGNORE';
$SIG{TERM} = $SIG{INT} = sub { exit 0 };

sub content {
    my ($path) = @_;
    open(my $file, '<', $path) or return '';
    local $/;
    my $text = <$file>;
    $text =~ s/\s+$//;
    return $text;
}

my $starts = (content('/data/starts') || 0) + 1;
open(my $kept, '>', '/data/starts') or die "the data can't be written: $!";
print $kept $starts;
close $kept;

my $length  = length content('/run/secrets/api_key');
my $words   = content('/etc/notes/words');
my $answer  = qq({"setting": "$ENV{NOTES_SETTING}", "file": "$words", "starts": "$starts", "api_key": "$length"}\n);
my $head    = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
my $server  = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die "no port: $!";
while (1) {
    my $client = $server->accept() or next;
    while (my $line = <$client>) { last if $line =~ /^\r?\n/ }
    print $client $head, 'Content-Length: ', length $answer, "\r\n\r\n", $answer;
    close $client;
}
