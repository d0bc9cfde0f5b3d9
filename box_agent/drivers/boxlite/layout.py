"""The root of a machine as an OCI image layout: a directory that boxlite reads instead of asking a registry."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any, Final

_PROCESSORS: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def write(folder: Path, archive: bytes) -> None:
    """One layer, ``archive``, a tar of the root directory. ``folder`` is made; the same input gives the same bytes."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    layer = _put(blobs, archive, "application/vnd.oci.image.layer.v1.tar")
    processor = _PROCESSORS.get(platform.machine(), platform.machine())
    config = {
        "architecture": processor,
        "os": "linux",
        "config": {"WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _put(blobs, _json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [layer],
    }
    entry = _put(blobs, _json(manifest), manifest["mediaType"])
    index = {"schemaVersion": 2, "manifests": [{**entry, "platform": {"architecture": processor, "os": "linux"}}]}
    (folder / "index.json").write_bytes(_json(index))
    (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def _put(blobs: Path, content: bytes, kind: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
