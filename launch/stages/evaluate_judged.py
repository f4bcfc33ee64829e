"""The part of stage evaluate that a judge decides: HealthBench and Auto-MOOVE.

First every model answers (the trained one, the base, and whom else a comparison needs), one server
after the other, with all benchmarks queued to it; then the judge's canary sings, and the judge goes
through the answers. Every request and reply is a line of evaluate/calls/*.jsonl, by content: after
a kill, what was answered is not asked again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checks.items import Item, write_items
from checks.judge_statistics import details
from kit.files import digest, sha256_file, write_json
from launch.run import judged_benchmarks
from launch.stages import graders
from launch.stages.serve import ServedClient, Server, Serving
from scoring import canary, healthbench, kinds, moove, vignettes
from scoring.client import Call, Client, Progress, Reply

if TYPE_CHECKING:
    from launch.run.recipe import Recipe
    from launch.stages.stage import Context

BASE, TRAINED = kinds.BASE, "trained"
#: Seconds between two lines of progress in the log, and between two writes of progress.json.
SAY_S, SHOW_S = 15.0, 1.0
Answers = dict[str, dict[str, list[Reply]]]


def execute(
    recipe: Recipe,
    context: Context,
    models: Mapping[str, Path],
    names: Mapping[str, Path],
    identities: Mapping[str, str],
) -> tuple[dict[Path, str | None], dict[str, Any]]:
    """Answer, grade and judge; gives the files that it wrote, and numbers by model.

    Args:
        recipe: its tables eval, judge, model and published.
        context: of stage evaluate.
        models: folders of weights, by what they are called.
        names: files of the judged benchmarks, by name.
        identities: what decides each model's answers.

    Returns:
        The files, and {"trained": {benchmark: {"items", "of", "score", "unparsed", "sha256",
        "seconds", "problem"}}, "base": …, "judged": the record of how it was done}. Other models,
        which comparisons alone ask, have no numbers of their own.
    """
    return _Judged(recipe, context, models, names, identities).execute()


class _Judged:
    def __init__(
        self,
        recipe: Recipe,
        context: Context,
        models: Mapping[str, Path],
        names: Mapping[str, Path],
        identities: Mapping[str, str],
    ) -> None:
        self.context, self.models, self.identities = context, models, identities
        self.recipe, self.site = recipe, context.site
        self.folder = context.folder
        self.calls = self.folder / "calls"
        self.calls.mkdir(parents=True, exist_ok=True)
        self.protocol = graders.protocol(self.recipe)
        self.prompts = graders.prompts(self.recipe, self.site)
        self.table = self.recipe.table("eval")
        self.names = dict(names)
        self.record: dict[str, Any] = {"read": {}}
        # Everything is read before a server is started: a broken file should not cost its loading.
        self.sets = {name: self._read(name, path) for name, path in names.items()}
        self.record |= {"servers": {}, "benchmarks": {}, "windows": {}, "window_left": {}}

    def execute(self) -> tuple[dict[Path, str | None], dict[str, Any]]:
        answers = {which: self._answer(which) for which in self.models}
        summary: dict[str, Any] = {w: {} for w in self.models if w in (BASE, TRAINED)}
        files: dict[Path, str | None] = {}
        with self._judge() as client:
            problem = self._sing(client)
            for name in self.names:
                for which in self._graded(name):
                    began = time.monotonic()
                    found = [] if problem else self._items(client, which, name, answers)
                    path = self.context.items_of(which) / f"{name}.jsonl"
                    path.unlink(missing_ok=True)
                    if found:
                        write_items(path, found)
                        files[path] = None
                    summary[which][name] = self._numbers(which, name, found, problem, began)
            if said := self._short("judge", list(client.known.values())):
                self._say(f"the judge has {len(client.known):,} replies{said}")
        for file in sorted(self.calls.glob("*.jsonl")):
            files[file] = None
        return files, {**summary, "judged": self._record()}

    def _read(self, name: str, path: Path) -> tuple[list[Any], int]:
        """Give the drawn items, and how many there are."""
        if kinds.kind(name) == kinds.RUBRIC:
            found: list[Any] = list(healthbench.read_conversations(path))
        else:
            reading = vignettes.read_vignettes(path)
            self._say(f"{name}: {reading.words()}")
            self.record["read"][name] = reading.counts()
            found = reading.vignettes
        return kinds.draw(found, self.table["limit"], self.table["seed"], name), len(found)

    def _graded(self, name: str) -> list[str]:
        """Whose answers to a benchmark get a score; of comparisons only the trained model's."""
        if kinds.kind(name) == kinds.RUBRIC and self.table["base"]:
            return [which for which in self.models if which in (BASE, TRAINED)]
        return [TRAINED]

    # --- answers ----------------------------------------------------------------------------------
    def _answer(self, which: str) -> dict[str, list[Reply]]:
        """Have a model answer every benchmark that needs it; a server is started if one does."""
        wanted = {
            name: [self._call(name, one) for one in found]
            for name, (found, _) in self.sets.items()
            if which in (*self._graded(name), kinds.AGAINST.get(name))
        }
        serving = graders.model_server(self.recipe, self.site, self.models[which], which)
        every = [call for calls in wanted.values() for call in calls]
        server = Server(serving, self.folder, self._say)
        client = ServedClient(server, self.identities[which], self.calls / f"{which}.jsonl",
                              concurrency=self._at_once())  # fmt: skip
        if all(client.key(call) in client.known for call in every):
            self._say(f"{which}: all {len(every):,} answers are here already")
            return {name: client.ask(calls) for name, calls in wanted.items()}
        out = {}
        with self._served(serving, server):
            client.moved()
            self._window(which, client)
            for name, calls in wanted.items():
                client.tell = self._teller(which, name, "answering")
                out[name] = client.ask(calls)
                cut = sum(reply.cut for reply in out[name])
                self._say(f"{which} has answered {name}: {len(calls):,} replies, {cut:,} of them "
                          f"cut at {self.protocol.max_tokens:,} tokens or the window's end"
                          + self._short(f"{which}, {name}", out[name]))  # fmt: skip
        return out

    def _window(self, which: str, client: Client) -> None:
        """Ask a server for its window, so that it is said before hours of answers."""
        found = client.window()
        self.record["windows"][which] = found
        self._say(f"{which} takes {found:,} tokens, prompt and reply together" if found else
                  f"{which}'s server does not say how many tokens it takes (no /tokenize): what "
                  "does not fit into its window would end the evaluation")  # fmt: skip

    def _short(self, what: str, replies: list[Reply]) -> str:
        """Say how many replies had less room than their limit, and how many none."""
        too_long = sum(reply.too_long for reply in replies)
        shortened = sum(reply.room is not None for reply in replies) - too_long
        if not too_long and not shortened:
            return ""
        self.record["window_left"][what] = {"shortened": shortened, "too_long": too_long}
        said = f"; the window left {shortened:,} of them less than that" if shortened else ""
        if too_long:
            said += f"; {too_long:,} prompts are longer than the window: empty replies"
        return said

    def _call(self, name: str, one: Any) -> Call:
        rubric = kinds.kind(name) == kinds.RUBRIC
        messages = list(one.messages) if rubric else [{"role": "user", "content": one.prompt}]
        return Call(messages, self.protocol.temperature, self.protocol.max_tokens,
                    self.protocol.seed, self.protocol.options(pairs=not rubric),
                    label=f"{name} {one.id}")  # fmt: skip

    def _at_once(self) -> int:
        return int(self.recipe.table("judge")["concurrency"])

    # --- the judge --------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _judge(self) -> Iterator[Client]:
        record = self.calls / "judge.jsonl"
        weights = graders.judge_weights(self.recipe, self.site)
        serving = graders.judge_server(self.recipe, self.site, weights)
        if serving is None:
            client = Client(graders.endpoint(self.recipe), record, concurrency=self._at_once())
            self._window("judge", client)
            yield client
            return
        server = Server(serving, self.folder, self._say)
        identity = graders.judge_identity(self.recipe)
        with self._served(serving, server):
            served = ServedClient(server, identity, record, concurrency=self._at_once())
            if not self.recipe.table("judge")["script"]:  # a rule has no window
                self._window("judge", served)
            yield served

    def _sing(self, client: Client) -> str:
        table = self.recipe.table("judge")
        if not table["canary"]:
            return ""
        client.tell = self._teller("judge", "canary", "grading")
        frozen = canary.read_canary(Path(table["canary"]))
        margin = float(table["canary_margin"])
        found = canary.sing(frozen, client, self.prompts.grader, self.protocol, margin)
        self.record["canary"] = found
        self._say(f"canary: {found['changed']:,} of {found['n']:,} frozen grades differ, "
                  f"{found['unread']:,} could not be read: {found['drift']:.1f} points of drift, "
                  f"{found['margin']:g} are allowed")  # fmt: skip
        return str(found["problem"])

    def _items(self, client: Client, which: str, name: str, answers: Answers) -> list[Item]:
        client.tell = self._teller(which, name, "judging")
        found, _ = self.sets[name]
        ours = answers[which][name]
        if kinds.kind(name) == kinds.RUBRIC:
            graded = healthbench.grade(
                found, [(r.text, r.cut) for r in ours], client, self.prompts.grader, self.protocol
            )
            items = [healthbench.to_item(one, name, self.protocol) for one in graded]
            return [_noted(i, r) for i, r in zip(items, ours, strict=True)]
        return self._pairs(client, name, found, ours, answers[kinds.AGAINST[name]][name])

    def _pairs(
        self, client: Client, name: str, found: list[Any], ours: list[Reply], theirs: list[Reply]
    ) -> list[Item]:
        prompt, rules = self.prompts.pairs, self.protocol
        mine, other = [r.text for r in ours], [r.text for r in theirs]
        judgements = moove.judge_pairs(found, mine, other, client, prompt, rules)
        items = moove.to_items(found, mine, other, judgements, name, rules)
        items = [_noted(i, *pair) for i, *pair in zip(items, ours, theirs, strict=True)]
        voted = [one for one in found if one.votes]
        if voted:
            # People voted on two answers of their own: how the judge rules on those is agreement.
            firsts, seconds = zip(*(one.answers for one in voted), strict=True)
            own = moove.judge_pairs(voted, firsts, seconds, client, prompt, rules)
            items = [moove.with_votes(i, one, own) for i, one in zip(items, found, strict=True)]
        return items

    # --- what is said and kept --------------------------------------------------------------------
    def _numbers(
        self, which: str, name: str, items: list[Item], problem: str, began: float
    ) -> dict[str, Any]:
        found, wrong = details(items)
        if found is not None:
            self.record["benchmarks"].setdefault(which, {})[name] = found
        scores = [item.score for item in items if item.score is not None]
        out = {
            "items": len(self.sets[name][0]),
            "of": self.sets[name][1],
            "score": sum(scores) / len(scores) if scores else None,
            "unparsed": sum(item.unparsed for item in items),
            "sha256": sha256_file(self.names[name]),
            "seconds": round(time.monotonic() - began, 2),
        }
        if problem or wrong:
            out["problem"] = problem or wrong
        share = "no score" if out["score"] is None else f"{out['score']:.1%}"
        self._say(f"{which}, {name}: {share} over {out['items']:,} items, {out['seconds']:.0f} s"
                  + (f"; {out['problem']}" if "problem" in out else ""))  # fmt: skip
        return out

    def _record(self) -> dict[str, Any]:
        others = {w: one.identity for w, one in judged_benchmarks.comparators(self.recipe).items()}
        return {
            "protocol": asdict(self.protocol),
            "judge": graders.judge_identity(self.recipe),
            "prompts": self.prompts.sha256,
            "chat_templates": {w: _template(m) for w, m in self.models.items()},
            **({"comparators": others} if others else {}),
            **self.record,
        }

    @contextlib.contextmanager
    def _served(self, serving: Serving, server: Server) -> Iterator[None]:
        with server:
            yield
        self.record["servers"][serving.name] = {
            "command": list(serving.command), "starts": server.starts,
        }  # fmt: skip

    def _say(self, line: str) -> None:
        print(line, flush=True)

    def _teller(self, which: str, name: str, doing: str) -> Any:
        """Give what a client tells its progress; it goes to progress.json and into the log."""
        at = {"said": time.monotonic(), "shown": 0.0}

        def tell(progress: Progress) -> None:
            now = time.monotonic()
            done = progress.known + progress.done
            if now - at["shown"] >= SHOW_S or done == progress.of:
                at["shown"] = now
                who = f"{doing} {name}" if which == "judge" else f"{doing} {name}, {which} model"
                write_json(self.folder / "progress.json", {
                    "model": which, "benchmark": name, "done": done, "of": progress.of,
                    "words": f"{who}: {progress.words()}",
                })  # fmt: skip
            if now - at["said"] >= SAY_S:
                at["said"] = now
                self._say(f"{doing} {name}, {which}: {progress.words()}")

        return tell


def _noted(item: Item, *answers: Reply) -> Item:
    """Note on an item how many of its answers are empty because their prompt did not fit."""
    too_long = sum(reply.too_long for reply in answers)
    return replace(item, extra={**item.extra, "too_long": too_long}) if too_long else item


def _template(model: Path) -> str:
    """Give the sha256 of a model's chat template, wherever its folder keeps it."""
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        if (model / name).is_file():
            return f"{name} {sha256_file(model / name)}"
    return f"none {digest(None)}"
