"""What the server answers at its sockets."""

import socket
from threading import Event

from server.sockets import Handler, listening


def test_an_asker_that_does_not_wait_leaves_no_traceback(tmp_path, capfd):
    gone, answered = Event(), Event()

    class Slow(Handler):
        def do_GET(self) -> None:  # noqa: N802
            gone.wait(10)
            try:
                self.answer(200, "")
            finally:
                answered.set()

    with listening(tmp_path, "slow.sock", Slow):
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(str(tmp_path / "slow.sock"))
            asker.sendall(b"GET / HTTP/1.1\r\n\r\n")
        gone.set()
        assert answered.wait(10)
    assert capfd.readouterr().err == ""
