"""Tables on a terminal: aligned, never wrapped, and nothing in a cell is markup."""

from kit.columns import columns


def test_columns_are_as_wide_as_they_need_and_numbers_end_flush() -> None:
    rows = [("a", "1.5"), ("longer", "10.25")]
    assert columns(rows, head=("name", "h"), right=(1,), indent=1) == [
        " name        h",
        " a         1.5",
        " longer  10.25",
    ]
    assert columns(rows) == ["a       1.5", "longer  10.25"]


def test_no_line_is_wrapped_and_a_line_break_goes_on_in_its_column() -> None:
    assert columns([("a", "x" * 500)]) == ["a  " + "x" * 500]
    assert columns([("a", "one\ntwo"), ("b", "")]) == ["a  one", "   two", "b"]


def test_a_cell_is_no_markup() -> None:
    assert columns([("[bold]a[/]", ":smile:")]) == ["[bold]a[/]  :smile:"]
