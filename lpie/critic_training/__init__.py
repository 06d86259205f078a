"""Ratings, and training critics on them."""

from lpie.extras import require

require("study")
