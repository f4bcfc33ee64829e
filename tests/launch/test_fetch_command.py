"""`mfo fetch`: what a recipe needs, from local mirrors; after it, runs need no network."""

import hashlib
import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))
sys.path.insert(0, str(Path(__file__).parent.parent / "scoring"))
from fetched_world import SHAPE, A, B, C, parquet
from model_folders import whole
from standin_files import git_mirror, lay_out
from standin_tasks import task_files

from kit.errors import KitError
from launch.inputs import base_model as fetch
from launch.inputs import upstream, wanted
from launch.plan import choices
from launch.run import folder as runs
from launch.run import recipe, site
from launch.stages import execution
from launch.stages.evaluate import benchmark_files

Call = Callable[..., tuple[int, str, str]]


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
    from scoring.mcq import read_benchmark

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
    with pytest.raises(KitError, match="has changed"):
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
    with pytest.raises(KitError, match="has changed since it was made"):
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
    one = next(world.cache.rglob("own--fork/*/*/*/*/pubmedqa_g.yaml"))
    one.write_bytes(one.read_bytes().replace(b"Invented", b"Inventex"))
    for command in (
        ["run", world.recipe, "--runs", world.tmp / "runs"],
        [
            "verify",
            whole(world.tmp / "ours"),
            "--recipe",
            world.recipe,
            "--runs",
            world.tmp / "runs",
        ],
    ):
        code, _, err = call(*command)
        assert code == 2
        assert "pubmedqa_g.yaml is not the one that was pinned, and is not used" in err
        digests = [hashlib.sha256(data).hexdigest() for data in
                   (one.read_bytes(), task_files()["pubmedqa_g.yaml"])]  # fmt: skip
        assert f"its sha256 is {digests[0]}, pinned is {digests[1]}" in err
        assert "mfo fetch own --site laptop" in err
    # Also a run that began before: its stage reads the files again.
    with pytest.raises(KitError, match="not the one that was pinned"):
        execution.execute(run, "evaluate")
    code, _, _ = call("fetch", world.recipe, "--mirror", world.mirror)
    assert (code, upstream.task_files(place)) == (0, task_files())
    one.unlink()
    code, _, err = call("run", world.recipe, "--runs", world.tmp / "runs")
    assert (code, "pubmedqa_g.yaml cannot be read" in err) == (2, True)


def test_julys_protocol_is_a_set_of_its_own(call: Call, world: SimpleNamespace) -> None:
    place, july = site.load("laptop"), "eval.tasks=upstream-2026-07"
    code, out, _ = call("fetch", world.recipe, "--mirror", world.mirror)
    assert code == 0
    assert "read questions in their wording: 2 prompts" in out  # April's: the 500, here 2 of 4
    assert upstream.task_files(place, "upstream-2026-07") == task_files(july=True)
    _, out, _ = call("run", world.recipe, "--dry-run", "--set", july)
    assert f"task files: 5 of own/july at {world.july_commit}, every sha256 checked" in out
    assert "questions in their wording: 4 prompts" in out  # July's: all of them
    assert "nobody's protocol" not in out
    _, out, _ = call("run", world.recipe, "--dry-run", "--set", july, "--set",
                     "eval.pubmedqa=test")  # fmt: skip
    assert "nobody's protocol" in out
    _, out, _ = call("run", world.recipe, "--dry-run", "--set", "eval.pubmedqa=labeled")
    assert "all 1,000 labelled items in the wording of eval.tasks=upstream" in out
    (world.recipe / "recipe.toml").write_text(
        (world.recipe / "recipe.toml").read_text().replace("[eval]\n", '[eval]\ntasks = '
                                                           '"upstream-2026-07"\n'))  # fmt: skip
    next(world.cache.glob("upstream/own--july/*/*/*/*/medqa_g.yaml")).unlink()
    _, out, _ = call("doctor", "--recipe", world.recipe)
    assert "medqa_g.yaml cannot be read" in out
    assert call("fetch", world.recipe, "--mirror", world.mirror)[0] == 0
    _, out, _ = call("doctor", "--recipe", world.recipe)
    assert f"task files: 5 of own/july at {world.july_commit}" in out


def test_what_was_fetched_is_read_and_a_wrong_file_said(call: Call, world: SimpleNamespace) -> None:
    """A right sha256 of a file that no run could use."""
    odd = task_files(pubmedqa_g={"doc_to_text": "{{TITLE}}"})
    tasks = {f"{upstream.TASKS}/{name}": data for name, data in odd.items()}
    commit = git_mirror(world.mirror, "own/odd", tasks)
    pins = world.tmp / "pins.toml"
    name = f"{upstream.TASKS}/pubmedqa_g.yaml"
    right = (hashlib.sha256(d).hexdigest() for d in (task_files()["pubmedqa_g.yaml"], tasks[name]))
    text = pins.read_text().replace("own/fork", "own/odd").replace(world.fork_commit, commit)
    pins.write_text(text.replace(*right))
    code, out, err = call("fetch", world.recipe, "--mirror", world.mirror)
    assert code == 2
    assert "every sha256 checked" in out
    assert "the task file of pubmedqa cannot put the item: 'TITLE' is undefined" in err


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
    from scoring import kinds

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
    with pytest.raises(KitError, match="nearest: med"):
        wanted.wanted(odd)
