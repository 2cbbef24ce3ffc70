"""The viewer on the loopback interface, for browsers that open no files from disk."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness.interfaces.errors import UserError

LOOPBACK = "127.0.0.1"


class _Files(SimpleHTTPRequestHandler):
    """The folder's files, for this machine's own names only, without listings."""

    def send_head(self) -> Any:
        """Refuse pages of other names, which a name server could point at this machine."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in {LOOPBACK, "localhost"}:
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:  # noqa: ARG002
        """Give no list of a folder."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Let no file be taken for something else than it is."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of the folder on loopback; port 0 takes any that is free.

    Raises:
        UserError: The port is taken.
    """
    try:
        return ThreadingHTTPServer((LOOPBACK, port), partial(_Files, directory=str(folder)))
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}: give another, or 0 for any") from error
