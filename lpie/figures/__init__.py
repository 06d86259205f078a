"""Figures and the report, drawn from evidence alone."""

from lpie.extras import require
from lpie.names import exports

require("study")

__getattr__ = exports(  # what notebooks draw
    __name__,
    gains="gamma_figure spectrum_figure training_figure",
    operators="BOUND error_figure picture_rows remap_figure step_figure",
    report="PUBLISHED headline read_logs write_report",
    style="save_figure",
    tiles="show show_crops",
)
