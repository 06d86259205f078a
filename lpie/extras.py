"""What only a part of the package needs, by the extra that brings it: `pip install "lpie[photos]"`.

The core (imaging, operators, networks, losses, critic) needs torch, numpy, scipy, safetensors and jaxtyping. A room
that needs more calls `require` in its `__init__`; the command line passes its errors through `explain`.
"""

from __future__ import annotations

from importlib.util import find_spec

EXTRAS: dict[str, tuple[str, ...]] = {
    "fast": ("numba",),
    "photos": ("PIL", "imagecodecs", "netpbmfile", "pillow_heif", "psutil", "simplejpeg", "tifffile", "tqdm", "typer"),
    "data": ("h5py", "pooch", "requests", "tflite", "tqdm"),
    "study": (
        *("IPython", "flip_evaluator", "imagehash", "joblib", "ipykernel", "jinja2", "jupyter_client", "matplotlib"),
        *("pandas", "papermill", "portalocker", "pycvvdp", "pydantic", "skimage", "sklearn"),
        "torchvision",
    ),
    "cluster": ("dask_jobqueue", "distributed"),
    "lab": ("anywidget", "ipywidgets", "jupyterlab", "traitlets"),
}
"""Import names of what each extra adds. `study` includes fast, photos and data; `lab` includes study."""


def require(extra: str) -> None:
    """Raise ModuleNotFoundError, naming the extra, unless everything that `extra` adds is installed."""
    absent = [module for module in EXTRAS[extra] if not _installed(module)]
    if absent:
        raise ModuleNotFoundError(_advice(absent, extra), name=absent[0])


def explain(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The same error with the extra that brings the missing module, where one does."""
    module = (error.name or "").split(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    if extra is None or "lpie[" in str(error):
        return error
    return ModuleNotFoundError(_advice([module], extra), name=module)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # what find_spec says of a module whose import was blocked
        return False


def _advice(absent: list[str], extra: str) -> str:
    return f'{", ".join(absent)} not installed: pip install "lpie[{extra}]"'
