"""The server's answers in one process, without a server: for batch work and for notebooks.

from inprocess import Detector

detector = Detector("model_repository")
found = detector.detect(open("page.jpg", "rb").read(), confidence=0.5)
print(found["labels"], found["boxes"])
"""

from inprocess.ensemble import Detector, Reader

__all__ = ["Detector", "Reader"]
