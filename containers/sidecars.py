"""Where an image file's evidence lies. Nothing else: whoever lists runs imports this."""

from __future__ import annotations

from pathlib import Path


def sidecars(image: Path) -> dict[str, Path]:
    """Where an image file's evidence lies: "provenance.json" and "cdx.json" beside it."""
    return {
        kind: image.with_name(f"{image.name}.{kind}") for kind in ("provenance.json", "cdx.json")
    }
