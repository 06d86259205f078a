"""Figures and the report, drawn from evidence alone."""

from lpie.extras import require

require("study")
