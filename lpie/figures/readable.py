"""Tables of a page as HTML, with numbers as people write them."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pandas as pd

from lpie.evidence import labels


def readable(table: pd.DataFrame) -> str:
    """`table` as HTML: numbers as people write them, with values to sort by; unknown ones are empty."""
    head = "".join(f'<th scope="col"{_kind(table[name])}>{html.escape(_heading(name))}</th>' for name in table)
    body = []
    for row in table.itertuples(index=False):
        cells = [_cell(name, value) for name, value in zip(table.columns, row, strict=True)]
        body.append("<tr>" + "".join(cells) + "</tr>")
    return f'<table class="display"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _kind(column: pd.Series) -> str:
    return ' class="number"' if pd.api.types.is_numeric_dtype(column) and column.dtype != bool else ""


def _heading(name: object) -> str:
    words = {"n_photos": "photos", "n_seeds": "seeds", "p_holm": "p (Holm)", "psnr": "PSNR (dB)", "gamma": "weight"}
    return words.get(str(name), str(name).removeprefix("gain_").replace("_", " "))


def _cell(name: object, value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float | np.number):
        order = "" if pd.isna(float(value)) else f' data-order="{float(value):.6g}"'
        return f'<td class="number"{order}>{number(float(value), str(name))}</td>'
    label = {"operator": labels.operator_label, "network": labels.network_label, "against": labels.fidelity_label,
             "fidelity": labels.fidelity_label}.get(str(name), str)  # fmt: skip
    text = "" if pd.isna(value) else label(value)
    # sorted by the number that a mean with its interval begins with
    leading = re.match(r"[+-]?\d+(\.\d+)?", text.replace("−", "-"))
    order = f' data-order="{float(leading[0])}"' if leading else ""
    return f"<td{order}>{html.escape(text.removeprefix('gain_') if name == 'measure' else text)}</td>"


def number(value: float, name: str = "") -> str:
    """A number as people write it: three digits that count, no exponent, a true minus, nothing for unknown."""
    if not np.isfinite(value):
        return ""
    if name.startswith("p") and name in ("p", "p_holm") and value < 0.001:
        return "&lt; 0.001"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace("-", "−")
    digits = 4 if abs(value) < 0.01 else 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}".replace("-", "−")
