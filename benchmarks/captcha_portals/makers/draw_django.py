"""Images of django-simple-captcha at its defaults: 22 px Vera, turned digits, lines, many dots.

The width follows the digits.
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["django-simple-captcha==0.7.0", "django==5.2.19", "pillow==12.3.0"]
# ///

import random
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.test import RequestFactory

folder = Path(sys.argv[1])
random.seed(int(sys.argv[2]))
settings.configure(
    INSTALLED_APPS=["captcha"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
)
django.setup()
call_command("migrate", verbosity=0)

from captcha.models import CaptchaStore  # noqa: E402 (needs the settings)
from captcha.views import captcha_image  # noqa: E402

request = RequestFactory().get("/")
for index, label in enumerate(sys.stdin.read().split()):
    stored = CaptchaStore.objects.create(challenge=label, response=label)
    image = captcha_image(request, stored.hashkey)
    (folder / f"{label}_{index}.png").write_bytes(image.content)
