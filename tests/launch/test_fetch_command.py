"""`mfo fetch`: what a recipe needs, from local mirrors; after it, runs need no network."""

import hashlib
import json
import shutil
import socket
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))
sys.path.insert(0, str(Path(__file__).parent.parent / "checks"))
from standin_files import git_mirror, lay_out
from standin_tasks import task_files

from corpus import origins
from corpus.store import Repo
from launch import fetch_commands, judging, recipe, site
from launch import run as runs
from launch.errors import ACTIONABLE
from launch.preflight import choices, comparators, fetch, upstream, wanted
from launch.stages import execution
from launch.stages.evaluate import benchmark_files

Call = Callable[..., tuple[int, str, str]]
A, B, C = "a" * 40, "b" * 40, "c" * 40
QUESTION = "which of the invented drugs lowers the pressure in the eye within one hour"


def parquet(rows: list[dict[str, object]], tmp: Path) -> bytes:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(rows), tmp / "x.parquet")
    return (tmp / "x.parquet").read_bytes()


def tokenizer() -> bytes:
    tokenizers = pytest.importorskip("tokenizers")
    words = {w: n for n, w in enumerate(["?", *sorted({*QUESTION.split(), "A", "B", "."})])}
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))  # noqa: S106
    found.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return str(found.to_str()).encode()


SHAPE = recipe.RECIPES / "gemma-3-27b" / "shape.json"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A recipe whose parts all lie in two local mirrors, and an empty cache."""
    rows = [
        {"id": str(n), "messages": [{"role": "user", "content": text},
                                    {"role": "assistant", "content": "an answer"}]}
        for n, text in enumerate(["a drug", f"now {QUESTION}", "another"])
    ]  # fmt: skip
    hub = tmp_path / "mirror" / "hub"
    lay_out(hub, "dataset", "org/corpus", A, {"data/one/train-0.parquet": parquet(rows, tmp_path)})
    lay_out(hub, "model", "org/model", B, {
        "model.safetensors": b"weights", "config.json": SHAPE.read_bytes(),
        "tokenizer.json": tokenizer(),
        "pytorch_model.bin": b"a pickle is never brought"})  # fmt: skip
    items = [
        {"pubid": n, "question": f"{QUESTION}?", "context": {"contexts": ["text"]},
         "final_decision": "yes"}
        for n in range(4)
    ]  # fmt: skip
    lay_out(hub, "dataset", "org/pub", C, {"x/train-0.parquet": parquet(items, tmp_path)})
    selection = json.dumps({"1": "yes", "3": "yes"}).encode()
    tasks = {f"{upstream.TASKS}/{name}": data for name, data in task_files().items()}
    # A file beside them that is not pinned, and that nobody may read.
    stray = {f"{upstream.TASKS}/stray.yaml": b"task: medqa_g\ndoc_to_text: !function evil.f\n"}
    commit = git_mirror(tmp_path / "mirror", "own/er", {"truth.json": selection, "a.py": b"x = 1"})
    fork = git_mirror(tmp_path / "fork", "own/fork", {**tasks, **stray})
    (tmp_path / "fork" / "own" / "fork.git").rename(tmp_path / "mirror" / "own" / "fork.git")
    (tmp_path / "pins.toml").write_text(
        "".join(
            f'[{name}]\nrepo = "own/{repo}"\ncommit = "{at}"\n[{name}.sha256]\n'
            + "".join(f'"{p}" = "{hashlib.sha256(d).hexdigest()}"\n' for p, d in some.items())
            for name, repo, at, some in (
                ("own", "er", commit, {"a.py": b"x = 1"}),
                ("harness", "fork", fork, tasks),
            )
        )
    )
    (tmp_path / "benchmarks.toml").write_text(
        '[benchmarks.pubmedqa]\nrepository = "org/pub"\nrevision = "main"\n'
        'path = "x/train-*.parquet"\nrows = 4\n[benchmarks.pubmedqa.selection]\n'
        f'repository = "own/er"\nrevision = "{commit}"\npath = "truth.json"\nrows = 2\n'
    )
    own = tmp_path / "own"
    own.mkdir()
    (own / "corpus.toml").write_text(
        '# the corpus\n[corpus]\nrepository = "org/corpus"\nrevision = "main"\n\n'
        '[components.one]\npath = "data/one/train-*.parquet"  # a pattern\n'
    )
    (own / "recipe.toml").write_text(
        'extends = "gemma-3-27b"\n[model]\nbase = "org/model"\n[corpus]\nsources = "corpus.toml"\n'
        'decontaminate = "correct"\n[eval]\nbenchmarks = ["pubmedqa"]\n[shape]\ngpus = 0\n'
        "global_batch = 4\n[train]\nmicro_batch_size = 1\n"
    )
    monkeypatch.setattr(wanted, "BENCHMARKS", tmp_path / "benchmarks.toml")
    monkeypatch.setattr(upstream, "PINS", tmp_path / "pins.toml")
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # no test asks the hub
    return SimpleNamespace(recipe=own, mirror=tmp_path / "mirror", cache=tmp_path / "cache",
                           fork_commit=fork, tmp=tmp_path)  # fmt: skip


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forbid every connection and name look-up from now on."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("something wanted the network")

    def forbid() -> None:
        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return forbid


def test_a_fetch_refuses_another_models_folder(call: Call, world: SimpleNamespace) -> None:
    file = next(world.mirror.rglob("config.json"))
    other = json.loads(SHAPE.read_bytes())
    other["text_config"]["num_hidden_layers"] = 34
    file.unlink()
    file.write_text(json.dumps(other))
    code, _, err = call("fetch", world.recipe, "--mirror", world.mirror, "--only", "model")
    assert code == 2
    assert "layers is 34, the recipe has 62" in err


def test_after_a_fetch_a_run_works_with_sockets_forbidden(
    call: Call, world: SimpleNamespace, no_sockets: Callable[[], None]
) -> None:
    no_sockets()
    code, out, err = call("fetch", world.recipe, "--mirror", world.mirror)
    assert (code, err) == (0, "")
    for said in ("base model", "corpus", "pubmedqa", "own/er", "every sha256 checked",
                 "next:"):  # fmt: skip
        assert said in out
    assert not list(world.cache.rglob("*.bin"))
    assert upstream.pinned_file(site.load("laptop"), "own", "a.py").read_bytes() == b"x = 1"

    place = site.load("laptop")
    chosen, said = wanted.freeze(recipe.load(str(world.recipe)), place, choices.FULL)
    choices.check_inputs(chosen, place, ["corpus"])
    run = runs.create(chosen, place, ["corpus"], said, world.tmp / "runs")
    execution.execute(run, "corpus")
    kept = [json.loads(x)["id"] for x in (run.folder("corpus") / "train.jsonl").open()]
    assert kept == [
        "one/0",
        "one/2",
    ]  # held against the fetched benchmark with the fetched tokenizer
    assert fetch.base_model(chosen, place).joinpath("model.safetensors").read_bytes() == b"weights"
    (items,) = benchmark_files(chosen).values()
    assert len(items.read_text().splitlines()) == 4
    from checks.benchmarks.mcq import read_benchmark

    assert [q.id for q in read_benchmark(items)] == ["1", "3"]
    # The pinned revisions are in run.toml.
    frozen = tomllib.loads((run.path / "run.toml").read_text())["recipe"]["data"]
    assert frozen["model"]["revision"] == B
    assert frozen["corpus"]["revision"] == A
    assert frozen["eval"]["benchmark_revisions"] == {"pubmedqa": f"org/pub@{C}"}
    assert frozen["eval"]["benchmark_files"] == str(items.parent)


def test_a_run_is_refused_before_a_fetch_and_says_the_command(
    call: Call, world: SimpleNamespace
) -> None:
    code, _, err = call("run", world.recipe, "--runs", world.tmp / "runs")
    assert code == 2
    assert "org/corpus at main has not been fetched" in err
    assert "mfo fetch own --site laptop" in err
    assert not (world.tmp / "runs").exists()
    code, out, _ = call("run", world.recipe, "--dry-run")
    assert code == 0
    assert out.count("NOT FETCHED") == 4
    call("fetch", world.recipe, "--mirror", world.mirror)
    _, out, _ = call("run", world.recipe, "--dry-run")
    assert "NOT FETCHED" not in out
    assert f"org/model at {B}, as it was fetched" in out


def test_a_changed_byte_is_noticed_by_run_and_fetch(call: Call, world: SimpleNamespace) -> None:
    call("fetch", world.recipe, "--mirror", world.mirror)
    place = site.load("laptop")
    chosen, _ = wanted.freeze(recipe.load(str(world.recipe)), place, choices.FULL)
    weights = fetch.base_model(chosen, place) / "model.safetensors"
    weights.write_bytes(b"weightz")
    with pytest.raises(ACTIONABLE, match="has changed"):
        fetch.base_model(chosen, place)
    code, out, _ = call("fetch", world.recipe, "--mirror", world.mirror, "--json")
    assert code == 0
    changed = [f["path"] for f in json.loads(out)["files"] if f["fetched"]]
    assert changed == ["model.safetensors"]
    assert [p.read_bytes() for p in (world.cache / "aside").rglob("*.safetensors.*")] == [
        b"weightz"
    ]
    (items,) = benchmark_files(chosen).values()
    items.write_text(items.read_text().replace("yes", "no!"))
    with pytest.raises(ACTIONABLE, match="has changed since it was made"):
        wanted.freeze(recipe.load(str(world.recipe)), place, choices.FULL)


def test_task_files_come_from_a_git_repository_and_a_changed_byte_stops_the_run(
    call: Call, world: SimpleNamespace
) -> None:
    call("fetch", world.recipe, "--mirror", world.mirror)
    place = site.load("laptop")
    assert upstream.task_files(place) == task_files()  # the stray file is not among them
    chosen, said = wanted.freeze(recipe.load(str(world.recipe)), place, ["evaluate"])
    assert f"task files: 5 of own/fork at {world.fork_commit}, every sha256 checked" in said
    run = runs.create(chosen, place, ["evaluate"], said, world.tmp / "runs")
    one = next(world.cache.rglob("pubmedqa_g.yaml"))
    one.write_bytes(one.read_bytes().replace(b"Invented", b"Inventex"))
    for command in (
        ["run", world.recipe, "--runs", world.tmp / "runs"],
        ["verify", world.mirror, "--recipe", world.recipe, "--runs", world.tmp / "runs"],
    ):
        code, _, err = call(*command)
        assert code == 2
        assert "pubmedqa_g.yaml is not the one that was pinned, and is not used" in err
        digests = [hashlib.sha256(data).hexdigest() for data in
                   (one.read_bytes(), task_files()["pubmedqa_g.yaml"])]  # fmt: skip
        assert f"its sha256 is {digests[0]}, pinned is {digests[1]}" in err
        assert "mfo fetch own --site laptop" in err
    # Also a run that began before: its stage reads the files again.
    with pytest.raises(ACTIONABLE, match="not the one that was pinned"):
        execution.execute(run, "evaluate")
    code, _, _ = call("fetch", world.recipe, "--mirror", world.mirror)
    assert (code, upstream.task_files(place)) == (0, task_files())
    one.unlink()
    code, _, err = call("run", world.recipe, "--runs", world.tmp / "runs")
    assert (code, "pubmedqa_g.yaml cannot be read" in err) == (2, True)


def test_a_benchmark_of_another_size_is_refused(call: Call, world: SimpleNamespace) -> None:
    lists = world.tmp / "benchmarks.toml"
    lists.write_text(lists.read_text().replace("rows = 4", "rows = 5"))
    code, _, err = call("fetch", world.recipe, "--mirror", world.mirror)
    assert code == 2
    assert "pubmedqa has 4 rows, 5 are expected" in err
    assert not [p for p in (world.cache / "benchmarks").iterdir() if p.is_dir()]


def test_the_published_corpus_is_counted_where_it_is_fetched(
    call: Call, world: SimpleNamespace
) -> None:
    """The four components as the hub has them, each with as many rows as may be met."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = {"curated_qa": 216_719, "synthetic_curated_qa": 214_654, "guidelines_qa": 145_681,
            "synthetic_moove": 24_387}  # fmt: skip
    spec = world.recipe / "corpus.toml"
    published = (recipe.RECIPES / "corpus.toml").read_text()
    spec.write_text(published)

    def lay_out_all() -> None:
        files = {}
        for name, count in rows.items():
            for part, many in enumerate((count // 2, count - count // 2)):
                pq.write_table(pa.table({"messages": pa.nulls(many)}), world.tmp / "x.parquet")
                files[f"data/{name}/train-{part}.parquet"] = (world.tmp / "x.parquet").read_bytes()
        lay_out(world.mirror / "hub", "dataset", "EPFLiGHT/fully-open-meditron", A, files)

    lay_out_all()
    code, out, err = call("fetch", world.recipe, "--only", "corpus", "--mirror", world.mirror)
    assert (code, err) == (0, "")
    assert "curated_qa: 216,719 rows, published 216,546, +173: the rows before" in out
    assert "guidelines_qa: 145,681 rows, as published" in out
    assert "synthetic_moove: 24,387 rows, published 24,465, -78: the rows without the 78" in out
    code, out, _ = call("corpus", "lock", spec, "--mirror", world.mirror)
    assert code == 0
    assert "synthetic_moove: 24,387 rows, published 24,465, -78" in out
    assert tomllib.loads(spec.read_text())["components"]["synthetic_moove"]["rows"] == 24_465

    shutil.rmtree(world.mirror / "hub" / "datasets--EPFLiGHT--fully-open-meditron")
    shutil.rmtree(world.cache)
    rows["guidelines_qa"] -= 1
    spec.write_text(published)
    lay_out_all()
    code, _, err = call("fetch", world.recipe, "--only", "corpus", "--mirror", world.mirror)
    assert code == 2
    assert "guidelines_qa: 145,680 rows, published 145,681, -1: nothing that is known" in err


def test_a_suite_is_fetched_with_its_examples(call: Call, world: SimpleNamespace) -> None:
    row = {"question_id": 1, "question": "?", "options": ["a", "b"], "answer": "B",
           "category": "health", "cot_content": ""}  # fmt: skip
    shown = {**row, "question_id": 2, "cot_content": "A: b. The answer is (B)."}
    lay_out(world.mirror / "hub", "dataset", "org/mmlu", A, {
        "data/test-0.parquet": parquet([row], world.tmp),
        "data/validation-0.parquet": parquet([shown], world.tmp)})  # fmt: skip
    with (world.tmp / "benchmarks.toml").open("a") as lists:
        lists.write(
            '[benchmarks.mmlu_pro]\nrepository = "org/mmlu"\nrevision = "main"\n'
            'path = "data/test-*.parquet"\nrows = 1\n[benchmarks.mmlu_pro.examples]\n'
            'path = "data/validation-*.parquet"\nrows = 1\n'
        )
    given = world.recipe / "recipe.toml"
    given.write_text(given.read_text().replace('["pubmedqa"]', '["mmlu_pro"]'))
    assert call("fetch", world.recipe, "--mirror", world.mirror)[0] == 0
    place = site.load("laptop")
    chosen, said = wanted.freeze(recipe.load(str(world.recipe)), place, ["evaluate"])
    assert f"mmlu_pro: org/mmlu@{A}, as it was fetched" in said
    (path,) = benchmark_files(chosen).values()
    assert sorted(p.name for p in path.parent.glob("*.jsonl")) == [
        "mmlu_pro.jsonl", "mmlu_pro_fewshot.jsonl"]  # fmt: skip
    from checks.benchmarks import kinds

    pytest.importorskip("lm_eval")
    assert kinds.check("mmlu_pro", path) == 1


def test_lock_fills_in_and_refuses_to_change(call: Call, world: SimpleNamespace) -> None:
    spec = world.recipe / "corpus.toml"
    code, out, _ = call("corpus", "lock", spec, "--mirror", world.mirror)
    assert code == 0
    locked = spec.read_text()
    found = tomllib.loads(locked)
    assert found["corpus"]["revision"] == A
    assert found["components"]["one"]["rows"] == 3
    (sha256,) = found["components"]["one"]["sha256"].values()
    assert len(sha256) == 64
    assert "# the corpus" in locked  # comments stay
    assert "# a pattern" in locked
    # A second time nothing is missing.
    _, out, _ = call("corpus", "lock", spec, "--mirror", world.mirror)
    assert "nothing was missing" in out
    assert spec.read_text() == locked
    # What is there is never changed.
    for old, new, says in (
        ("rows = 3", "rows = 4", "has 3 rows, pinned are 4"),
        (sha256, "0" * 64, "not the file that was pinned|wrong hash"),
    ):
        spec.write_text(locked.replace(old, new))
        code, _, err = call("corpus", "lock", spec, "--mirror", world.mirror)
        assert code != 0
        assert any(words in err for words in says.split("|"))
        assert spec.read_text() == locked.replace(old, new)
    # The list of benchmarks has the other shape.
    lists = world.tmp / "benchmarks.toml"
    call("corpus", "lock", lists, "--mirror", world.mirror)
    found = tomllib.loads(lists.read_text())["benchmarks"]["pubmedqa"]
    assert found["revision"] == C
    assert list(found["sha256"]) == ["x/train-0.parquet"]
    assert found["selection"]["rows"] == 2


def test_the_smoke_recipe_needs_upstreams_files_alone() -> None:
    assert {w.why for w in wanted.wanted(recipe.load("smoke"))} == {"upstream's files"}


def test_the_full_recipe_names_everything() -> None:
    whole = wanted.wanted(recipe.load("gemma-3-27b"))
    assert {w.repo.name for w in whole} >= {
        "EPFLiGHT/fully-open-meditron", "google/gemma-3-27b-it", "openlifescienceai/medmcqa",
        "EPFLiGHT/FullyOpenMeditron", "pubmedqa/pubmedqa", "openai/simple-evals"}  # fmt: skip
    graded = recipe.with_settings(
        recipe.load("gemma-3-27b"), [("eval.benchmarks", ["medqa", "healthbench_hard"])]
    )
    assert {w.repo.name for w in wanted.wanted(graded, ["graders"])} == {
        "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8"
    }
    odd = recipe.with_settings(recipe.load("gemma-3-27b"), [("eval.benchmarks", ["medqq"])])
    with pytest.raises(ACTIONABLE, match="nearest: med"):
        wanted.wanted(odd)


def compare_with(world: SimpleNamespace, name: str = "org/other") -> None:
    """Let the recipe compare with a model that lies in the mirror, on vignettes that are there."""
    lay_out(world.mirror / "hub", "model", "org/other", C, {
        "model.safetensors": b"others", "config.json": b"{}", "x.bin": b"a pickle"})  # fmt: skip
    vignettes = world.tmp / "vignettes.jsonl"
    vignettes.write_text(json.dumps({"id": "1", "prompt": "What now?"}) + "\n")
    given = world.recipe / "recipe.toml"
    text = given.read_text().replace('["pubmedqa"]', '["pubmedqa", "auto_moove_medgemma"]')
    given.write_text(f'{text}[judge]\nvignettes = "{vignettes}"\nmedgemma = "{name}"\n'
                     'base_url = "http://127.0.0.1:9/v1"\n')  # fmt: skip


def test_a_comparator_is_fetched_found_and_missed_as_the_base_is(
    call: Call, world: SimpleNamespace, no_sockets: Callable[[], None]
) -> None:
    no_sockets()
    compare_with(world)
    assert call("fetch", world.recipe, "--mirror", world.mirror, "--only", "model")[0] == 0
    for command in (["run", world.recipe, "--dry-run"], ["doctor", "--recipe", world.recipe]):
        _, out, _ = call(*command)
        assert "org/other at main has not been fetched" in out
        assert "mfo fetch own --site laptop --only comparators" in out
    code, out, _ = call("fetch", world.recipe, "--mirror", world.mirror)
    assert (code, "comparator org/other" in " ".join(out.split())) == (0, True)
    place = site.load("laptop")
    chosen, said = wanted.freeze(recipe.load(str(world.recipe)), place, ["evaluate"])
    assert f"comparator of auto_moove_medgemma: org/other at {C}, as it was fetched" in said
    assert chosen.table("judge")["medgemma_revision"] == C
    (one,) = judging.comparators(chosen).values()
    found = comparators.folder(chosen, place, one)
    assert sorted(p.name for p in found.iterdir()) == ["config.json", "model.safetensors"]
    # The record's sha256 stands for the bytes: equal weights are seen without reading them again.
    twin = world.tmp / "twin"
    shutil.copytree(found, twin)
    given = recipe.with_settings(chosen, [("judge.medgemma", str(twin))])
    (other,) = judging.comparators(given).values()
    same = comparators.shards(chosen, place, one)
    assert comparators.shards(given, place, other) == same
    (twin / "model.safetensors").write_bytes(b"otherz")
    assert comparators.shards(given, place, other) != same
    (found / "model.safetensors").write_bytes(b"otherz")
    code, _, err = call("run", world.recipe, "--runs", world.tmp / "runs")
    assert (code, "org/other is missing or has changed" in err) == (2, True)


def test_without_vignettes_a_comparator_is_fetched_on_demand_alone(
    call: Call, world: SimpleNamespace
) -> None:
    compare_with(world)
    given = world.recipe / "recipe.toml"
    lines = [x for x in given.read_text().splitlines() if not x.startswith("vignettes")]
    given.write_text("\n".join(lines) + "\n")
    _, out, _ = call("fetch", world.recipe, "--mirror", world.mirror)
    assert "org/other (auto_moove_medgemma): not fetched, because without vignettes" in out
    assert not list(world.cache.rglob("models--org--other"))
    _, out, _ = call("doctor", "--recipe", world.recipe)
    assert "org/other" not in out
    code, _, _ = call("fetch", world.recipe, "--mirror", world.mirror, "--only", "comparators")
    assert (code, len(list(world.cache.rglob("models--org--other")))) == (0, 1)


@pytest.mark.parametrize("gated", [True, False])
def test_a_gated_comparator_is_one_error_with_what_to_do(
    call: Call, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, gated: bool
) -> None:
    compare_with(world, "org/gated")

    class Closed(origins.Hub):
        def listing(self, repo: Repo, revision: str) -> origins.Listing:  # noqa: ARG002
            why = "403 Client Error" if gated else "Name or service not known"
            raise origins.UnreachableError(f"huggingface.co: {why}")

    monkeypatch.setattr(fetch_commands, "origins", lambda *_, **__: [Closed()])
    code, _, err = call("fetch", world.recipe, "--only", "comparators")
    assert code == 1
    assert "org/gated (comparator) cannot be had" in err
    assert ("accept it at https://huggingface.co/org/gated, export HF_TOKEN" in err) == gated
    assert ("on a machine with a network" in err) != gated
