"""Photographs as files: reading, writing, tiles, enhancing, scoring."""

from lpie.extras import require

require("photos")
