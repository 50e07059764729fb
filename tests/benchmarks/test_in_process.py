import numpy as np

from benchmarks.in_process import captcha_reader, document_detector


def test_the_same_digits_are_read_as_served(client, samples, sample_captchas):
    read = captcha_reader()
    for name in sample_captchas:
        image = (samples / name).read_bytes()
        assert read(image) == client.read(image).text


def test_the_same_boxes_are_found_as_served(client, samples, sample_pages):
    detect = document_detector()
    for name in sample_pages:
        image = (samples / name).read_bytes()
        alone, served = detect(image), client.detect(image)
        assert tuple(alone.labels) == served.labels
        np.testing.assert_allclose(alone.boxes, served.boxes, atol=1)  # px
        np.testing.assert_allclose(alone.scores, served.scores, atol=0.01)


def test_a_slack_lets_weaker_boxes_through(samples, sample_pages):
    image = (samples / next(iter(sample_pages))).read_bytes()
    strict, slack = document_detector()(image), document_detector(slack=1)(image)
    assert len(slack.labels) > len(strict.labels)
    assert slack.scores.min() < strict.scores.min()
