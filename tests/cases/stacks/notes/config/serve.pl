# Answers whoever connects with one line: its setting, its file, the number of its starts, what it has of secrets.
use strict;
use warnings;
use IO::Socket::INET;

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
my $answer  = "setting=$ENV{NOTES_SETTING} file=" . content('/etc/notes/words') . " starts=$starts api_key=$length\n";
my $server  = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die "no port: $!";
while (1) {
    my $client = $server->accept() or next;
    print $client $answer;
    close $client;
}
