"""Photographs as files: reading, writing, tiles, enhancing, scoring."""
