"""Reports as one self-contained HTML page: tables and figures, without network or scripts."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
import pandas as pd

from sslmed.reporting.escape import encodable

__all__ = ["Section", "write_report"]

Section: TypeAlias = tuple[str, "pd.DataFrame | Sequence[str] | None", Sequence[Any]]
"""Title, a table or sentences or neither, and matplotlib figures."""

_PAGE = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #eee; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
tr.pretrained td { font-weight: 600; } img { max-width: 100%; } .note { color: #555; }
.stamp { background: #fff3cd; border: 2px solid #d1603d; color: #a32a12; padding: .6rem 1rem; font-weight: 700; }
td.text { text-align: left; } pre { overflow: auto; max-height: 30rem; background: #f6f6f6; padding: .6rem; font-size: .8rem; }
</style></head><body><h1>{{ title }}</h1>
{% for text in stamps %}<p class="stamp">{{ text }}</p>{% endfor %}
{% for text in notes %}<p>{{ text }}</p>{% endfor %}
{% for section in sections %}<h2>{{ section.title }}</h2>
{% for image in section.images %}<img alt="{{ section.title }}" src="data:image/png;base64,{{ image }}">{% endfor %}
{% if section.texts %}<ul>{% for text in section.texts %}<li>{{ text }}</li>
{% endfor %}</ul>{% endif %}{% if section.rows %}<table><tr>{% for c in section.columns %}<th>{{ c }}</th>{% endfor %}</tr>
{% for row in section.rows %}<tr{% if row and row[0].startswith("pretrained") %} class="pretrained"{% endif %}>
{%- for cell in row %}<td{% if cell | length > 24 %} class="text"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}{% endfor %}
{% for name, text in details %}<details><summary>{{ name }}</summary><pre>{{ text }}</pre></details>{% endfor %}
<p class="note">{{ intervals }} No subject is in training and test data at once.
sslmed {{ version }}, {{ date }}.</p></body></html>
""")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else (f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3f}")
    return "" if value is None else str(value)


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def write_report(
    path: str | os.PathLike[str],
    title: str,
    sections: Sequence[Section],
    *,
    notes: Sequence[str] = (),
    stamp: str | Sequence[str] = (),
    details: Mapping[str, str] | None = None,
    intervals: str = "Intervals are 95 %, over people.",
) -> None:
    """Writes a page with tables and figures.

    Args:
        path: File (.html).
        title: Title of the page.
        sections: Sections of the page: (title, table or sentences or None, matplotlib figures).
        notes: Paragraphs at the top.
        stamp: Warning in a box above everything, or several.
        details: Texts at the end, by title, that are shown on a click.
        intervals: What the intervals are, for the end of the page.

    Raises:
        ValueError: A section that is not such a triple.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import pandas as pd
        >>> from sslmed.reporting.page import write_report
        >>> path = Path(tempfile.mkdtemp()) / "report.html"
        >>> write_report(path, "Scores", [("All", pd.DataFrame({"row": ["dummy"], "value": [0.5]}), [])])
        >>> "<td>0.500</td>" in path.read_text(encoding="utf-8")
        True
    """
    for i, section in enumerate(sections):
        if len(section) != 3:
            raise ValueError(f"write_report: sections[{i}] must be (title, table or None, figures), got {len(section)} entries")
    filled = []
    for name, table, figures in sections:
        rows, columns, texts = [], [], []
        if isinstance(table, pd.DataFrame):
            rows = [[_cell(v) for v in row] for row in table.itertuples(index=False)]
            columns = [str(c).replace("_", " ") for c in table.columns]
        elif table is not None:
            texts = [str(text) for text in table]
        filled.append({"title": name, "columns": columns, "rows": rows, "texts": texts, "images": [_png(f) for f in figures]})
    page = _PAGE.render(
        title=title,
        stamps=[text for text in ([stamp] if isinstance(stamp, str) else stamp) if text],
        details=list((details or {}).items()),
        intervals=intervals,
        notes=notes,
        sections=filled,
        version=version("sslmed"),
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    )
    Path(path).write_text(encodable(page), encoding="utf-8")
