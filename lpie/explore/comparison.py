"""A wipe between two pictures: img-comparison-slider as a Jupyter widget."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

import lpie.figures

ELEMENT = Path(lpie.figures.__file__).parent / "vendor" / "img-comparison-slider.js"

VIEW = """
function render({ model, el }) {
  el.innerHTML = `<img-comparison-slider tabindex="0" aria-label="before and after"
    ><img slot="first"><img slot="second"></img-comparison-slider>`;
  const show = (name, slot) => {
    const picture = el.querySelector(`[slot="${slot}"]`);
    const old = picture.src;
    picture.alt = name;
    picture.src = URL.createObjectURL(new Blob([model.get(name)]));
    if (old) URL.revokeObjectURL(old);
  };
  for (const [name, slot] of [["before", "first"], ["after", "second"]]) {
    show(name, slot);
    model.on(`change:${name}`, () => show(name, slot));
  }
}
export default { render };
"""


class Comparison(anywidget.AnyWidget):
    """Two pictures of equal size, one over the other, with a divider that the pointer and the arrow keys move."""

    _esm = f'if (!customElements.get("img-comparison-slider")) {{ {ELEMENT.read_text(encoding="utf-8")} }}\n{VIEW}'
    _css = """img-comparison-slider { --default-handle-shadow: 0 0 4px #000; --divider-shadow: 0 0 3px #000; }
    img-comparison-slider img { display: block; }"""
    before = traitlets.Bytes(b"", help="a picture file").tag(sync=True)
    after = traitlets.Bytes(b"", help="a picture file").tag(sync=True)
