"""One self-contained HTML page: everything escaped, one style sheet, no network.

What stands on a page is text of unknown origin. The templates' content security policy allows the
page's own style (and script, where it has one) by their sha256, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any


def render(template: Path, *, style: str, script: str = "", **values: Any) -> str:
    """Render a Jinja template with its style and script and their hashes.

    Args:
        template: a file; what it includes lies beside it. It finds `style`, `style_hash`, `script`
            and `script_hash` beside the values.
        style: CSS of the kit's own, not escaped.
        script: JavaScript of the kit's own, not escaped.
        **values: everything else; text in them is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = {"style": style, "script": script}
    return environment.get_template(template.name).render(
        **{name: Markup(text) for name, text in own.items()},  # noqa: S704  the kit's own
        **{f"{name}_hash": sha256_source(text) for name, text in own.items()},
        **values,
    )


def sha256_source(text: str) -> str:
    """Give the source expression of a content security policy for an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
