"""The forms of a folder, as they are now."""

import threading
from pathlib import Path

from gateway.forms.form import Form, FormError, read

SUFFIX = ".yaml"


class Forms:
    """Reads the folder again once a file of it has changed. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._state: tuple[tuple[str, int, int], ...] | None = None
        self._forms: dict[str, Form] = {}
        self._broken: dict[str, str] = {}

    def all(self) -> tuple[dict[str, Form], dict[str, str]]:
        """The forms by name, and by name why others cannot be used."""
        with self._lock:
            state = self._stat()
            if state != self._state:
                self._forms, self._broken = {}, {}
                for path in sorted(self.folder.glob(f"*{SUFFIX}")):
                    try:
                        self._forms[path.stem] = read(path)
                    except FormError as error:
                        self._broken[path.stem] = str(error)
                self._state = state
            return self._forms, self._broken

    def _stat(self) -> tuple[tuple[str, int, int], ...]:
        """Name, time of change and size of each file."""
        if not self.folder.is_dir():
            return ()
        found = ((path.name, path.stat()) for path in self.folder.iterdir() if path.is_file())
        return tuple(sorted((name, status.st_mtime_ns, status.st_size) for name, status in found))
