// Images of svg-captcha at its defaults, with three strokes: 150 x 50, grey on a transparent ground.
const { readFileSync, writeFileSync } = require("fs");
const { Resvg } = require("@resvg/resvg-js");
const svg = require("svg-captcha");

const paths = { font: { loadSystemFonts: false } }; // it draws no text
const folder = process.argv[2];
const labels = readFileSync(0, "utf8").split(/\s+/).filter(Boolean);
labels.forEach((label, index) => {
  const drawn = svg(label, { noise: 3 });
  writeFileSync(`${folder}/${label}_${index}.png`, new Resvg(drawn, paths).render().asPng());
});
