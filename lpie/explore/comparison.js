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
