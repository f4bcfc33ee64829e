"""The model card says what the verdict says; the push sends exactly the weights and the card."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from finished import finished_run
from huggingface_hub import ModelCard
from standin_hub import TOKEN, StandInHub, stand_in_hub

from checks.verdict import read_verdict, write_verdict
from launch.run.folder import Run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, corpus_file: Path) -> Run:
    return finished_run(tmp_path, corpus_file)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def test_the_cards_metadata_is_parsed_and_its_numbers_are_the_verdicts(
    run: Run, call: Call
) -> None:
    code, out, err = call("card", run.name, "--runs", run.path.parent)
    assert code == 0, err
    file = run.path / "README.md"
    assert str(file) in out
    card = ModelCard.load(file)
    data = card.data.to_dict()
    assert data["license"] == "gemma"
    assert data["base_model"] == "google/gemma-3-27b-it"
    assert (data["language"], data["library_name"]) == ("en", "transformers")
    assert "medical" in data["tags"]
    measured = {r.dataset_type: r.metric_value for r in card.data.eval_results or []}
    verdict = read_verdict(run.verdict)
    assert measured == {row["benchmark"]: row["observed"] for row in verdict["benchmarks"]}
    assert measured["medqa"] == 75.0
    assert "| MedQA | 75.00 | 150/200 | 75.00 | +0.00 |" in card.text
    (snippet,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    compile(snippet, "the card", "exec")  # test_twins.py runs it on real weights
    assert 'from_pretrained("train/model")' in snippet, "the weights, seen from beside the card"
    for heading in (
        "Use",
        "Results",
        "Training data",
        "Recipe",
        "Hardware",
        "Provenance",
        "Limits",
    ):
        assert f"\n# {heading}\n" in card.text
    assert f"{42:064x}" in card.text
    assert "1e-06" in card.text


def test_invalid_scores_are_no_results_and_failures_are_said(run: Run, call: Call) -> None:
    verdict = read_verdict(run.verdict)
    verdict["benchmarks"][0] |= {"verdict": "invalid", "observed": 99.0}
    verdict |= {"verdict": "invalid", "headline": "nothing @everyone | <script>"}
    write_verdict(run.verdict, verdict)
    text = call("card", run.name, "--runs", run.path.parent, "--out", "-")[1]
    card = ModelCard(text)
    assert [r.dataset_type for r in card.data.eval_results or []] == ["rubric"]
    assert "**invalid**" in text
    assert "Not every published score is reproduced" in text
    assert "<script>" not in text
    assert "@everyone" not in text


def test_a_sample_is_no_result_of_the_benchmark(run: Run, call: Call) -> None:
    verdict = read_verdict(run.verdict)
    verdict["benchmarks"][0]["n"] = 199
    write_verdict(run.verdict, verdict)
    text = call("card", run.name, "--runs", run.path.parent, "--out", "-")[1]
    assert [r.dataset_type for r in ModelCard(text).data.eval_results or []] == ["rubric"]
    assert "| MedQA | 75.00 |" in text


def test_a_licence_can_be_given_and_is_not_guessed(
    run: Run, call: Call, tmp_path: Path, corpus_file: Path
) -> None:
    card = ["card", run.name, "--runs", run.path.parent, "--out", "-"]
    assert ModelCard(call(*card, "--licence", "apache-2.0")[1]).data.license == "apache-2.0"
    other = finished_run(tmp_path / "b", corpus_file, **{"model.base": str(tmp_path)})
    text = call("card", other.path, "--runs", other.path.parent, "--out", "-")[1]
    data = ModelCard(text).data
    assert (data.license, data.base_model) == ("unknown", None)
    assert "No licence is stated" in text


def test_the_published_corpus_is_named(run: Run, call: Call, tmp_path: Path) -> None:
    spec = tmp_path / "corpus.toml"
    spec.write_text('[corpus]\nrepository = "org/data"\nlicence = "CC-BY-NC-4.0"\n')
    toml = run.path / "run.toml"
    toml.write_text(toml.read_text().replace(str(tmp_path / "rows.jsonl"), str(spec)))
    text = call("card", run.name, "--runs", run.path.parent, "--out", "-")[1]
    assert ModelCard(text).data.datasets == ["org/data"]
    assert "under CC-BY-NC-4.0" in text.replace("\\", "")


def test_push_sends_the_weights_and_the_card_in_one_commit(
    run: Run, call: Call, hub: StandInHub
) -> None:
    push = ["push", run.name, "--runs", run.path.parent, "--repo", "org/model"]
    code, out, err = call(*push, "--private")
    assert code == 0, err
    assert f"{hub.url}/org/model/commit/" in out
    repo = hub.repos["org/model"]
    assert repo["private"] is True
    model = run.folder("train") / "model"
    expected = {path.name: path.read_bytes() for path in model.iterdir()}
    card = repo["files"].pop("README.md").decode()
    assert repo["files"] == expected
    assert ModelCard(card).data.base_model == "google/gemma-3-27b-it"
    assert 'from_pretrained("org/model")' in card
    assert sum("/commit/" in asked for asked in hub.asked) == 1
    assert hub.tokens == {f"Bearer {TOKEN}"}

    hub.asked.clear()
    assert call(*push, "--private")[0] == 0  # again: the weights are there and are not sent twice
    assert not [asked for asked in hub.asked if asked.startswith("PUT")]


def test_a_dry_run_needs_no_token_and_asks_nobody(
    run: Run, call: Call, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    push = ["push", run.name, "--runs", run.path.parent, "--repo", "org/model"]
    code, out, _ = call(*push, "--dry-run")
    assert code == 0
    assert "model.safetensors" in out
    assert "license: gemma" in out
    assert hub.asked == []
    code, _, err = call(*push)
    assert (code, "HF_TOKEN" in err) == (2, True)
    assert hub.asked == []


def test_nothing_private_goes_to_a_public_repository(run: Run, call: Call, hub: StandInHub) -> None:
    hub.repos["org/model"] = {"private": False, "files": {}}
    code, _, err = call(
        "push", run.name, "--runs", run.path.parent, "--repo", "org/model", "--private"
    )
    assert (code, "is public" in err) == (2, True)
    assert hub.repos["org/model"]["files"] == {}
    assert not hub.objects


@pytest.mark.parametrize(
    ("part", "status", "says"),
    [
        ("/api/repos/create", 401, "token is not valid"),
        ("/api/repos/create", 403, "may not write"),
        ("/preupload/", 404, "no such organisation"),
        ("/commit/", 400, "the hub refused"),
    ],
)
def test_a_refusal_is_one_message_without_the_token(
    run: Run, call: Call, hub: StandInHub, part: str, status: int, says: str
) -> None:
    hub.fail[part] = status
    code, out, err = call("push", run.name, "--runs", run.path.parent, "--repo", "org/model")
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert TOKEN not in out + err


def test_without_a_hub_it_is_one_message(
    run: Run, call: Call, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, _, err = call("push", run.name, "--runs", run.path.parent, "--repo", "org/model")
    assert (code, "did not finish" in err) == (2, True)


def test_changed_weights_and_wrong_names_are_refused(run: Run, call: Call, hub: StandInHub) -> None:
    push = ["push", run.name, "--runs", run.path.parent, "--repo"]
    assert "ORG/NAME" in call(*push, "model")[2]
    (run.folder("train") / "model" / "model.safetensors").write_bytes(b"other")
    code, _, err = call(*push, "org/model")
    assert (code, "not whole" in err) == (2, True)
    assert hub.asked == []


def test_a_run_that_scored_given_weights_has_no_card(run: Run, call: Call) -> None:
    toml = run.path / "run.toml"
    toml.write_text(toml.read_text().replace('    "train",\n', "", 1))
    code, _, err = call("card", run.name, "--runs", run.path.parent)
    assert (code, "trained nothing" in err) == (2, True)
    assert json.loads(run.verdict.read_text())["verdict"]
