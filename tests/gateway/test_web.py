"""The web page, in a real Chromium, before the running gateway."""

import csv
import hashlib
import io
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import ExifTags, Image

playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).resolve().parents[2]
PAGE = "page_150dpi.jpg"
PALER = 0.88  # by this share its last signature is found at review, and not at accept
PATIENCE_MS = 20_000  # a busy machine is slow
MODEL = {
    "name": "d",
    "version": "1",
    "classes": ["stamp"],
    "thresholds": {"accept": {"stamp": 0.5}, "review": {"stamp": 0.1}},
}
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
THUMBNAILS = (  # how many are drawn
    "[...document.querySelectorAll('.thumb canvas')].filter(canvas => canvas.width > 0).length"
)
pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium; root has no sandbox."""
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser) -> Iterator[Any]:
    """A window that the tests share; each has a tab of its own."""
    with browser.new_context(viewport={"width": 1360, "height": 860}) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def page(context, gateway_url) -> Iterator[Any]:
    """The page as it opens; the test fails if it said an error or broke its own policy."""
    with context.new_page() as page:
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if blamed(said) else None)
        page.goto(gateway_url)
        page.locator(".slider").first.wait_for()
        yield page
        assert not faults, faults


def blamed(said: Any) -> bool:
    """Whether a line of the console is a fault; a refusal that a test provokes is none."""
    return said.type == "error" and "the server responded with a status of" not in said.text


@pytest.fixture(scope="module")
def answers(gateway_url, samples) -> dict[str, list[dict]]:
    """The detections of the sample page at each operating point, as the gateway answers them."""
    found = {}
    for point in ("accept", "review"):
        reply = httpx.post(
            f"{gateway_url}/v1/documents?operating_point={point}",
            content=(samples / PAGE).read_bytes(),
        )
        found[point] = reply.json()["pages"][0]["detections"]
    return found


def add(page: Any, *files: Any) -> None:
    """Adds files, paths or {name, mimeType, buffer}, and waits until all are answered."""
    page.set_input_files("#files", [payload(f) if isinstance(f, Path) else f for f in files])
    page.wait_for_function(
        """count => document.querySelectorAll('.row').length >= count
        && ![...document.querySelectorAll('.row .faint')].some(
          words => /waiting|in work/.test(words.textContent))""",
        arg=len(files),
    )


def payload(path: Path) -> dict[str, Any]:
    """A file as the browser gets it."""
    kind = f"image/{path.suffix[1:].replace('jpg', 'jpeg')}"
    return {"name": path.name, "mimeType": kind, "buffer": path.read_bytes()}


def boxes(page: Any) -> Any:
    return page.locator("#stage .box")


def test_the_gateway_serves_the_page_and_nothing_else_of_its_folder(gateway):
    index = gateway.get("/")
    policy = index.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    again = gateway.get("/", headers={"If-None-Match": index.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for path in ("/web/__init__.py", "/web/..%2f__init__.py", "/web/nothing.js"):
        assert gateway.get(path).status_code == 404
    assert gateway.get("/v1/documents").status_code == 405


def test_boxes_are_drawn_where_the_gateway_found_them(page, samples, answers):
    add(page, samples / PAGE)
    playwright.expect(boxes(page)).to_have_count(len(answers["accept"]))
    sheet = page.locator("#stage .sheet").bounding_box()
    scale = sheet["width"] / Image.open(samples / PAGE).width
    drawn = sorted(
        (box["x"] - sheet["x"], box["y"] - sheet["y"], box["width"], box["height"])
        for box in (each.bounding_box() for each in boxes(page).all())
    )
    expected = sorted(
        (x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale)
        for x0, y0, x1, y1 in (each["bbox"] for each in answers["accept"])
    )
    for one, other in zip(drawn, expected, strict=True):
        assert one == pytest.approx(other, abs=5)  # the line is 2 px wide, outside


def test_the_sliders_act_without_another_request(page, samples, answers):
    add(page, samples / PAGE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for slider in page.locator(".slider input").all():
        slider.press("Home")
    playwright.expect(boxes(page)).to_have_count(len(answers["review"]))
    for slider in page.locator(".slider input").all():
        slider.press("End")
    playwright.expect(boxes(page)).to_have_count(0)
    page.get_by_role("button", name="Accept").first.click()
    kept = [each for each in answers["accept"] if each["class"] == "signature"]
    playwright.expect(boxes(page)).to_have_count(len(kept))
    assert not [url for url in asked if not url.startswith("blob:")]


def test_a_box_says_its_score_on_hover_and_on_focus(page, samples, answers):
    add(page, samples / PAGE)
    best = answers["accept"][0]
    box, tag = boxes(page).first, boxes(page).first.locator(".tag")
    playwright.expect(tag).to_have_text(f"{best['class']} {best['confidence']:.2f}")
    playwright.expect(tag).to_have_css("opacity", "0")
    box.hover()
    playwright.expect(tag).to_have_css("opacity", "1")
    page.mouse.move(0, 0)
    playwright.expect(tag).to_have_css("opacity", "0")
    box.focus()
    playwright.expect(tag).to_have_css("opacity", "1")


def test_every_page_of_a_pdf_gets_its_thumbnail_and_its_picture(page, samples):
    pages = [Image.open(samples / name).convert("RGB") for name in (PAGE, "page_grey.png")]
    pdf = io.BytesIO()
    pages[0].save(pdf, "PDF", save_all=True, append_images=pages[1:], resolution=150)
    add(page, {"name": "two.pdf", "mimeType": "application/pdf", "buffer": pdf.getvalue()})
    playwright.expect(page.locator(".row")).to_have_count(2)
    page.wait_for_function(f"() => {THUMBNAILS} === 2")
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#page-title")).to_have_text("two.pdf, page 2 of 2")
    page.wait_for_function("() => document.querySelector('#stage img').naturalWidth > 0")
    size = page.eval_on_selector("#stage img", "img => [img.naturalWidth, img.naturalHeight]")
    assert size[0] / size[1] == pytest.approx(pages[1].width / pages[1].height, rel=0.01)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_picture_is_turned_as_its_boxes_are(page, kind):
    image = Image.new("RGB", (600, 400), "white")
    image.paste((0, 0, 0), (0, 0, 200, 150))  # dark at the top left, as it is stored
    upside_down = Image.Exif()
    upside_down[ExifTags.Base.Orientation] = 3
    file = io.BytesIO()
    image.save(file, kind, exif=upside_down)
    add(page, {"name": "a", "mimeType": f"image/{kind}", "buffer": file.getvalue()})
    page.wait_for_function("() => document.querySelector('#stage img').naturalWidth > 0")
    top, bottom = page.evaluate(
        """() => {
          const image = document.querySelector("#stage img");
          const [width, height] = [image.naturalWidth, image.naturalHeight];
          const canvas = new OffscreenCanvas(width, height).getContext("2d");
          canvas.drawImage(image, 0, 0);
          return [0.1, 0.9].map((at) => canvas.getImageData(at * width, at * height, 1, 1).data[0]);
        }"""
    )
    assert (top > 200, bottom < 50) == (True, True)


def test_a_refusal_is_shown_as_the_problem_says_it_beside_the_other_answers(page, samples, gateway):
    bad = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no image at all"}
    problem = gateway.post("/v1/documents", content=bad["buffer"]).json()
    add(page, bad, samples / PAGE)
    page.get_by_role("button", name="notes.jpg").click()
    shown = page.locator("#found .problem")
    playwright.expect(shown).to_contain_text(problem["title"])
    playwright.expect(shown).to_contain_text(problem["detail"])
    page.get_by_role("button", name=PAGE).click()
    playwright.expect(boxes(page).first).to_be_visible()


def test_names_and_answers_never_become_html(page, samples):
    name = "<img src=x onerror=document.title='broken'>.jpg"
    answer = {"type": "x", "title": name, "status": 422, "detail": "<b>bold</b>"}
    page.route("**/v1/documents*", lambda route: route.fulfill(
        status=422, content_type="application/problem+json", body=json.dumps(answer)
    ))  # fmt: skip
    page.set_input_files("#files", {"name": name, "mimeType": "image/jpeg", "buffer": b"x"})
    playwright.expect(page.locator("#found .problem")).to_contain_text("<b>bold</b>")
    playwright.expect(page.locator(".row-name")).to_have_text(name)
    assert page.locator("main b, main img[onerror]").count() == 0
    assert page.title() != "broken"


def test_a_busy_gateway_is_asked_again_after_the_time_that_it_names(page, samples):
    refusals = []

    def once_busy(route):
        if refusals:
            route.continue_()
            return
        refusals.append(route.request.url)
        route.fulfill(
            status=429,
            headers={"Retry-After": "1", "Content-Type": "application/problem+json"},
            body='{"title": "Too Many Requests", "status": 429, "detail": "busy"}',
        )

    page.route("**/v1/documents*", once_busy)
    page.set_input_files("#files", samples / PAGE)
    playwright.expect(page.locator(".row-marks")).to_contain_text("busy")
    playwright.expect(boxes(page).first).to_be_visible()
    assert len(refusals) == 1


def test_a_folder_gives_its_pages_and_says_what_was_left_out(page, samples, tmp_path):
    (tmp_path / "deep").mkdir()
    shutil.copy(samples / PAGE, tmp_path / "deep" / "2.jpg")
    shutil.copy(samples / PAGE, tmp_path / "10.jpg")
    (tmp_path / "notes.txt").write_text("no page")
    page.set_input_files("#folder", tmp_path)
    playwright.expect(page.locator("#progress")).to_contain_text("1 file left out")
    names = [f"{tmp_path.name}/{name}" for name in ("10.jpg", "deep/2.jpg")]
    playwright.expect(page.locator(".row-name")).to_have_text(names)


def test_the_csv_has_the_boxes_that_are_shown_and_no_formula(page, samples, answers):
    add(page, payload(samples / PAGE) | {"name": "=1+1.jpg"})
    with page.expect_download() as download:
        page.get_by_role("button", name="Save CSV").click()
    with open(download.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {"'=1+1.jpg"}
    found = [(row["class"], float(row["confidence"]), float(row["x0"])) for row in rows]
    expected = [(each["class"], each["confidence"], each["bbox"][0]) for each in answers["accept"]]
    assert found == expected


def test_a_gateway_that_asks_for_a_key_gets_it_with_every_request(browser, gateway_url):
    refusal = '{"title": "Unauthorized", "status": 401, "detail": "authorization: missing"}'
    sent: list[str | None] = []

    def keyed(route):
        sent.append(route.request.headers.get("authorization"))
        if sent[-1] == "Bearer cs_key":
            route.fulfill(json={"forms": [], "broken": [], "detectors": [MODEL]})
        else:
            route.fulfill(status=401, content_type="application/problem+json", body=refusal)

    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/v1/*", keyed)
        page.goto(gateway_url)
        page.locator("#key").fill("cs_key")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#model")).to_have_text("d 1")
        playwright.expect(page.locator("#check")).to_contain_text("no forms")
        assert set(sent) == {None, "Bearer cs_key"}


def test_five_hundred_pages_leave_few_requests_under_way_and_the_page_quick(browser, gateway_url):
    count = 500
    picture = io.BytesIO()
    Image.new("RGB", (120, 160), "white").save(picture, "JPEG")
    answer = (
        b'{"sha256": "0", "bytes": 1, "kind": "image", "page_count": 1}\n'
        b'{"page": 1, "width": 120, "height": 160, "milliseconds": 5, "detections":'
        b' [{"class": "stamp", "confidence": 0.9, "bbox": [10, 10, 50, 50]}]}\n{"done": true}\n'
    )
    with browser.new_context(viewport={"width": 1360, "height": 860}) as context:
        context.add_init_script(
            """let under = 0; window.most = 0; window.urls = 0;
            const fetched = window.fetch;
            window.fetch = async (path, ...rest) => {
              if (!String(path).startsWith("v1/documents")) return fetched(path, ...rest);
              window.most = Math.max(window.most, ++under);
              try {
                await new Promise((resolve) => setTimeout(resolve, 2));
                return new Response(window.answer);
              } finally { under -= 1; }
            };
            const [make, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
            URL.createObjectURL = (blob) => { window.urls += 1; return make(blob); };
            URL.revokeObjectURL = (url) => { window.urls -= 1; revoke(url); };"""
        )
        page = context.new_page()
        page.goto(gateway_url)
        page.locator(".slider").first.wait_for()
        page.evaluate("text => { window.answer = text; }", answer.decode())
        page.set_input_files(
            "#files",
            [
                {"name": f"{n}.jpg", "mimeType": "image/jpeg", "buffer": picture.getvalue()}
                for n in range(count)
            ],
        )
        playwright.expect(page.locator("#progress")).to_contain_text(f"{count} pages ·")
        assert page.evaluate("() => window.most") <= 4
        page.wait_for_function(f"() => {THUMBNAILS} > 5")
        assert page.evaluate(f"() => {THUMBNAILS}") < 60
        page.locator(".row").first.focus()
        for _ in range(40):
            page.keyboard.press("ArrowDown")
        playwright.expect(page.locator("#page-title")).to_have_text("40.jpg")
        # what a slider's move takes, all rows brought in line
        took = page.evaluate(
            """async () => {
              const slider = document.querySelectorAll(".slider input")[1];
              const start = performance.now();
              slider.value = 1;
              slider.dispatchEvent(new Event("input"));
              await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
              return performance.now() - start;
            }"""
        )
        assert took < 1000  # ms; about 60 alone
        assert page.evaluate("() => window.urls") <= 8
        page.get_by_role("button", name="Clear").click()
        page.wait_for_function("() => window.urls === 0")


def test_a_form_s_check_shows_its_zones_and_why(page, gateway):
    file = ROOT / "examples" / "forms" / "filled" / "unsigned.jpg"
    check = gateway.post("/v1/check?form=loan", content=file.read_bytes()).json()["check"]
    assert {zone["verdict"] for zone in check["zones"]} == {"complete", "missing"}
    add(page, file)
    page.get_by_role("button", name="Check", exact=True).click()
    verdict = page.locator("#check .verdict-line")
    playwright.expect(verdict).to_have_text(f"✕ Missing {check['why']}")
    playwright.expect(page.locator(".row .verdict")).to_have_text("✕ Missing")
    for zone in check["zones"]:
        row = page.locator(".zone-row", has_text=zone["name"])
        playwright.expect(row.locator(".zone-why")).to_have_text(zone["why"])
        row.hover()
        outline = page.locator(".zone.lit")
        corners = " ".join(f"{x:g},{y:g}" for x, y in zone["polygon"])
        playwright.expect(outline).to_have_attribute("points", corners)
        playwright.expect(outline).to_have_class(f"zone {zone['verdict']} lit")


def with_faint_signature(page: Path) -> bytes:
    """A sample page, as JPEG, whose last signature is PALER."""
    boxes = json.loads((page.parent / "pages.json").read_text())[page.name]["boxes"]
    *_, faint = [each["xyxy"] for each in boxes if each["class"] == "signature"]
    picture, area = Image.open(page).convert("RGB"), tuple(round(edge) for edge in faint)
    part = picture.crop(area)
    picture.paste(Image.blend(part, Image.new("RGB", part.size, "white"), PALER), area)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def own_copy(data: bytes) -> bytes:
    """The same picture, a JPEG, with a digest that no other file has."""
    comment = uuid.uuid4().bytes
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return data[:2] + segment + data[2:]


def wait_for_log(gateway: httpx.Client, sha256: str) -> None:
    """Until the log has an answer about a file, which takes it up to a second."""
    deadline = time.monotonic() + 10
    while gateway.get(f"/v1/predictions/{sha256}").status_code == 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def queued(page, gateway, samples) -> dict[str, Any]:
    """The answer about a page that nobody has corrected, which the queue shows first."""
    body = own_copy(with_faint_signature(samples / PAGE))
    answer = gateway.post("/v1/documents?operating_point=review", content=body).json()
    wait_for_log(gateway, answer["sha256"])
    page.goto(page.url.split("#")[0] + "#queue")
    playwright.expect(page.locator("#queue-title")).to_contain_text(answer["sha256"][:12])
    return answer


def corrections(gateway: httpx.Client, answer: dict[str, Any]) -> list[dict]:
    return gateway.get(f"/v1/predictions/{answer['sha256']}").json()["corrections"]


def test_a_page_is_reviewed_by_keys_alone(page, gateway, queued):
    (found,) = queued["pages"]
    *kept, doubtful = found["detections"]
    shown = page.locator("#queue .box")
    playwright.expect(shown).to_have_count(len(kept) + 1)
    page.wait_for_function("() => document.querySelector('#queue-stage img').naturalWidth > 0")

    page.keyboard.press("Enter")
    playwright.expect(page.locator("#queue-hint")).to_contain_text("1 box undecided")
    for key, count in (("d", len(kept)), ("u", len(kept) + 1), ("Delete", len(kept))):
        page.keyboard.press(key)
        playwright.expect(shown).to_have_count(count)
    assert corrections(gateway, queued) == []
    page.keyboard.press("1")  # the best, a stamp, becomes a signature
    page.keyboard.press("b")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#queue .row").first).to_contain_text("saved")

    (stored,) = corrections(gateway, queued)
    *others, new = stored["detections"]
    assert doubtful["bbox"] not in [each["bbox"] for each in others]
    assert others == [
        {"class": name, "bbox": each["bbox"]}
        for name, each in zip(
            ["signature", *(each["class"] for each in kept[1:])], kept, strict=True
        )
    ]
    width, height = found["width"], found["height"]
    x0, y0, x1, y1 = new["bbox"]
    assert new["class"] == "signature"
    assert 0 < x0 - round(0.4 * width) < 20  # moved to the right
    assert x1 - x0 == pytest.approx(round(0.6 * width) - round(0.4 * width))
    assert y0 == round(0.47 * height)
    assert 0 < y1 - round(0.53 * height) < 20  # and made higher


def test_a_box_is_redrawn_with_the_mouse(page, gateway, queued):
    (found,) = queued["pages"]
    page.keyboard.press("Shift+D")
    page.locator("#queue .box").nth(1).click()
    page.keyboard.press("r")
    sheet = page.locator("#queue .sheet").bounding_box()
    scale = sheet["width"] / found["width"]
    page.mouse.move(sheet["x"] + 100, sheet["y"] + 200)
    page.mouse.down()
    page.mouse.move(sheet["x"] + 150, sheet["y"] + 260, steps=3)
    page.mouse.up()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#queue .row").first).to_contain_text("saved")
    (stored,) = corrections(gateway, queued)
    expected = [each / scale for each in (100, 200, 150, 260)]
    assert stored["detections"][1]["bbox"] == pytest.approx(expected, abs=2 / scale)
    assert stored["detections"][0]["bbox"] == found["detections"][0]["bbox"]


def test_a_file_is_found_in_the_log_by_its_digest(page, samples, gateway):
    add(page, samples / PAGE)
    digest = hashlib.sha256((samples / PAGE).read_bytes()).hexdigest()
    wait_for_log(gateway, digest)
    page.goto(page.url.split("#")[0] + "#log")
    page.set_input_files("#log-file", samples / PAGE)
    playwright.expect(page.get_by_label("SHA-256", exact=True)).to_have_value(digest)
    playwright.expect(page.locator("#log .queue-row").first).to_contain_text("1 stamp")
    playwright.expect(page.locator("#log .box").first).to_be_visible()


def test_what_was_just_answered_is_asked_for_again_until_the_log_has_it(page, samples, gateway):
    asked: list[str] = []

    def not_yet(route):
        asked.append(route.request.url)
        if len(asked) > 1:
            route.continue_()
        else:
            route.fulfill(status=404, content_type="application/problem+json", body="{}")

    add(page, samples / PAGE)
    wait_for_log(gateway, hashlib.sha256((samples / PAGE).read_bytes()).hexdigest())
    page.route("**/v1/predictions/*", not_yet)
    page.get_by_role("link", name="in the log").click()
    playwright.expect(page.locator("#log .queue-row").first).to_contain_text("1 stamp")
    assert len(asked) == 2


def test_where_the_browser_computes_no_digest_the_page_says_what_to_do(page, samples):
    page.evaluate("() => Object.defineProperty(crypto, 'subtle', {value: undefined})")
    page.goto(page.url.split("#")[0] + "#log")
    page.set_input_files("#log-file", samples / PAGE)
    playwright.expect(page.locator("#log .problem")).to_contain_text("sha256sum")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_usual_contrast(page, samples, scheme):
    page.emulate_media(color_scheme=scheme)
    bad = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no image at all"}
    add(page, samples / PAGE, bad)
    for view in ("documents", "queue", "log"):
        page.goto(page.url.split("#")[0] + f"#{view}")
        assert page.evaluate(CONTRAST) == []
    page.keyboard.press("?")
    assert page.evaluate(CONTRAST) == []


def test_a_small_screen_shows_all_without_scrolling_sideways(page, samples):
    page.set_viewport_size({"width": 360, "height": 720})
    add(page, samples / PAGE)
    for view in ("documents", "queue", "log"):
        page.goto(page.url.split("#")[0] + f"#{view}")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
