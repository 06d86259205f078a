"""The playground: a photo, what enhances it, every setting as a slider, and its scores by critics and judges.

    Playground()                         # the last line of a cell in JupyterLab
    Playground(lpie.read_photo("photo.jpg"))

A slider redraws the preview; a photo as large as it is, for the loupe and for saving, is enhanced only when asked for.
Errors are shown in the widget, and so is work in progress while an answer takes long.
"""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets

from lpie.critic import CRITICS
from lpie.explore import pictures
from lpie.explore.comparison import Comparison
from lpie.explore.renditions import Enhancer, Renditions, open_enhancer, rater_scores, shipped_enhancers
from lpie.judges import JUDGES
from lpie.operators import OPERATORS
from lpie.photos.enhancement import PLAIN
from lpie.photos.photographs import demo_photographs, read_photo, write_photo
from lpie.vocabulary import Photo

REST = 0.25  # s without a further move until raters are asked
LOUPE_SIDE = 220  # px, shown one to one
OVERLAYS = ("nothing", *(f"gradient of {name}" for name in CRITICS), "unexplained change")
OWN = "(your own)"


class Playground(ipywidgets.VBox):
    """Widgets around one photo; their values may be set from code as well as by hand.

    photo: (1, 3, H, W), sRGB in [0, 1]; None starts with a photograph that comes with scikit-image.
    """

    def __init__(self, photo: Photo | None = None) -> None:
        self._photos = demo_photographs()
        names = list(self._photos) if photo is None else [OWN, *self._photos]
        self.photograph = ipywidgets.Dropdown(options=names, description="photo")
        self.upload = ipywidgets.FileUpload(accept="image/*", multiple=False, description="upload")
        self.path = ipywidgets.Text(placeholder="or the path of a file", continuous_update=False)
        self.enhancer = ipywidgets.Dropdown(
            options=[(row.label, row) for row in shipped_enhancers()], description="made by"
        )
        self.enhancer.layout.width = "26em"
        self.weights = ipywidgets.Text(placeholder="or a .safetensors file", continuous_update=False)
        self.strength = ipywidgets.FloatSlider(value=1, min=0, max=1.5, step=0.05, description="strength")
        self.settings = ipywidgets.VBox()
        self.reset = ipywidgets.Button(description="reset", tooltip="every slider as the study has it")
        self.name = ipywidgets.Text(value="enhanced.png", description="file")
        self.save = ipywidgets.Button(description="save", tooltip="the whole photo, not the preview")
        self.comparison = Comparison()
        self.histogram = ipywidgets.HTML()
        self.overlay = ipywidgets.Dropdown(options=OVERLAYS, description="overlay")
        self.map = ipywidgets.Image(format="png")
        self.map.layout.display = "none"
        self.loupe = ipywidgets.Checkbox(description="loupe at 100 %", indent=False)
        self.across, self.down = (_share(name) for name in ("across", "down"))
        self.close_up = ipywidgets.HBox([ipywidgets.Image(format="png") for _ in range(2)])
        self.raters = ipywidgets.HTML()
        self.status = ipywidgets.HTML()
        self._renditions = Renditions(self._photos[names[-1]] if photo is None else photo)
        self._quiet = False
        self._waiting: asyncio.TimerHandle | None = None
        self._watch()
        super().__init__(self._arranged())
        if photo is None:
            self._choose_photograph()
        else:
            self._choose(photo)

    @property
    def photo(self) -> Photo:
        """The photo that is shown, whole: (1, 3, H, W) in [0, 1]."""
        return self._renditions.photo

    def _arranged(self) -> list[ipywidgets.Widget]:
        row, column = ipywidgets.HBox, ipywidgets.VBox
        controls = column([self.strength, self.settings, self.reset, self.histogram, self.raters])
        picture = column([self.status, self.comparison, self.overlay, self.map])
        return [
            row([self.photograph, self.upload, self.path]),
            row([self.enhancer, self.weights]),
            row([controls, picture]),
            row([self.loupe, self.across, self.down]),
            self.close_up,
            row([self.name, self.save]),
        ]

    def _watch(self) -> None:
        for control, action in (
            (self.photograph, self._choose_photograph),
            (self.upload, self._read_upload),
            (self.path, self._read_path),
            (self.enhancer, self._choose_enhancer),
            (self.weights, self._open_weights),
            (self.strength, self._move),
            (self.overlay, self._draw_overlay),
            (self.loupe, self._draw_loupe),
            (self.across, self._draw_loupe),
            (self.down, self._draw_loupe),
        ):
            self._answer(control, action)
        self.reset.on_click(lambda _: self._guarded(self._reset))
        self.save.on_click(lambda _: self._guarded(self._save))

    def _answer(self, control: Any, action: Callable[[], None]) -> None:
        control.observe(lambda _: None if self._quiet else self._guarded(action), names="value")

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run what a control asks for; show that it is working, how long it took, or what went wrong."""
        self.status.value = "<i>working …</i>"
        started = time.perf_counter()
        try:
            action()
        except Exception as error:  # whatever it is, whoever moved the control should see it
            self.status.value = f'<b style="color:#c00" role="alert">{html.escape(str(error) or repr(error))}</b>'
        else:
            if "working" in self.status.value:
                self.status.value = f"{time.perf_counter() - started:.2f} s"

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Change controls without answering each change."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _choose_photograph(self) -> None:
        if self.photograph.value != OWN:
            self._choose(self._photos[self.photograph.value])

    def _read_upload(self) -> None:
        if self.upload.value:
            self._choose_own(read_photo(bytes(self.upload.value[0]["content"])))

    def _read_path(self) -> None:
        if self.path.value.strip():
            self._choose_own(read_photo(Path(self.path.value.strip()).expanduser()))

    def _choose_own(self, photo: Photo) -> None:
        with self._silently():
            if OWN not in self.photograph.options:
                self.photograph.options = [OWN, *self.photograph.options]
            self.photograph.value = OWN
        self._choose(photo)

    def _choose(self, photo: Photo) -> None:
        self._renditions = Renditions(photo)
        self.comparison.before = pictures.png(self._renditions.small)
        self._before = rater_scores(self._renditions.small)
        self._choose_enhancer()

    def _open_weights(self) -> None:
        if self.weights.value.strip():
            found = open_enhancer(Path(self.weights.value.strip()).expanduser())
            self.enhancer.options = [*self.enhancer.options, (found.label, found)]
            self.enhancer.value = found

    def _choose_enhancer(self) -> None:
        """The sliders of what is chosen: an operator's settings; a network has none of its own."""
        row = OPERATORS[self.enhancer.value.operator]
        shown = row.ranges if self.enhancer.value.weights == PLAIN else {}
        sliders = []
        for name, (low, high, step) in shown.items():
            start = getattr(row.settings(), name)
            slider = ipywidgets.FloatSlider(value=start, min=low, max=high, step=step, description=name)
            self._answer(slider, self._move)
            sliders.append(slider)
        self.settings.children = sliders
        self._draw()
        self._describe()

    def _reset(self) -> None:
        defaults = OPERATORS[self.enhancer.value.operator].settings()
        with self._silently():
            self.strength.value = 1
            for slider in self.settings.children:
                slider.value = getattr(defaults, slider.description)
        self._move()

    def _chosen(self) -> tuple[Enhancer, dict[str, float], float]:
        settings = {slider.description: slider.value for slider in self.settings.children}
        return self.enhancer.value, settings, self.strength.value

    def _draw(self) -> None:
        self._after = self._renditions.of_small(*self._chosen())
        self.comparison.after = pictures.png(self._after)
        self.histogram.value = pictures.histogram(self._after)

    def _move(self) -> None:
        """The picture at once; what takes longer when the slider rests, where a loop runs that can wait for it."""
        self._draw()
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            self._waiting = asyncio.get_running_loop().call_later(REST, self._guarded, self._describe)
        except RuntimeError:  # no loop: not in a notebook
            self._describe()

    def _describe(self) -> None:
        self.raters.value = _table(self._before, rater_scores(self._after), self.enhancer.value.critic)
        self._draw_overlay()
        self._draw_loupe()

    def _draw_overlay(self) -> None:
        chosen = self.overlay.value
        if chosen != OVERLAYS[0]:
            critic = chosen.rpartition(" ")[2]
            before, after = self._renditions.small, self._after
            if chosen == OVERLAYS[-1]:
                hazy = OPERATORS[self.enhancer.value.operator].estimate is not None
                values = pictures.unexplained(before, after, hazy=hazy)
            else:
                values = pictures.gradient_map(after, critic)
            self.map.value = pictures.png(pictures.overlaid(after, values))
        self.map.layout.display = "none" if chosen == OVERLAYS[0] else ""

    def _draw_loupe(self) -> None:
        self.close_up.layout.display = "" if self.loupe.value else "none"
        if not self.loupe.value:
            return
        for image, photo in zip(self.close_up.children, (self._renditions.photo, self._full()), strict=True):
            shown = pictures.window(photo, self.across.value, self.down.value, LOUPE_SIDE)
            image.value, image.width = pictures.png(shown), shown.shape[-1]

    def _full(self) -> Photo:
        """The whole photo enhanced; kept until something else is chosen, so that the loupe moves at once."""
        enhancer, settings, strength = self._chosen()
        key = (id(self._renditions), enhancer, *settings.items(), strength)
        if getattr(self, "_kept", (None, None))[0] != key:
            self._kept = (key, self._renditions.in_full(enhancer, settings, strength))
        return self._kept[1]

    def _save(self) -> None:
        path = Path(self.name.value).expanduser()
        if path.exists():
            raise FileExistsError(f"{path} is there already: give another name.")
        write_photo(self._full(), path)
        self.status.value = f"saved: {html.escape(str(path))}"


def _share(name: str) -> ipywidgets.FloatSlider:
    return ipywidgets.FloatSlider(value=0.5, min=0, max=1, step=0.01, description=name, readout=False)


def _table(before: dict[str, float], after: dict[str, float], trained: str) -> str:
    """The scores of both photos by each rater, and which rater trained the network that made the second."""
    rows = []
    for name in after:
        label = (CRITICS[name] if name in CRITICS else JUDGES[name]).label
        sign = -1 if name == "niqe" else 1  # scores hold minus NIQE, so that more is better everywhere
        label += ", less is better" * (sign < 0)
        kind = "trained this network" if name == trained else "critic" if name in CRITICS else "judge"
        old, new = sign * before[name], sign * after[name]
        cells = f"<td>{kind}</td><td>{old:.2f}</td><td>{new:.2f}</td><td>{new - old:+.2f}</td>".replace("-", "−")
        style = " style=opacity:0.6" * (name == trained)
        rows.append(f'<tr{style}><th scope="row" style="text-align: left">{html.escape(label)}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in ("rater", "", "before", "after", "change"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
