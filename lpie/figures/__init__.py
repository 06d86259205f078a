"""Figures and the report, drawn from evidence alone."""
