"""Texts of callers (names of cohorts, classes, sites, columns) as each kind of output takes them: one function a
kind."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

__all__ = ["csv_cell", "encodable", "html_block", "plot_text", "write_csv"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Notebooks would typeset what stands between two dollars.
_NO_MATH = "tex2jax_ignore mathjax_ignore"


def encodable(text: Any) -> str:
    """A text that UTF-8 can hold: bytes of names that were none become backslash escapes.

    Examples:
        >>> from sslmed.reporting.escape import encodable
        >>> encodable("S\\udcfc")
        'S\\\\udcfc'
    """
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def plot_text(text: Any) -> str:
    """A text as matplotlib's labels take it, so that a dollar is a dollar and not the start of a formula.

    Examples:
        >>> from sslmed.reporting.escape import plot_text
        >>> print(plot_text("cost_$ and $x_1$"))
        cost_\\$ and \\$x_1\\$
    """
    return encodable(text).replace("$", r"\$")


def csv_cell(value: Any) -> Any:
    """A value as a cell of a table that spreadsheets open: texts that they would run as formulas start with an
    apostrophe. Numbers stay.

    Examples:
        >>> from sslmed.reporting.escape import csv_cell
        >>> [csv_cell(value) for value in ("=1+1", "-control", "-1.5", -1.5, "patient")]
        ["'=1+1", "'-control", '-1.5', -1.5, 'patient']
    """
    if not isinstance(value, str):
        return value
    text = encodable(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Writes a table that people open as a spreadsheet, names of columns too by :func:`csv_cell`.

    Args:
        table: Any table; its index is not written.
        path: File (.csv).

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import pandas as pd
        >>> from sslmed.reporting.escape import write_csv
        >>> path = Path(tempfile.mkdtemp()) / "t.csv"
        >>> write_csv(pd.DataFrame({"row": ["@site", "b"], "value": [-0.5, 1.0]}), path)
        >>> path.read_text()
        "row,value\\n'@site,-0.5\\nb,1.0\\n"
    """
    out = table.copy()
    for place, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_datetime64_any_dtype(dtype):
            out.isetitem(place, table.iloc[:, place].astype(object).map(csv_cell, na_action="ignore").array)
    out.columns = pd.Index([csv_cell(str(name)) for name in table.columns])
    out.to_csv(path, index=False)


def html_block(heading: str, table: pd.DataFrame | None = None, *, items: Sequence[str] = (), after: str = "") -> str:
    """What a notebook shows of a result: a heading, then sentences, then a table; all of it as text, without formulas.

    Args:
        heading: In bold.
        table: Shown without its index.
        items: A list of sentences.
        after: Follows the heading, not in bold.

    Examples:
        >>> from sslmed.reporting.escape import html_block
        >>> html_block("a <b>", items=["x & y"])
        '<div class="tex2jax_ignore mathjax_ignore"><b>a &lt;b&gt;</b><ul><li>x &amp; y</li></ul></div>'
    """
    lines = "".join(f"<li>{html.escape(encodable(item))}</li>" for item in items)
    shown = "" if table is None else encodable(table.to_html(index=False, escape=True))
    body = f"<b>{html.escape(encodable(heading))}</b>{html.escape(encodable(after))}{f'<ul>{lines}</ul>' if lines else ''}{shown}"
    return f'<div class="{_NO_MATH}">{body}</div>'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
