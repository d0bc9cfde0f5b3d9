"""Packages that are built where they are installed, and an index on the loopback that has them."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PROJECT = '[build-system]\nrequires = []\nbuild-backend = "setup"\nbackend-path = ["."]\n'
_SETUP = """
import zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    text = build()
    file = "{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{{directory}}/{{file}}", "w") as archive:
        archive.writestr("{name}.py", f"FOUND = {{text!r}}")
        archive.writestr("{name}-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        archive.writestr("{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any")
        archive.writestr("{name}-1.0.dist-info/RECORD", "")
    return file

"""


def sdist(name: str, build: str) -> bytes:
    """Its ``setup.py`` has ``build``, Python that defines ``build()``; the module it installs has the result."""
    files = {"pyproject.toml": _PROJECT, "setup.py": _SETUP.format(name=name) + build, "PKG-INFO": ""}
    files["PKG-INFO"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}-1.0/{path}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


class Index:
    """``url`` is the index; ``add`` puts something there. A build may say that it runs by ``GET said``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/simple"
        self.said = 0
        self.heard = threading.Event()
        self._archives: dict[str, bytes] = {}

    def add(self, name: str, build: str) -> None:
        self._archives[name] = sdist(name, build)

    def answer(self, path: str) -> bytes | None:
        if path == "/said":
            self.said += 1
            self.heard.set()
            return b""
        name = path.strip("/").split("/")[-1].removesuffix("-1.0.tar.gz").replace("-", "_")
        found = self._archives.get(name)
        if found is None or path.endswith(".tar.gz"):
            return found
        return f'<a href="/files/{name}-1.0.tar.gz">{name}-1.0.tar.gz</a>'.encode()


@contextmanager
def served() -> Iterator[Index]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = index.answer(self.path)
            self.send_response(404 if found is None else 200)
            if not self.path.endswith(".tar.gz"):
                self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        index = Index(server.server_address[1])
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield index
        server.shutdown()
