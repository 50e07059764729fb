// Images of ppfun-captcha at its defaults: 500 x 300, outlined digits, one broken path, transparent.
const { readFileSync, writeFileSync } = require("fs");
const { Resvg } = require("@resvg/resvg-js");
const ppfun = require("ppfun-captcha");

const paths = { font: { loadSystemFonts: false } }; // it draws no text
const folder = process.argv[2];
const labels = readFileSync(0, "utf8").split(/\s+/).filter(Boolean);
labels.forEach((label, index) => {
  const drawn = ppfun.createCaptcha(label, { fontSize: 150 }); // its 220 is for four letters
  writeFileSync(`${folder}/${label}_${index}.png`, new Resvg(drawn, paths).render().asPng());
});
