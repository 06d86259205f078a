"""Training of critics, on people's ratings and against attacks."""

from lpie.extras import require

require("study")
