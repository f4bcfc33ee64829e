"""Every room raises one class of error, which names what is near a mistyped name."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import KitError, nearest


def test_an_error_keeps_its_parts_when_a_job_hands_it_back() -> None:
    error = KitError("no", where="a.toml:3", cause="cut", fix="mfo fetch smoke", exit_code=3)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert str(again) == str(error)
    assert str(error).splitlines()[1:] == [
        "where: a.toml:3",
        "cause: cut",
        "next:  mfo fetch smoke",
    ]
    assert again.exit_code == 3


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("medmqa", ["medmcqa", "medqa", "pubmedqa"], "nearest: medmcqa, medqa, pubmedqa"),
        ("MEDQA", ["medqa", "zz"], "nearest: medqa"),
        ("eval.limt", ["train.limt_of", "x"], "nearest: train.limt_of"),
        ("q", ["a", "b"], "known: a, b"),
    ],
)
def test_the_nearest_names_are_said(name: str, known: list[str], says: str) -> None:
    assert nearest(name, known) == says


@given(st.text(max_size=8), st.sets(st.text(max_size=8), max_size=50))
def test_the_hint_stays_short_and_names_only_what_is_known(name: str, known: set[str]) -> None:
    assert len(nearest(name, known)) < 20 * 11 + 30


def test_thousands_of_names_are_not_listed() -> None:
    assert nearest("?", [f"item-{n}" for n in range(4183)]).endswith(" and 4,163 more")
