"""A socket between a program and its server that loses what it is told to lose."""

import contextlib
import socket
import threading
from functools import partial
from pathlib import Path
from typing import Final

_PIECE: Final = 65536


class Proxy:
    """Passes bytes between its own Unix socket and a server's, and can misbehave."""

    def __init__(self, own: Path, server: Path) -> None:
        """Begin to listen."""
        self._server = server
        self._listening = socket.socket(socket.AF_UNIX)
        own.unlink(missing_ok=True)
        self._listening.bind(str(own))
        own.chmod(0o777)
        self._listening.listen()
        self._open: list[socket.socket] = []
        self._lose_reply_to: bytes | None = None
        self._frozen: set[socket.socket] = set()
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_the_reply_to(self, words: bytes) -> None:
        """Pass the next request with these words on, then cut the line when its reply comes."""
        self._lose_reply_to = words

    def freeze(self) -> int:
        """Pass nothing on any more on the lines that are open now; return how many there are."""
        found = [one for one in self._open if one.fileno() >= 0]
        self._frozen.update(found)
        return len(found) // 2

    def close(self) -> None:
        """Cut every line."""
        for one in [self._listening, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server))
            except OSError:
                client.close()
                server.close()
                continue
            self._open += [client, server]
            doomed = threading.Event()
            for source, target, asks in ((client, server, True), (server, client, False)):
                passing = partial(self._pass_on, source, target, doomed, asks=asks)
                threading.Thread(target=passing, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, doomed: threading.Event, *, asks: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                if source in self._frozen:
                    continue
                if asks and self._lose_reply_to is not None and self._lose_reply_to in piece:
                    self._lose_reply_to = None
                    doomed.set()
                if not asks and doomed.is_set():
                    self.lost += 1
                    break
                target.sendall(piece)
        if source in self._frozen:
            return
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
