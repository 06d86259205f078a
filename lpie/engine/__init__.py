"""Running notebooks: the whole study, its manifest, fingerprints and provenance."""

from lpie.names import exports

__getattr__ = exports(__name__, notebook_parameters="start_notebook start_study", run_all="run_study")
