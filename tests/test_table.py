"""Tables: how values are written, and that text, terminal and notebook show the same."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

from policyscope.table import Column, Table

TABLE = Table(
    "Sweep [draft]",
    (Column("condition", side="left"), Column("return [mean]", ".1f"), Column("steps", ",")),
    (("base", 163.24, 12000), ("<f2> [x]", math.nan, None)),
    note="2 conditions [all]",
)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, ".2f", "–"),
        (math.nan, ".2f", "–"),
        (np.float32("nan"), ".2f", "–"),
        (np.float64(1.005), ".1f", "1.0"),
        (1234567, ",", "1,234,567"),
        (math.inf, ".1f", "inf"),
        ("already text", ".1f", "already text"),
        (True, "", "True"),
    ],
)
def test_how_values_are_written(value, form, text):
    assert Column("x", form).write(value) == text


def test_the_text_is_aligned():
    assert str(TABLE).splitlines() == [
        "Sweep [draft]",
        "condition  return [mean]   steps",
        "────────────────────────────────",
        "base               163.2  12,000",
        "<f2> [x]               –       –",
        "2 conditions [all]",
    ]


def test_an_empty_table_has_its_head():
    assert str(Table("", (Column("a"), Column("bc")), ())) == "a  bc\n─────"


def test_rows_must_fit_the_columns():
    with pytest.raises(ValueError, match="shorter"):
        str(Table("t", (Column("a"), Column("b")), ((1,),)))


def test_the_terminal_shows_every_word_of_it():
    """Brackets are text there too, not markup."""
    stream = io.StringIO()
    Console(file=stream, width=100).print(TABLE)
    shown = stream.getvalue()
    for text in ("Sweep [draft]", "return [mean]", "<f2> [x]", "163.2", "2 conditions [all]"):
        assert text in shown


def test_the_notebook_shows_every_word_of_it_escaped():
    html = TABLE._repr_html_()
    assert html.count("<tr>") == 3
    assert "&lt;f2&gt; [x]" in html
    assert "<f2>" not in html
    assert "<p>2 conditions [all]</p>" in html
    assert "<p>" not in Table("t", (Column("a"),), ())._repr_html_()
