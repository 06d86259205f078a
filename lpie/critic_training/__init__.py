"""Ratings, and training critics on them."""
