# Images of GD::SecurityImage as its manual draws them: 180 x 50, scrambled angles, six styles, specks.
use strict;
use warnings;
use GD::SecurityImage;

my ($folder, $seed) = @ARGV;
srand $seed;
my @styles = qw(default rect box circle ellipse ec);
my @fonts = map {"/usr/share/fonts/truetype/$_"}
  qw(dejavu/DejaVuSans.ttf dejavu/DejaVuSerif-Bold.ttf ttf-bitstream-vera/VeraMono.ttf);
my $index = 0;
while (my $label = <STDIN>) {
    chomp $label;
    my $image = GD::SecurityImage->new(
        width => 180, height => 50, ptsize => 14, lines => 8, scramble => 1,
        font => $fonts[rand @fonts], rndmax => 6,
    );
    my @ink = map { int rand 140 } 1 .. 3;
    my @clutter = map { 100 + int rand 140 } 1 .. 3;
    $image->random($label)->create(ttf => $styles[rand @styles], \@ink, \@clutter)->particle(400);
    my ($data) = $image->out(force => 'png');
    open my $file, '>:raw', "$folder/${label}_$index.png" or die $!;
    print {$file} $data;
    close $file;
    $index++;
}
