"""One row per noun: what the tables promise, and that a row from outside serves like any other."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lpie import networks
from lpie.critic import CRITICS
from lpie.losses import FIDELITIES, Fidelity
from lpie.losses.objective import PerceptualObjective
from lpie.names import find
from lpie.networks import FAMILIES, Family
from lpie.networks.operator_parameters import OperatorParameters
from lpie.operators import OPERATORS, Operator, Range, Slider

TABLES = {"operators": OPERATORS, "networks": FAMILIES, "losses": FIDELITIES, "critic": CRITICS}


@pytest.mark.parametrize("room", TABLES)
def test_a_row_knows_its_own_name_and_what_readers_call_it(room: str) -> None:
    for name, row in TABLES[room].items():
        assert row.name == name
        assert row.label


@pytest.mark.parametrize("room", TABLES)
def test_type_checkers_know_the_names_of_the_table(room: str) -> None:
    import lpie

    source = ast.parse((Path(lpie.__file__).parent / room / "__init__.py").read_text(encoding="utf-8"))
    literals = [
        [ast.literal_eval(item) for item in node.slice.elts]
        for node in ast.walk(source)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and node.value.id == "Literal"  # type: ignore[attr-defined]
    ]
    assert literals == [list(TABLES[room])]


def test_reading_the_tables_does_not_wait_for_torch() -> None:
    code = "import sys, lpie.operators, lpie.networks, lpie.losses, lpie.critic; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"Unknown fidelity 'ms-ssim', did you mean 'ms_ssim'\? Choose one of l1, l2"):
        find(FIDELITIES, "ms-ssim", "fidelity")
    with pytest.raises(ValueError, match=r"Unknown operator 'bokeh'\. Choose one of tone, dehaze\."):
        find(OPERATORS, "bokeh", "operator")


@pytest.mark.parametrize("name", list(OPERATORS))
def test_an_operator_renders_what_its_own_defaults_say(name: str) -> None:
    operator, photo = OPERATORS[name], torch.rand(1, 3, 24, 20)
    result = operator.apply(photo, operator.settings())
    assert result.shape == photo.shape
    assert result.min() >= 0
    assert result.max() <= 1
    settings = {field.name: getattr(operator.settings(), field.name) for field in fields(operator.settings())}
    for setting, slider in operator.ranges.items():
        assert slider.low <= settings[setting] <= slider.high


def darken(photo: Tensor, settings: Darkening) -> Tensor:
    return photo * settings.share


class Darkening:
    """Settings of an operator from outside."""

    share = 0.5


DARKEN = Operator(
    "darken",
    "darkening",
    Darkening,
    darken,
    ranges={"share": Slider(0, 1, 0.1)},
    learned={"share": Range(0, 0.5, 1)},
    render=lambda photo, chosen, estimate, samples: photo * chosen["share"][:, None, None, None],
)


def test_an_operator_from_outside_is_learned_by_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "darken", DARKEN)
    network, photo = OperatorParameters("darken").eval(), torch.rand(2, 3, 9, 8)
    torch.testing.assert_close(network(photo), 0.5 * photo, rtol=0, atol=1e-4)
    assert next(iter(network.parameters_for(photo))) == "share"
    assert not network.uses_estimate


def test_an_operator_without_settings_to_choose_is_refused_and_never_becomes_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(OPERATORS, "darken", Operator("darken", "darkening", Darkening, darken))
    with pytest.raises(ValueError, match="no settings that a network could choose"):
        networks.build("parameters", "darken")


def test_a_fidelity_from_outside_is_an_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    huber = Fidelity("huber", "Huber", nn.functional.huber_loss)
    monkeypatch.setitem(FIDELITIES, "huber", huber)
    enhanced, target = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    expected = nn.functional.huber_loss(enhanced, target)
    torch.testing.assert_close(PerceptualObjective("huber")(enhanced, target), expected)


def test_a_family_from_outside_is_built_and_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lpie.records import write_tensors

    family = Family("nothing", "no network", lambda operator: nn.Identity(), lambda tensors, metadata: nn.Identity())
    monkeypatch.setitem(FAMILIES, "nothing", family)
    assert isinstance(networks.build("nothing", "tone"), nn.Identity)
    write_tensors(tmp_path / "nothing.safetensors", {}, {"network": "nothing"})
    assert isinstance(networks.from_pretrained(tmp_path / "nothing.safetensors"), nn.Identity)
