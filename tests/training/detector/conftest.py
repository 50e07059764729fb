"""Pages are drawn with Debian's fonts; where they are missing, those tests are skipped."""

import pytest

from training.detector.pages.text import FONT_PACKAGES, FONT_ROOT, FONTS

MISSING = [path for paths in FONTS.values() for path in paths if not (FONT_ROOT / path).is_file()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MISSING:
        reason = f"font {MISSING[0]} is missing: apt-get install {FONT_PACKAGES}"
        for item in items:
            if item.path.name == "test_pages.py":
                item.add_marker(pytest.mark.skip(reason=reason))
