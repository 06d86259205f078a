"""The study: settings, photographs, targets, training, evaluation."""

from lpie.names import exports

__getattr__ = exports(  # what notebooks compute
    __name__, experiments="learn run_headline run_ladder", rivals="run_rivals"
)
