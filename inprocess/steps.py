"""The served steps' own functions, so that what is trained and measured is what is served."""

from typing import Any

from inprocess.model import load_module
from inprocess.repository import REPOSITORY

fit: Any = load_module(REPOSITORY / "document_preprocess" / "1" / "fit.py")
captcha: Any = load_module(REPOSITORY / "captcha_preprocess" / "1" / "model.py")
heads: Any = load_module(REPOSITORY / "document_postprocess" / "1" / "heads.py")
