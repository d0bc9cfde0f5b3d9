"""A Box with packages of its own: installed once, into a cached layer that no other Box sees.

Run it with ``python examples/05_pip_package.py``. A requirement such as ``"requests==2.32.3"`` is fetched by the
node; here it is a wheel, built on the spot so that the example needs no network, which travels with the Box.
"""

import tempfile
import zipfile
from pathlib import Path

from box_agent import Box, skill


def build_wheel(folder: Path) -> Path:
    """What ``python -m build`` makes of a project with one module."""
    path = folder / "barista-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("barista.py", "def brew(kind: str) -> str:\n    return f'a well-brewed {kind}'\n")
        wheel.writestr("barista-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: barista\nVersion: 1.0\n")
        wheel.writestr("barista-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("barista-1.0.dist-info/RECORD", "")
    return path


@skill
def brew(kind: str) -> str:
    import barista  # type: ignore[import-not-found]

    return str(barista.brew(kind))


with tempfile.TemporaryDirectory() as folder:
    barista = Box("barista").pip(build_wheel(Path(folder))).skill(brew)

with barista.spawn() as live:
    print(live.brew("mocha"))

try:
    __import__("barista")
except ModuleNotFoundError:
    print("and nothing is installed out here")
