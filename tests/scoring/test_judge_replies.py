"""What a real language model answered as a judge, and what the readers make of it.

data/judge-replies.jsonl holds 101 replies of SmolLM2-135M-Instruct behind vLLM, to the kit's own
prompts (collect_replies.py made it). Every one was read by a person beside what is expected here.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from faulty import FaultyServer, serving

from checks.preferences import Ruling
from checks.rubric import Conversation, Criterion
from scoring import healthbench
from scoring.client import Client, Endpoint
from scoring.healthbench import read_grade
from scoring.judge_prompts import read_judge
from scoring.judge_protocol import Protocol
from scoring.moove import read_ruling

HERE = Path(__file__).parent
REPLIES: list[dict[str, Any]] = [
    json.loads(line) for line in (HERE / "data" / "judge-replies.jsonl").read_text().splitlines()
]
CRITERIA = read_judge(HERE.parents[1] / "recipes" / "smoke" / "judged" / "pairs.toml").criteria
GRADES = [r["text"] for r in REPLIES if r["kind"] == "grade"]
RULINGS = [r["text"] for r in REPLIES if r["kind"] == "ruling"]

#: (kind, examples shown, cut): how many replies came to what. Asked as a judge is, this model never
#: gave a grade; behind an example it does, unless it is cut or its JSON is broken.
TABLE = {
    ("grade", 0, False): {None: 23},  # prose, loops, the prompt again, "true or false"
    ("grade", 0, True): {None: 8},  # one is the empty reply: its prompt fits into no window
    ("grade", 1, False): {True: 17, False: 2, None: 5},
    ("grade", 1, True): {None: 6},  # JSON without its end
    ("ruling", 0, False): {None: 10},  # "the winner of the first criterion is Model 1"
    ("ruling", 0, True): {None: 10},
    ("ruling", 1, False): {"first": 15, "second": 1},
    ("ruling", 1, True): {None: 4},
}


def value(row: dict[str, Any], *, strict: bool = False) -> object:
    if row["kind"] == "grade":
        grade = read_grade(row["text"], strict=strict)
        return grade[0] if grade else None
    ruling = read_ruling(row["text"], CRITERIA, strict=strict)
    return ruling.winner if ruling else None


def test_how_many_real_replies_are_read() -> None:
    found: dict[Any, Counter[object]] = {}
    for row in REPLIES:
        key = row["kind"], row["examples"], row["cut"]
        found.setdefault(key, Counter())[value(row)] += 1
    assert found == TABLE


def test_a_grade_is_only_ever_a_whole_object_with_a_boolean() -> None:
    for text in GRADES:
        grade = read_grade(text)
        whole = re.fullmatch(r'\{"explanation": ".*", "criteria_met": (true|false)\}', text)
        assert (grade is None) == (whole is None or text.count("criteria_met") > 1), text
        if grade and whole:
            assert grade[0] == (whole[1] == "true")
            assert grade[1] in text


@pytest.mark.parametrize(
    "words",
    ['"criteria_met": true or false}', "the last turn is not known", "{1} says one of",
     "The end of the JSON object is", '"criteria_met": "The liver acts'],
)  # fmt: skip
def test_what_is_nearly_a_grade_is_none(words: str) -> None:
    slips = [text for text in GRADES if words in text]
    assert slips, "the model wrote so"
    assert all(read_grade(text) is None for text in slips)


def test_a_ruling_names_its_winner_by_the_published_pattern() -> None:
    for text in RULINGS:
        named = re.search(r"Winner: (Model 1|Model 2|Tie)", text)
        ruling = read_ruling(text, CRITERIA)
        assert (ruling is None) == (named is None)
        assert ruling is None or (ruling.winner == "first") == ("Winner: Model 1" in text)


def one(words: str) -> tuple[Ruling, Ruling | None]:
    (text,) = [t for t in RULINGS if re.search(words, t)]
    ruling = read_ruling(text, CRITERIA)
    assert ruling is not None
    return ruling, read_ruling(text, CRITERIA, strict=True)


def test_scores_under_swapped_headings_are_read_as_upstream_does_and_by_strict_not() -> None:
    published, strict = one(r"^Model 2 Scores")
    assert published.scores["Clarity"] == (3, 2), "Model 2's are taken for Model 1's"
    assert strict is not None
    assert (strict.winner, strict.scores) == ("second", {})


def test_scores_beyond_five_are_none_and_two_winners_are_one_only_as_published() -> None:
    published, strict = one("Accuracy: 9")
    assert (published.winner, published.scores, strict) == ("first", {}, None)
    text = next(t for t in RULINGS if read_ruling(t, CRITERIA, strict=True))
    digits = iter(("10", "4"))
    ten = re.sub(r"Accuracy: \d", lambda _: f"Accuracy: {next(digits)}", text)
    for mode, scores in ((False, (1, 4)), (True, None)):
        ruling = read_ruling(ten, CRITERIA, strict=mode)
        assert ruling is not None
        assert ruling.scores.get("Accuracy") == scores


@pytest.mark.parametrize("protocol", ["published", "strict"])
def test_a_judge_that_answers_so_is_asked_again_until_a_grade_can_be_read(
    tmp_path: Path, protocol: str
) -> None:
    """The replies come one after the other: a criterion takes four at most, until one is read."""
    texts = iter(GRADES[20:])
    rules = Protocol(name=protocol)
    criteria = tuple(Criterion(f"c{n}", 1 if n else -1) for n in range(8))
    turns = ({"role": "user", "content": "Which organ?"},)
    with serving(FaultyServer(lambda _: next(texts))) as server:
        client = Client(Endpoint(server.url, "j", "j"), tmp_path / "c.jsonl", concurrency=1,
                        first_pause_s=0.01)  # fmt: skip
        (graded,) = healthbench.grade(
            [Conversation("a", turns, criteria)], [("The liver.", False)], client,
            "<<conversation>> <<rubric_item>>", rules,
        )  # fmt: skip
    item = healthbench.to_item(graded, "healthbench", rules)
    # 20 to 29 are prose: every first try, and two of the second, which 33 and 34 fail as well;
    # of the third only 36 is a grade, and the fourth has 40 to 42.
    assert graded.met == (True, True, True, True, True, False, True, True)
    assert graded.tries == (3, 4, 2, 2, 2, 4, 4, 2)
    assert (item.score, graded.unread) == (5 / 7, 0)
