"""An operator, a family, a loss and a judge that the package does not know go through training to the tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lpie.evidence import Evidence
from lpie.evidence.tables import headline
from lpie.judges import JUDGES, Judge
from lpie.losses import FIDELITIES, Fidelity
from lpie.networks import FAMILIES, Family
from lpie.operators import OPERATORS, Operator
from lpie.study.experiments import run_studies
from lpie.study.settings import Schedule, fidelity_studies, ladder_studies
from lpie.study.study_file import find_profile


@dataclass(frozen=True)
class NoSettings:
    """None."""


class Gain(nn.Module):
    """One factor for the whole photo."""

    uses_estimate = False

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, photo: Tensor) -> Tensor:
        return photo * self.factor

    def metadata(self) -> dict[str, str]:
        return {"network": "gain"}


@pytest.mark.slow
def test_rows_from_outside_go_through_training_evaluation_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    darken = Operator("darken", "darkening", NoSettings, lambda photo, settings: 0.8 * photo)
    cubic = Fidelity("cubic", "cubic", lambda enhanced, target: (enhanced - target).abs().pow(3).mean())
    warmth = Judge("warmth", "warmth", lambda device: lambda photo: 10 * photo[:, 0].mean(dim=(1, 2)), "nothing")
    family = Family("gain", "one gain", lambda operator, **settings: Gain(), lambda tensors, metadata: Gain())
    for table, row in ((OPERATORS, darken), (FIDELITIES, cubic), (JUDGES, warmth), (FAMILIES, family)):
        monkeypatch.setitem(table, row.name, row)
    profile = replace(
        find_profile("smoke"),
        operators=("darken",),
        networks=("gain",),
        fidelities=("l2", "cubic"),
        judges=("warmth",),
        gammas=(0.01,),
        shortest_side=48,
        schedule=Schedule(steps=3, batch=1, sides=(32,), learning_rate=0.1),
    )
    studies = [*fidelity_studies(profile, "darken"), *ladder_studies(profile, "darken")]
    evidence = Evidence(*run_studies(profile, studies, tmp_path, "cpu"), tmp_path)
    assert set(evidence.scores["run"]) == {study.name for study in studies} | {"darken-input", "darken-target"}
    assert evidence.judges == ["warmth"]
    table = headline(evidence)
    assert len(table) == 3
    assert "darkening" in table.to_string() or "darken" in table.to_string()
