"""Bring files into the cache, several at once, each checked; go on where an earlier fetch ended.

What a file is held against, the strictest that is known: the sha256 that is pinned; the sha256 that
an earlier fetch wrote down; the hash by which the hub or its layout names it. A file that does not
agree is kept aside, not used, and brought from the next origin.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from threading import Event

from corpus.origins import Origin, Remote, Stopped, UnreachableError
from corpus.store import Digest, Repo, Store, Tick, digest, is_commit
from kit.errors import KitError

#: Room that must stay free on the disk, in bytes.
RESERVE = 2**28


@dataclass(frozen=True)
class Wanted:
    """Files of one repository.

    Attributes:
        repo: where they are.
        revision: a commit, or a branch or tag, which is replaced by its commit when fetched.
        patterns: which files; GitHub is asked for a list only where one is no plain path.
        why: what they are for, in words.
        sha256: pinned hashes by path.
    """

    repo: Repo
    revision: str
    patterns: tuple[str, ...]
    why: str
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Part:
    """One file on its way.

    Attributes:
        expected: what it is held against.
        by: "pin", "record", "hub" or "nothing": where that is from.
        aside: where wrong bytes of it were put.
        done: its hash, once it is there and checked.
        brought: whether bytes had to be brought for it.
    """

    wanted: Wanted
    commit: str
    path: str
    expected: Remote
    by: str
    sources: list[Origin]
    aside: list[Path] = field(default_factory=list)
    done: Digest | None = None
    brought: bool = False


class Watch:
    """What is told while files come; this one is deaf."""

    def plan(self, parts: Sequence[Part]) -> None:
        """Every file, before the first is looked at."""

    def begin(self, part: Part, doing: str) -> Tick:  # noqa: ARG002
        """A file is "checked" or "fetched" now; gives what is told its bytes."""
        return lambda _: None

    def end(self, part: Part) -> None:
        """A file is there and checked."""

    def say(self, text: str) -> None:
        """Something that was decided, with its reason."""


def merge(wanted: Iterable[Wanted]) -> list[Wanted]:
    """Put what is wanted of the same repository and revision together."""
    out: dict[tuple[Repo, str], Wanted] = {}
    for one in wanted:
        key = (one.repo, one.revision)
        if key in out:
            old = out[key]
            why = old.why if one.why in old.why.split(", ") else f"{old.why}, {one.why}"
            patterns = tuple(dict.fromkeys(old.patterns + one.patterns))
            one = Wanted(one.repo, one.revision, patterns, why, {**old.sha256, **one.sha256})
        out[key] = one
    return list(out.values())


def fetch(
    wanted: Iterable[Wanted],
    store: Store,
    origins: Sequence[Origin],
    *,
    update: bool = False,
    jobs: int = 4,
    watch: Watch | None = None,
) -> list[Part]:
    """Bring what is wanted and check all of it.

    Args:
        wanted: files of repositories.
        store: where to.
        origins: asked in this order.
        update: take what a branch stands for now, not what it stood for at the first fetch.
        jobs: files at a time.
        watch: told what happens.

    Returns:
        Every file, checked.

    Raises:
        KitError: files could not be had, were not those that were pinned, or the disk is full. What
            is whole and checked stays, and what is half there is gone on with by the next call.
    """
    watch = watch or Watch()
    with store.held():
        try:
            parts = [p for w in merge(wanted) for p in _plan(w, store, origins, update, watch)]
            watch.plan(parts)
            _check_room(parts, store)
            _bring_all(parts, store, jobs, watch)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise KitError(
                "the disk is full" if full else f"the cache cannot be written: {error.strerror}",
                where=str(error.filename or store.cache),
                cause="what is whole stays, and is not brought again",
                fix="make room, or set MFO_CACHE to a folder on another disk; then fetch again",
                exit_code=1,
            ) from None
    return parts


def _plan(
    one: Wanted, store: Store, origins: Sequence[Origin], update: bool, watch: Watch
) -> list[Part]:
    mine = [o for o in origins if one.repo.kind in o.kinds]
    if one.repo.kind == "github":
        if not is_commit(one.revision):
            raise KitError(f"{one.repo.name} is pinned to {one.revision!r}, which is no commit")
        if not any(set(pattern) & set("*?[") for pattern in one.patterns):
            known = store.record(one.repo, one.revision)["files"]
            return [_part(one, one.revision, path, Remote(), known, mine) for path in one.patterns]
    commit = None if update and not is_commit(one.revision) else store.commit(
        one.repo, one.revision
    )  # fmt: skip
    record = store.record(one.repo, commit) if commit else None
    if commit and record and set(one.patterns) <= set(record["patterns"]):
        files = {path: Remote(said.get("size")) for path, said in record["files"].items()}
    else:
        commit, files, first = _list(one, commit or one.revision, mine)
        mine = [first, *(o for o in mine if o is not first)]
        if not is_commit(one.revision):
            store.keep(one.repo, one.revision, commit)
    if not is_commit(one.revision):
        watch.say(f"{one.repo.name}: {one.revision} is {commit[:12]} from now on, also after it "
                  "moves (--update takes it anew)")  # fmt: skip
    chosen = {path: remote for path, remote in files.items() if _any(path, one.patterns)}
    for pattern in one.patterns:
        # "*.txt" says what would be taken; "data/x/*.parquet" says what has to be there.
        if not pattern.startswith("*") and not any(_any(path, (pattern,)) for path in chosen):
            raise KitError(
                f"nothing in {one.repo.name} at {commit[:12]} is called {pattern}",
                where=one.why,
                cause="the repository was rearranged, or the path is misspelt",
                fix="mend the path in recipes/",
            )
    missing = sorted(set(one.sha256) - set(chosen))
    if missing:
        raise KitError(f"the pinned file {missing[0]} is not in {one.repo.name} at {commit[:12]}",
                       where=one.why)  # fmt: skip
    known = store.record(one.repo, commit)["files"]
    return [_part(one, commit, path, remote, known, mine) for path, remote in chosen.items()]


def _any(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _list(
    one: Wanted, revision: str, origins: Sequence[Origin]
) -> tuple[str, dict[str, Remote], Origin]:
    """Ask the origins in turn what there is."""
    why = []
    for origin in origins:
        try:
            listing = origin.listing(one.repo, revision)
        except UnreachableError as error:
            why.append(str(error))
            continue
        return listing.commit, listing.files, origin
    raise _not_had(one, revision, why)


def _not_had(one: Wanted, what: str, why: Sequence[str]) -> KitError:
    gated = any("Gated" in text or "401" in text or "403" in text for text in why)
    return KitError(
        f"{one.repo.name} ({one.why}) cannot be had: {what}",
        where="; ".join(why) or "no origin was asked: HF_HUB_OFFLINE is set",
        cause="it is gated: its licence has to be accepted on its page, for the token in HF_TOKEN"
        if gated
        else "no network here, no such repository or revision, or no access to it",
        fix=(
            f"accept it at https://huggingface.co/{one.repo.name}, export HF_TOKEN=… of that "
            "account, and run the same command again"
            if gated
            else "run the same command again on a machine with a network, or with --mirror"
        )
        + "; what is whole is not brought again",
        exit_code=1,
    )


def _part(
    one: Wanted,
    commit: str,
    path: str,
    remote: Remote,
    known: Mapping[str, Mapping[str, str]],
    sources: list[Origin],
) -> Part:
    recorded = known.get(path, {}).get("sha256")
    pinned = one.sha256.get(path)
    if pinned and remote.sha256 and pinned != remote.sha256:
        raise KitError(
            f"{path} of {one.repo.name} is not the file that was pinned",
            where=f"{sources[0].name} at {commit[:12]}",
            cause=f"there its sha256 is {remote.sha256}, pinned is {pinned}; nothing was brought",
            fix="find out which is right; a pin is changed by hand alone",
        )
    by = "pin" if pinned else "record" if recorded else ""
    by = by or ("hub" if remote.sha256 or remote.git_sha1 else "nothing")
    sha256 = pinned or recorded or remote.sha256
    expected = Remote(remote.size, sha256, None if sha256 else remote.git_sha1)
    return Part(one, commit, path, expected, by, sources)


def _check_room(parts: Sequence[Part], store: Store) -> None:
    missing = sum(
        p.expected.size or 0
        for p in parts
        if not (store.snapshot(p.wanted.repo, p.commit) / p.path).exists()
    )
    free = shutil.disk_usage(store.cache).free
    if missing and missing + RESERVE > free:
        raise KitError(
            f"{missing / 1e9:,.1f} GB are to be fetched, {free / 1e9:,.1f} GB are free",
            where=str(store.cache),
            fix="make room, or set MFO_CACHE to a folder on another disk",
            exit_code=1,
        )


def _bring_all(parts: Sequence[Part], store: Store, jobs: int, watch: Watch) -> None:
    stop = Event()
    failed: list[KitError] = []

    def work(part: Part) -> None:
        try:
            _bring(part, store, watch, stop)
        except KitError as error:
            failed.append(error)  # the others go on: what they bring stays

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting = [pool.submit(work, part) for part in parts]
        try:
            done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
            for one in done:
                one.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            _write_down(parts, store)
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        first = failed[0]
        raise KitError(first.what + more, where=first.where, cause=first.cause, fix=first.fix,
                       exit_code=1)  # fmt: skip


def _write_down(parts: Sequence[Part], store: Store) -> None:
    """Note what is checked; a pattern is complete when all of its files are."""
    groups: dict[tuple[Repo, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.wanted.repo, part.commit), []).append(part)
    for (repo, commit), mine in groups.items():
        files = {p.path: {"sha256": p.done.sha256, "by": p.by} for p in mine if p.done is not None}
        every = {pattern for p in mine for pattern in p.wanted.patterns}
        open_ = [p.path for p in mine if p.done is None]
        complete = [x for x in every if not any(fnmatch(path, x) for path in open_)]
        if files:
            store.note(repo, commit, files, sorted(complete))


def _bring(part: Part, store: Store, watch: Watch, stop: Event) -> None:
    def ticking(doing: str) -> Tick:
        tick = watch.begin(part, doing)

        def told(count: int) -> None:
            if stop.is_set():
                raise Stopped
            tick(count)

        return told

    place = store.snapshot(part.wanted.repo, part.commit) / part.path
    if place.exists() and _agrees(part, store, ticking("checked"), watch):
        watch.end(part)
        return
    why = []
    for origin in part.sources:
        try:
            # A second try begins anew: what an earlier fetch left half there may be what is wrong.
            for _ in range(
                2 if store.half(part.wanted.repo, part.commit, part.path).exists() else 1
            ):
                part.brought = True
                origin.bring(part.wanted.repo, part.commit, part.path, store, ticking("fetched"))
                if _agrees(part, store, ticking("checked"), watch):
                    watch.end(part)
                    return
            why.append(f"{origin.name}: the bytes it gave are not the right ones")
        except UnreachableError as error:
            why.append(str(error))
    if part.aside:
        raise KitError(
            f"{part.path} of {part.wanted.repo.name} has a wrong hash and is not used",
            where=str(part.aside[-1]),
            cause=f"{'; '.join(why)}; expected is the {part.by}'s "
            f"{part.expected.sha256 or part.expected.git_sha1}. The wrong bytes were kept there",
            fix="look at that file; fetch again, from another --mirror if it stays wrong",
            exit_code=1,
        )
    raise _not_had(part.wanted, part.path, why)


def _agrees(part: Part, store: Store, tick: Tick, watch: Watch) -> bool:
    """Check the file that is in place; a wrong one is kept aside."""
    place = store.snapshot(part.wanted.repo, part.commit) / part.path
    found, expected = digest(place, tick), part.expected
    if expected.sha256:
        right = found.sha256 == expected.sha256
    elif expected.git_sha1:
        right = found.git_sha1 == expected.git_sha1
    else:
        right = expected.size in (None, found.size)
    if right:
        part.done = found
        return True
    part.aside.append(store.keep_aside(part.wanted.repo, part.commit, part.path, found.sha256))
    watch.say(f"{part.path} of {part.wanted.repo.name} has a wrong hash: not used, kept aside as "
              f"{part.aside[-1]}")  # fmt: skip
    return False
