"""What a program reads from a command: JSON on its standard output."""

from __future__ import annotations

import json

import click


def emit(value: object) -> None:
    """Print JSON for programs."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))
