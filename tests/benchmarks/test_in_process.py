from benchmarks.in_process import captcha_reader


def test_the_same_digits_are_read_as_served(client, samples, sample_captchas):
    read = captcha_reader()
    for name in sample_captchas:
        image = (samples / name).read_bytes()
        assert read(image) == client.read(image).text
