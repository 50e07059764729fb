"""The whole server: replicas of tritonserver on private sockets, and the front before them."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from server import compare, control, door, front
from server.envoy import Envoy
from server.folder import check_shm, no_folder, private_folder
from server.keys import Keys
from server.log import warn
from server.memory import shm_start_mib
from server.ports import address, check_ports, with_free_ports
from server.readiness import REPOSITORY
from server.repository import ensembles
from server.rollout import Rollouts
from server.settings import ModelError, ServerError, Settings
from server.supervisor import Supervisor
from server.traffic import Traffic
from server.triton import Triton

if TYPE_CHECKING:  # what it imports takes a third of a second
    from server.published import Published


@dataclass
class Server:
    """A running server, as a context manager: on entry it is ready, on exit nothing is left.

    Everything reaches tritonserver through the front. `while_starting` is called now and then
    until the server is ready; what it raises stops it.
    """

    settings: Settings = field(default_factory=Settings)
    while_starting: Callable[[], None] = lambda: None
    supervisor: Supervisor = field(init=False)
    envoy: Envoy = field(init=False)
    published: "Published | None" = field(default=None, init=False)

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        return address(self.settings.host, self.settings.http_port)

    @property
    def grpc_url(self) -> str:
        return address(self.settings.host, self.settings.grpc_port)

    @property
    def metrics_url(self) -> str:
        return address(self.settings.host, self.settings.metrics_port)

    @property
    def tritons(self) -> list[Triton]:
        """The tritonservers, faulty ones and their heirs among them."""
        return [replica.triton for replica in self.supervisor.replicas()]

    def start(self) -> None:
        """Starts the replicas, then the front, and returns once it passes requests on.

        Raises ServerError as Triton.start does, and if the front cannot listen; then nothing is
        left. Where a published repository cannot be served, the last good one of its cache is.
        """
        with ExitStack() as stack:
            if self.settings.published:
                from server.published import Published

                self.published = stack.enter_context(Published(self.settings))
                self.settings = replace(self.settings, repository=self.published.folder)
            try:
                self._start()
            except ModelError as error:
                if not (self.published and self.published.go_back()):
                    raise
                good = self.published.digest
                warn(f"{error}; served instead: the last good one, sha256:{good}")
                self._start()
            stack.callback(self._stop_serving)
            if self.published:
                self.published.keep()
                stack.callback(self.published.rest)
                self.published.watch(partial(control.reloaded, self.supervisor))
            self._stop = stack.pop_all()

    def _start(self) -> None:
        """Starts what serves the settings' repository, which is a folder."""
        keys = Keys(self.settings.keys) if self.settings.keys else None
        door.check_certificates(self.settings)
        check_who_may_ask(self.settings)
        self.settings = with_free_ports(self.settings)
        check_ports(self.settings)
        check_shm(shm_start_mib(self.settings))
        with ExitStack() as stack:
            self.folder = stack.enter_context(private_folder())
            folder_fd = os.open(self.folder, os.O_PATH)
            stack.callback(os.close, folder_fd)
            (self.folder / REPOSITORY).symlink_to(self.settings.repository.absolute())
            known = ensembles(self.settings.repository)
            self._traffic = Traffic(tuple(known), self.settings.log_requests)
            self.envoy = Envoy(
                self.folder,
                f"unix:/proc/self/fd/{folder_fd}/admin.sock",  # its path may be long
                front.configuration(self.settings, known),
                self.settings.verbose,
                self._traffic.see,
            )
            self.supervisor = Supervisor(
                self.settings,
                self.folder,
                self.while_starting,
                self._traffic.waiting_since,
                self.published,
            )
            stack.callback(self.supervisor.close)
            self.supervisor.open()
            try:
                rollouts = Rollouts(self.supervisor, self.folder)
                self._traffic.also = rollouts.saw
                stack.enter_context(compare.answering(rollouts, self.folder))
                stack.enter_context(
                    control.answering(
                        self.supervisor, self.envoy, self._traffic, rollouts, self.folder
                    )
                )
                if keys:
                    stack.enter_context(door.answering(keys, self.folder))
                    door.write_clusters(keys, self.folder)
                if self.settings.tls_cert:
                    door.write_certificates(self.settings, self.folder)
            except OSError as error:
                raise ServerError(no_folder(error)) from error
            stack.enter_context(door.watching(self.settings, keys, self.folder))
            stack.callback(self.envoy.end)
            self.envoy.start()
            self._wait_for_front()
            stack.callback(self.drain)
            stack.callback(self.supervisor.rest)
            self.supervisor.watch(self.envoy)
            stack.callback(rollouts.close)
            rollouts.watch()
            self._stop_serving = stack.pop_all().close

    def _wait_for_front(self) -> None:
        while not self.envoy.ready():
            self.while_starting()
            if fault := self.envoy.fault():
                raise ServerError(fault)
            time.sleep(0.02)

    @property
    def failed(self) -> str:
        """Why the server cannot be kept up, nothing while it can."""
        return self.supervisor.failed

    def stop(self) -> None:
        """Lets requests in flight finish, then ends the server and removes all that it made."""
        self._stop.close()

    def drain(self) -> None:
        """Takes no more connections, has clients leave those they have, and waits for requests in
        flight, for `exit_timeout_s` at most."""
        self.envoy.drain(self.settings.exit_timeout_s)

    def kill(self) -> None:
        """Ends the server at once; stop() still has to be called."""
        self.supervisor.kill()


def check_who_may_ask(settings: Settings) -> None:
    """Raises ServerError if other machines could ask without a key or certificate unmeant."""
    if settings.keys or settings.tls_client_ca or settings.allow_anyone:
        return
    if not front.is_loopback(settings.host):
        raise ServerError(
            f"--host: {settings.host} is open to other machines, and no key is asked for; --keys "
            "or --tls-client-ca says who may ask, --allow-anyone that everybody may"
        )
