"""Executed notebooks, kept as HTML pages beside the published evidence: on it, or as the demo for those that train.

    python docs/notebook_pages.py

On the published evidence nothing is trained: where a folder holds gathered tables, the notebooks read them. Pictures
are stored as WebP, a tenth of the PNGs' size, so that the pages can be committed.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import papermill
from PIL import Image
from tqdm import tqdm

from lpie.engine.provenance import PROJECT
from lpie.engine.run_all import notebooks_folder
from lpie.photos.writing import data_address
from lpie.records import PUBLISHED, write_whole

PAGES = ("aesthetic_scores", "comparison")
OPEN_PAGES = ("tone_targets", "haze_targets", "learning-tone", "learning-dehaze", "gamma")
"""Run at the demo profile and without LPIE_DATA: they train, or would show photographs that may not be passed on."""

WIDEST = 1000  # px of a picture in a page


def main() -> None:
    """Write `notebooks/<name>.html` of the published evidence."""
    with tempfile.TemporaryDirectory(prefix="lpie-pages-") as temporary:
        work = Path(temporary)
        shutil.copytree(PUBLISHED, work / "study", ignore=shutil.ignore_patterns("notebooks"))
        os.environ["LPIE_RESULTS"] = str(work / "study")
        for name in tqdm((*PAGES, *OPEN_PAGES), desc="notebooks", unit="notebook"):
            if name in OPEN_PAGES:
                os.environ.pop("LPIE_DATA", None)
                os.environ["LPIE_RESULTS"] = str(work / "demo")
            stem, _, operator = name.partition("-")
            notebook, folder = work / f"{name}.ipynb", notebooks_folder()
            parameters = {"profile": "demo" if name in OPEN_PAGES else "study"}
            parameters |= {"operator": operator} if operator else {}
            papermill.execute_notebook(folder / f"{stem}.ipynb", notebook, parameters, cwd=folder, progress_bar=False)
            write_whole(PUBLISHED / "notebooks" / f"{name}.html", as_page(nbformat.read(notebook, as_version=4), work))


def as_page(notebook: Any, work: Path) -> str:
    """An executed notebook as HTML without bulk; paths within `work`, of this machine alone, are left out."""
    from nbconvert import HTMLExporter  # slow to import

    notebook.metadata.pop("papermill", None)
    title = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown").splitlines()[0].lstrip("# ")
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    page = re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", lambda found: _webp(found[1]), page)
    template = Path(__file__).with_name("notebook_page.html").read_text(encoding="utf-8")
    return template.format(title=html.escape(title), body=page.replace(f"{work}/", "").replace(f"{PROJECT}/", ""))


def _webp(png: str) -> str:
    """The address of a picture that holds it, from PNG in base64 to WebP."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((WIDEST, 10 * WIDEST))
    return data_address(picture, "WEBP", quality=75, method=4)


if __name__ == "__main__":
    main()
