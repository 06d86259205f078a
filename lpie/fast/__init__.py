"""Kernels, all of them optional: without this folder everything still works, slower."""
