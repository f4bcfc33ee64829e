"""Whatever a run reads is opened before it: each thing of the list is broken, one at a time."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scoring"))
from model_folders import whole
from standin_tasks import task_files

from launch.inputs import upstream
from launch.plan import opened
from launch.plan.choices import FULL
from launch.run import recipe, site

Call = Callable[..., tuple[int, str, str]]
COMMIT = "0123456789" * 4
BENCHMARKS = ("medmcqa", "medqa", "pubmedqa", "medxpertqa", "healthbench", "auto_moove",
              "auto_moove_medgemma")  # fmt: skip
SINGLE = [name for name in BENCHMARKS if not name.startswith("auto_moove")]
PAIRS = """
[[comparisons]]
name = "auto_moove"
model = "ours"
against = "base"
win = 50.0
tie = 30.0
loss = 20.0
[[comparisons]]
name = "auto_moove"
model = "ours"
against = "MedGemma-27B"
win = 96.0
tie = 3.0
loss = 1.0
"""
TABLE = (
    '[table]\nsource = "invented"\n[models.base]\n[models.ours]\nbase = "base"\n'
    + "".join(f"{name} = 50.0\n" for name in SINGLE)
    + "".join(f"[benchmarks.{name}]\n" for name in SINGLE)
    + PAIRS
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A recipe that reads one of everything, all of it in a folder of its own."""
    own = tmp_path / "own"
    shutil.copytree(recipe.RECIPES / "smoke", own)
    whole(own / "theirs")
    (own / "table.toml").write_text(TABLE)
    (own / "recipe.toml").write_text(
        'extends = "smoke"\n[model]\nconfig = "model.json"\nchat_template = "chat_template.jinja"\n'
        'tokenizer_texts = "corpus"\n[corpus]\nsources = "corpus.toml"\n[eval]\n'
        f'benchmark_files = "benchmarks"\nbenchmarks = {list(BENCHMARKS)}\ntasks = "upstream"\n'
        '[judge]\ngrader_prompt = "judged/grader.txt"\npairs_prompt = "judged/pairs.toml"\n'
        'canary = "judged/canary.jsonl"\nscript = "judged/key.json"\n'
        f'medgemma = "{own}/theirs"\n[published]\ntable = "{own}/table.toml"\nmodel = "ours"\n'
    )
    monkeypatch.setattr(upstream, "PINS", tmp_path / "upstream.toml")
    monkeypatch.setenv("MFO_CACHE", str(tmp_path / "cache"))
    made = SimpleNamespace(own=own, tmp=tmp_path, runs=tmp_path / "runs")
    pin(made, task_files())
    return made


def pin(world: SimpleNamespace, files: dict[str, bytes]) -> None:
    """Put task files into the cache, and write down that they are the right ones."""
    folder = world.tmp / "cache" / "upstream" / "someone--fork" / COMMIT / upstream.TASKS
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (world.tmp / "upstream.toml").write_text(
        f'[harness]\nrepo = "someone/fork"\ncommit = "{COMMIT}"\n[harness.sha256]\n'
        + "".join(
            f'"{upstream.TASKS}/{name}" = "{hashlib.sha256(data).hexdigest()}"\n'
            for name, data in files.items()
        )
    )


def edit(name: str, old: str, new: str) -> Callable[[SimpleNamespace], None]:
    def change(world: SimpleNamespace) -> None:
        text = (world.own / name).read_text()
        assert old in text
        (world.own / name).write_text(text.replace(old, new, 1))

    return change


def replaced(name: str, text: str) -> Callable[[SimpleNamespace], None]:
    return lambda world: (world.own / name).write_text(text)


def gone(name: str) -> Callable[[SimpleNamespace], None]:
    return lambda world: (world.own / name).unlink()


def tasks(**changes: dict[str, object]) -> Callable[[SimpleNamespace], None]:
    return lambda world: pin(world, task_files(**changes))


#: By the name of the reading: ways to break what it reads, and what is said then.
BROKEN: dict[str, list[tuple[Callable[[SimpleNamespace], object], str]]] = {
    "base model": [(gone("chat_template.jinja"), "[model] names is not there"),
                   (gone("model.json"), "is not there")],
    "corpus": [(gone("corpus/curated_qa.jsonl"), "curated_qa")],
    "protocol": [(edit("recipe.toml", 'tasks = "upstream"', 'tasks = "kit"\nextraction = "x"'),
                  "eval.extraction takes published or robust, not 'x'"),
                 (edit("recipe.toml", '"upstream"', '"upstream-2026-08"'), "upstream-2026-07")],
    "benchmarks": [(replaced("benchmarks/medqa.jsonl", "{\n"), "medqa.jsonl"),
                   (replaced("benchmarks/healthbench.jsonl", "{}\n"), "healthbench.jsonl"),
                   (replaced("benchmarks/auto_moove.jsonl", "[]\n"), "auto_moove.jsonl"),
                   (gone("benchmarks/pubmedqa.jsonl"), "pubmedqa")],
    "task files": [(tasks(medqa_g={"gen_prefix": "A"}), "begins the answer for the model"),
                   (tasks(medbench={"task": ["medmcqa_g"]}), "does not name")],
    "questions in their wording": [
        (tasks(medqa_g={"doc_to_text": "{{stem}}"}), "'stem' is undefined"),
        (tasks(medmcqa_g={"doc_to_target": "{{ 'BCDA'[cop] }}"}), "right, the item")],
    "prompts of graders and judges": [
        (replaced("judged/grader.txt", "no field"), "no place for"),
        (replaced("judged/pairs.toml", "system = 1"), "holds no"),
        (edit("recipe.toml", "[judge]\n", '[judge]\norder = "bth"\n'), "bth")],
    "canary": [(replaced("judged/canary.jsonl", "{}\n"), "no frozen grade")],
    "stand-in for the judge": [(replaced("judged/key.json", "[]"), "no key of the judge"),
                               (replaced("judged/key.json", "{"), "cannot be read")],
    "weights that are given": [(gone("theirs/tokenizer.json"), "has no tokenizer")],
    "comparators": [(gone("theirs/model.safetensors"), "holds no safetensors")],
    "published table": [(edit("table.toml", "medqa = 50.0\n", ""), "no value of ours for medqa"),
                        (replaced("table.toml", "="), "table.toml"),
                        (edit("recipe.toml", '"ours"', '"our"'), "our"),
                        (edit("recipe.toml", "[published]\n", '[published]\ntier = "x"\n'),
                         "published.tier takes weights or retrain, not 'x'")],
}  # fmt: skip


def test_the_list_is_whole() -> None:
    assert {*BROKEN} == {reading.what for reading in opened.READINGS}


def test_all_of_it_is_read_where_nothing_is_broken(call: Call, world: SimpleNamespace) -> None:
    one, place = recipe.load(str(world.own)), site.load("laptop")
    said = {what: (words, error) for what, words, error in opened.look(one, place, FULL)}
    assert {error for _, error in said.values()} == {None}
    assert set(said) == set(BROKEN), "this recipe reads one of everything"
    assert said["corpus"][0].startswith("481 rows")
    assert said["questions in their wording"][0].startswith("160 prompts")
    assert "doc_to_decontamination_query" in said["task files"][0]
    opened.check(one, place, FULL)
    code, out, _ = call("run", world.own, "--dry-run")
    assert code == 0
    assert "questions in their wording: 160 prompts" in out
    assert "NOT READABLE" not in out


@pytest.mark.parametrize(
    ("breaks", "says"),
    [pytest.param(*one, id=f"{what}-{n}") for what, ways in BROKEN.items()
     for n, one in enumerate(ways)],
)  # fmt: skip
def test_what_is_broken_is_refused_before_a_run_is_made(
    call: Call, world: SimpleNamespace, breaks: Callable[[SimpleNamespace], object], says: str
) -> None:
    breaks(world)
    code, _, err = call("run", world.own, "--runs", world.runs)
    assert code == 2
    assert says in err
    assert not world.runs.exists()


def test_given_weights_are_looked_at_before_a_run_is_made(
    call: Call, world: SimpleNamespace
) -> None:
    (world.own / "ours").mkdir()
    (world.own / "ours" / "model.gguf").write_bytes(b"GGUF")
    for command in (
        ("verify", world.own / "ours", "--recipe", world.own),
        ("run", world.own, "--set", f"model.weights={world.own}/ours"),
    ):
        code, _, err = call(*command, "--runs", world.runs)
        assert code == 2
        assert "the model that is scored: a GGUF file is given" in err
        assert not world.runs.exists()


def test_a_judge_in_a_folder_has_weights(world: SimpleNamespace) -> None:
    (world.own / "judge").mkdir()
    one = recipe.with_settings(
        recipe.load(str(world.own)),
        [("judge.script", ""), ("judge.model", str(world.own / "judge"))],
    )
    with pytest.raises(Exception, match="the judge holds no safetensors"):
        opened.check(one, site.load("laptop"), FULL)
    (world.own / "judge").rmdir()
    whole(world.own / "judge")
    opened.check(one, site.load("laptop"), FULL)


def test_doctor_and_dry_run_say_what_is_broken(call: Call, world: SimpleNamespace) -> None:
    replaced("judged/key.json", "[]")(world)
    tasks(medqa_g={"doc_to_text": "{{stem}}"})(world)
    code, out, _ = call("run", world.own, "--dry-run")
    assert code == 0
    assert out.count("NOT READABLE") == 2
    assert "NOT READABLE: questions in their wording: the task file of medqa" in out
    code, out, _ = call("doctor", "--recipe", world.own)
    assert code == 1
    assert "questions in their wording: the task file of medqa" in out
    assert "stand-in for the judge: this is no key" in out


def test_a_stage_that_does_not_run_reads_nothing(world: SimpleNamespace) -> None:
    replaced("judged/key.json", "[]")(world)
    one, place = recipe.load(str(world.own)), site.load("laptop")
    opened.check(one, place, ["corpus", "train"])
    with pytest.raises(Exception, match="no key of the judge"):
        opened.check(one, place, ["evaluate"])
