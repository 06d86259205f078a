"use strict";
// The tables' own dark colors hang on a class.
const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();
// Pictures stand in the page once; sliders and cards show the same ones.
const show = (picture, name) => {
  const from = document.getElementById(name);
  picture.src = from.src;
  picture.alt = from.alt;
};
for (const picture of document.querySelectorAll("[data-from]")) show(picture, picture.dataset.from);

for (const slider of document.querySelectorAll("img-comparison-slider")) {
  const say = () => slider.setAttribute("aria-valuenow", String(Math.round(slider.value)));
  slider.addEventListener("slide", say);
  slider.value = 50;
}
for (const choice of document.querySelectorAll("select[data-slider]")) {
  choice.addEventListener("change", () => show(document.querySelector(`#${choice.dataset.slider} [slot=first]`), choice.value));
}

tippy("[data-tippy-content]", { trigger: "mouseenter focus click", aria: { content: "describedby" } });
for (const link of document.querySelectorAll(".plate a")) {
  const card = document.querySelector(link.getAttribute("href"));
  if (!card) continue;
  tippy(link, { content: card.cloneNode(true), maxWidth: 340, trigger: "mouseenter focus click", appendTo: document.body, delay: [60, 0] });
  link.addEventListener("click", (event) => event.preventDefault());
}

// A chart or table that is wider than the page says so.
const widths = new ResizeObserver((boxes) => {
  for (const { target } of boxes) target.classList.toggle("cut", target.scrollWidth > target.clientWidth + 1);
});
for (const box of document.querySelectorAll(".plate, .wide")) widths.observe(box);

const galleries = document.querySelectorAll(".gallery");
for (const gallery of galleries) {
  const pictures = [...gallery.querySelectorAll("img")];
  const lightbox = new PhotoSwipeLightbox({
    dataSource: pictures.map((picture) => ({ src: picture.src, width: picture.width, height: picture.height, alt: picture.alt })),
    pswpModule: PhotoSwipe, initialZoomLevel: "fit", secondaryZoomLevel: 2, maxZoomLevel: 6, bgOpacity: 0.95, showHideAnimationType: "none",
  });
  lightbox.addFilter("itemData", (item, place) => {
    const { naturalWidth, naturalHeight } = pictures[place];
    return naturalWidth ? { ...item, width: naturalWidth, height: naturalHeight } : item;
  });
  lightbox.on("uiRegister", () => lightbox.pswp.ui.registerElement({
    name: "caption", order: 9, isButton: false, appendTo: "root",
    onInit: (element, viewer) => viewer.on("change", () => { element.textContent = pictures[viewer.currIndex].alt; }),
  }));
  lightbox.init();
  pictures.forEach((picture, place) => picture.closest("a").addEventListener("click", (event) => {
    event.preventDefault();
    lightbox.loadAndOpen(place);
  }));
}

// A table is made sortable when it is first opened: hidden tables have no widths yet.
for (const details of document.querySelectorAll("details.data")) {
  details.addEventListener("toggle", () => {
    for (const table of details.querySelectorAll("table:not(.dataTable)")) {
      new DataTable(table, { paging: table.rows.length > 26, pageLength: 25, info: false, order: [], responsive: true, autoWidth: false });
    }
  });
}
// A link into something folded opens it.
const unfold = () => document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("details")?.setAttribute("open", "");
addEventListener("hashchange", unfold);
unfold();
