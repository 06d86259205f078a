"""A wipe between two pictures: img-comparison-slider as a Jupyter widget."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

import lpie.figures

ELEMENT = Path(lpie.figures.__file__).parent / "vendor" / "img-comparison-slider.js"
VIEW = Path(__file__).with_name("comparison.js").read_text(encoding="utf-8")


class Comparison(anywidget.AnyWidget):
    """Two pictures of equal size, one over the other, with a divider that the pointer and the arrow keys move."""

    _esm = f'if (!customElements.get("img-comparison-slider")) {{ {ELEMENT.read_text(encoding="utf-8")} }}\n{VIEW}'
    _css = """img-comparison-slider { --default-handle-shadow: 0 0 4px #000; --divider-shadow: 0 0 3px #000; }
    img-comparison-slider img { display: block; }"""
    before = traitlets.Bytes(b"", help="a picture file").tag(sync=True)
    after = traitlets.Bytes(b"", help="a picture file").tag(sync=True)
