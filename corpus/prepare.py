"""From a corpus file to the one file that training reads, with counts.

`prepare(spec, out)` writes `train.jsonl` (rows of {id, component, conversations}) and
`summary.json`. Of the rows that went by only the ids stay in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from corpus import sources
from corpus.counts import account
from corpus.rows import RowError, normalise
from kit.errors import KitError
from kit.files import write_json, writing_bytes

#: Bad rows that one error message shows; the rest is counted.
SHOWN = 5
#: What is counted of each component.
KEYS = ("rows", "turns", "characters", "repeated_ids")


def prepare(
    spec: Path,
    out: Path,
    *,
    found: Sequence[sources.Source] | None = None,
    on_row: Callable[[str, int], None] | None = None,
) -> dict[str, Any]:
    """Write out/train.jsonl and out/summary.json.

    Args:
        spec: a corpus file (.toml), or one .jsonl or .parquet file.
        out: an existing folder.
        found: its components where they are known already.
        on_row: called now and then with (component, rows so far), for progress.

    Returns:
        What summary.json holds: rows, characters and turns per component, the file's sha256.

    Raises:
        KitError: anything wrong in the sources; nothing is left that could be taken for whole.
    """
    found = sources.load(spec) if found is None else found
    digest = hashlib.sha256()
    components: dict[str, dict[str, int]] = {}
    seen: Counter[str] = Counter()
    said: list[str] = []
    with writing_bytes(out / "train.jsonl", single=True) as file:
        for source in found:
            counts = _copy(source, file, digest, seen, on_row)
            components[source.name] = counts
            count = account(source.name, counts["rows"], source.about)
            if not count.explained:
                raise KitError(
                    f"component {source.name} has {count.found:,} rows, "
                    f"{count.published:,} are expected",
                    where=", ".join(map(str, source.files)),
                    cause="another revision, or a cut file",
                    fix=f"fetch it again, or account for it in components.{source.name}.also "
                    f"of {spec}",
                )
            left = counts.get("left_out", 0)
            said.append(str(count) + (f"; {left:,} without an answer left out" if left else ""))
    total = {key: sum(c[key] for c in components.values()) for key in KEYS}
    summary = {"sha256": digest.hexdigest(), **total, "components": components, "counts": said}
    write_json(out / "summary.json", summary)
    return summary


def _copy(
    source: sources.Source,
    file: BinaryIO,
    digest: Any,
    seen: Counter[str],
    on_row: Callable[[str, int], None] | None,
) -> dict[str, int]:
    counts: Counter[str] = Counter(rows=0, turns=0, characters=0, repeated_ids=0)
    bad: list[str] = []
    wrong = 0
    for place, raw in sources.read(source):
        if raw is None:
            counts["left_out"] += 1
            continue
        counts["rows"] += 1
        try:
            row = normalise(raw)
        except RowError as error:
            wrong += 1
            if len(bad) < SHOWN:
                bad.append(f"{place}: {error}")
            continue
        # Ids name rows in reports, nothing more: real corpora repeat them, so a repeat is counted
        # and told apart, not refused.
        identity = f"{source.name}/{row.id if row.id is not None else counts['rows']}"
        seen[identity] += 1
        if seen[identity] > 1:
            counts["repeated_ids"] += 1
            identity += f"#{seen[identity]}"
        counts["turns"] += len(row.turns)
        counts["characters"] += sum(len(text) for _, text in row.turns)
        line = json.dumps(row.as_json(identity, source.name), ensure_ascii=False).encode() + b"\n"
        digest.update(line)
        file.write(line)
        if on_row and counts["rows"] % 1000 == 0:
            on_row(source.name, counts["rows"])
    if wrong:
        more = f"\n(and {wrong - len(bad):,} more)" if wrong > len(bad) else ""
        raise KitError(
            f"{wrong:,} of {counts['rows']:,} rows of {source.name} cannot be trained on:\n"
            + "\n".join(bad)
            + more,
            where=bad[0].partition(": ")[0],
            cause="rows need `conversations` of {from, value} or `messages` of {role, content}",
            fix="mend or remove these rows; nothing was written",
        )
    if not counts["rows"]:
        raise KitError(f"component {source.name} is empty", where=str(source.files[0]))
    return dict(counts)
