"""A worker's three pages: ``/live``, ``/ready`` and ``/metrics``, served by a thread of their own."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from streams.errors import NextclickError


class TelemetryServer:
    """Answers a process manager and Prometheus; ``port`` is the one in use, also where 0 was asked for.

    ``live`` tells whether the process works at all, ``ready`` gives what is missing (nothing: it serves).
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        live: Callable[[], bool],
        ready: Callable[[], list[str]],
    ) -> None:
        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._send(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif self.path == "/live":
                    self._send_json(200 if live() else 503, {"live": live()})
                elif self.path == "/ready":
                    missing = ready()
                    self._send_json(503 if missing else 200, {"ready": not missing, "missing": missing})
                else:
                    self._send_json(404, {"pages": ["/live", "/ready", "/metrics"]})

            def _send_json(self, status: int, content: dict[str, Any]) -> None:
                self._send(status, "application/json", json.dumps(content).encode() + b"\n")

            def _send(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet: one scrape every few seconds is no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Pages)
        except OSError as error:
            reason = error.strerror
            raise NextclickError(
                f"cannot listen on {host}:{port} for /metrics: {reason}; choose another --metrics-port"
            ) from error
        self.host = host
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
