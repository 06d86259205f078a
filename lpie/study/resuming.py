"""What an optimizer remembers, as named tensors, so that a training goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from torch.optim import Optimizer

PREFIX = "adam."


@contextmanager
def going_on(path: Path, found: str | None, own: str) -> Iterator[None]:
    """Around what takes the checkpoint `path` back; raises ValueError, with what to do, where it is damaged.

    Also where it is of a training with other settings, `found`, than `own`.
    """
    if found != own:
        raise ValueError(f"{path} belongs to a training with {found}, not {own}: go on with that, or remove the file.")
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): remove it, and the training starts anew.") from error


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Every tensor of the optimizer's state, such as Adam's moments, named `adam.<parameter>.<moment>`."""
    state = optimizer.state_dict()["state"]
    return {f"{PREFIX}{index}.{name}": tensor for index, moments in state.items() for name, tensor in moments.items()}


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Take back what `optimizer_tensors` gave, from among `tensors`; without any, the optimizer starts anew."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(PREFIX):
            index, moment = name.removeprefix(PREFIX).split(".")
            moments.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
