"""Everything that is made from images.toml: `mfo image render`, `python -m containers.render`.

The files are committed, so that they can be read and used without this program; `--check` (and a
test) says which are older than the spec.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from msgspec import structs

from containers.spec import ROOM, SPEC, Spec, load
from kit.errors import KitError


def files(spec: Spec) -> dict[str, str]:
    """Give every rendered file: its path below containers/ -> its content."""
    out = {}
    pure = "".join(f"{k}={v} " for k, v in spec.data.source.pure_environment.items())
    for name in spec.images:
        facts = {"spec": spec, "image": spec.image(name), "d": spec.data,
                 "pure_environment": f"    {pure}"}  # fmt: skip
        out[f"{name}.Dockerfile"] = _fill("Dockerfile.j2", facts)
        out[f"{name}.def"] = _fill("def.j2", facts)
        common = spec.data.edf.common
        for mode in (spec.data.edf.hook, spec.data.edf.aei):
            environment = {**common.environment, **mode.environment}
            edf = {**structs.asdict(common), **structs.asdict(mode), "environment": environment}
            out[f"edf/{name}{edf['suffix']}.toml"] = _fill("edf.j2", {**facts, "edf": edf})
    out["podman-hpc.sh"] = _fill("podman-hpc.j2", {"spec": spec})
    return out


def _fill(template: str, facts: dict[str, Any]) -> str:
    import jinja2

    # Not HTML: nothing to escape. What the spec may hold is checked when it is read.
    engine = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(ROOM / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return engine.get_template(template).render(**facts)


def stale(spec: Spec) -> list[str]:
    """Name the committed files that the spec would render otherwise."""
    room = spec.path.parent
    return [name for name, text in files(spec).items() if _read(room / name) != text]


def write(spec: Spec) -> list[str]:
    """Write what is stale, and give its names."""
    changed = stale(spec)
    for name, text in files(spec).items():
        if name in changed:
            target = spec.path.parent / name
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
    return changed


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m containers.render")
    parser.add_argument("--check", action="store_true", help="only say what is stale; exits 1")
    parser.add_argument("--spec", type=Path, default=SPEC)
    given = parser.parse_args(arguments)
    try:
        spec = load(given.spec)
        changed = stale(spec) if given.check else write(spec)
    except KitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name in changed:
        print(f"{'stale' if given.check else 'written'}: {name}")
    if given.check and changed:
        print("next:  python -m containers.render")
    return 1 if given.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
