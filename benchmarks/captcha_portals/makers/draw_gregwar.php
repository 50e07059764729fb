<?php
// Images of Gregwar\Captcha at its defaults: 150 x 40, several fonts, lines, distorted, negatives.
require_once "/usr/share/php/Gregwar/Captcha/autoload.php";

mt_srand((int) $argv[2]);
$index = 0;
while (($label = fgets(STDIN)) !== false) {
    $label = trim($label);
    $maker = new Gregwar\Captcha\CaptchaBuilder($label);
    imagepng($maker->build()->getContents(), "$argv[1]/{$label}_$index.png");
    $index++;
}
