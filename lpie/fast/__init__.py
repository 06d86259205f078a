"""Kernels, every one optional: without this folder everything still works, slower."""
