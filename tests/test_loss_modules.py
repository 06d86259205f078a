"""Losses as modules in somebody's training loop, and the critic inside a parent module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lpie
from lpie.critic.nima import NIMA
from lpie.losses.objective import MSSSIMLoss, NIMALoss, PerceptualObjective, SSIMLoss
from lpie.losses.similarity import ms_ssim, ssim


@pytest.fixture
def critic() -> NIMA:
    torch.manual_seed(0)
    return NIMA(input_size=32)


def pair(side: int = 164) -> tuple[Tensor, Tensor]:
    target = nn.functional.interpolate(torch.rand(2, 3, 9, 9), (side, side), mode="bilinear")
    return (0.9 * target + 0.05 * torch.rand_like(target)), target


@pytest.mark.parametrize(("module", "similarity"), [(SSIMLoss, ssim), (MSSSIMLoss, ms_ssim)])
def test_reductions_are_of_one_minus_the_similarity_of_each_photo(module: type, similarity: Callable) -> None:
    enhanced, target = pair()
    each = 1 - similarity(enhanced, target)
    torch.testing.assert_close(module(reduction="none")(enhanced, target), each)
    torch.testing.assert_close(module()(enhanced, target), each.mean())
    torch.testing.assert_close(module(reduction="sum")(enhanced, target), each.sum())
    torch.testing.assert_close(module(data_range=255)(255 * enhanced, 255 * target), each.mean())


def test_the_critics_loss_is_what_its_score_lacks_of_ten(critic: NIMA) -> None:
    enhanced, _ = pair(40)
    lacks = 10 - critic.freeze().mean_score(enhanced)
    torch.testing.assert_close(NIMALoss(critic, reduction="none")(enhanced), lacks)
    torch.testing.assert_close(NIMALoss(critic)(enhanced), lacks.mean())
    torch.testing.assert_close(NIMALoss(critic, "sum", data_range=255)(255 * enhanced), lacks.sum())


def losses(critic: NIMA) -> dict[str, Callable[[Tensor], Tensor]]:
    _, target = pair()
    return {
        "SSIM": lambda enhanced: SSIMLoss()(enhanced, target),
        "MS-SSIM": lambda enhanced: MSSSIMLoss()(enhanced, target),
        "NIMA": NIMALoss(critic),
    }


@pytest.mark.parametrize("name", ["SSIM", "MS-SSIM", "NIMA"])
def test_raw_output_a_little_outside_the_range_keeps_its_gradient(name: str, critic: NIMA) -> None:
    torch.manual_seed(4)
    loss = losses(critic)[name]
    enhanced = (1.3 * pair()[0] - 0.15).requires_grad_()
    outside = (enhanced < 0) | (enhanced > 1)
    assert outside.any()
    loss(enhanced).backward()
    assert (enhanced.grad[outside] != 0).float().mean() > 0.99


@pytest.mark.parametrize("name", ["SSIM", "MS-SSIM", "NIMA"])
def test_values_of_another_range_are_refused_with_what_to_do(name: str, critic: NIMA) -> None:
    with pytest.raises(ValueError, match=r"data_range=1.*divide 8-bit values by 255"):
        losses(critic)[name](255 * pair()[0])


@pytest.mark.parametrize("fidelity", ["l1", "l2", "ssim", "ms_ssim", "mix"])
@pytest.mark.parametrize("gamma", [0, 0.01])
def test_a_network_that_diverged_gives_a_loss_that_is_not_a_number(fidelity: str, gamma: float, critic: NIMA) -> None:
    enhanced, target = torch.full((1, 3, 164, 164), float("nan")), pair()[1][:1]
    assert PerceptualObjective(fidelity, critic=critic, gamma=gamma)(enhanced, target).isnan()
    with pytest.raises(ValueError, match="it holds NaN"):
        critic.mean_score(enhanced)


@pytest.mark.parametrize("name", ["SSIM", "MS-SSIM", "NIMA"])
def test_a_module_alone_gives_not_a_number_too_where_its_network_diverged(name: str, critic: NIMA) -> None:
    enhanced = pair()[0]
    enhanced[0, 0, 5, 5] = float("nan")
    assert losses(critic)[name](enhanced).isnan()
    with pytest.raises(ValueError, match="it holds NaN"):
        SSIMLoss()(pair()[0], enhanced)


def test_a_compiled_similarity_gives_the_same_without_a_warning() -> None:
    code = "import lpie, torch; a, b = torch.rand(2, 1, 3, 32, 32);"
    code += "torch.testing.assert_close(torch.compile(lpie.ssim, backend='eager')(a, b), lpie.ssim(a, b))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "lru_cache" not in done.stderr


@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_of_another_type_are_refused_by_what_was_expected(critic: NIMA) -> None:
    gamma = PerceptualObjective("l2", critic, torch.tensor(0.1)).gamma  # type: ignore[arg-type]
    assert gamma == pytest.approx(0.1)
    with pytest.raises(ValueError, match="number of at least 0, got '1'"):
        PerceptualObjective("l2", critic, "1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Unknown fidelity None\. Choose one of l1"):
        PerceptualObjective(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Expected a critic's name or a \.safetensors file, got NoneType"):
        NIMALoss(None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="Choose one of mean, sum, none"):
        SSIMLoss(reduction="batch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0"):
        MSSSIMLoss(data_range=0)


class Parent(nn.Module):
    """Somebody's model, which holds its loss."""

    def __init__(self, critic: NIMA) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 3, 1)
        self.objective = PerceptualObjective("l2", critic, 0.1)


def test_a_critic_is_no_part_of_its_parents_weights(critic: NIMA) -> None:
    parent = Parent(critic.freeze())
    assert list(parent.state_dict()) == ["network.weight", "network.bias"]
    assert [name for name, _ in parent.named_parameters()] == ["network.weight", "network.bias"]
    parent.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in parent.state_dict().items()})
    assert not parent.network.weight.any()
    assert len(critic.state_dict()) == len(list(critic.parameters())) == 56
    parent.double()
    assert {parameter.dtype for parameter in critic.parameters()} == {torch.float64}


def test_a_trainable_nima_is_part_of_its_parents_weights(critic: NIMA) -> None:
    parent = nn.ModuleDict({"critic": critic})
    assert len(parent.state_dict()) == len(list(parent.parameters())) == 56
    parent["critic"].freeze().unfreeze()
    parent.load_state_dict(parent.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        parent.load_state_dict({})


def test_a_parent_neither_thaws_its_critic_nor_prints_it_at_length(critic: NIMA) -> None:
    parent = Parent(critic.freeze())
    parent.requires_grad_(True).train()
    assert not any(parameter.requires_grad for parameter in critic.parameters())
    assert repr(critic) == "NIMA(mobilenet_v1, antialiased, 32 px, frozen)"
    assert len(repr(parent).splitlines()) == 6


def test_an_objective_freezes_its_critic_and_takes_one_by_name(critic: NIMA) -> None:
    assert not list(PerceptualObjective("l2", critic, 0.01).parameters())
    assert not any(parameter.requires_grad for parameter in critic.parameters())
    assert repr(PerceptualObjective("l2", "compact", 0.01).critic).endswith("frozen)")
    with pytest.raises(TypeError, match=r"mean_score.*got Identity"):
        PerceptualObjective("l2", nn.Identity(), 0.01)


@pytest.mark.slow
def test_an_objective_with_its_critic_compiles() -> None:
    torch.manual_seed(0)
    objective = PerceptualObjective("l1", NIMA(input_size=32).freeze(), 0.1)
    enhanced, target = pair(40)
    objective(enhanced, target)  # looks at the target's range once
    compiled = torch.compile(objective, backend="aot_eager")
    torch.testing.assert_close(compiled(enhanced, target), objective(enhanced, target))


# Public names as type checkers see them


def test_type_checkers_see_the_names_that_are_imported_late() -> None:
    tree = ast.parse(Path(lpie.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lpie.")
        for alias in node.names
        if alias.asname
    }
    named = {name: f"lpie.{module}" for module, names in lpie._EXPORTS.items() for name in names.split()}
    assert seen == named


SNIPPET = """
import lpie
lpie.PerceptualObjective(fidelity="l2", gamma=0.0)
lpie.SSIMLoss(reduction="none")
lpie.PerceptualObjective(fidelty="l2")
lpie.PerceptualObjective(fidelity="l3")
lpie.SSIMLoss(reduction="batch")
lpie.local_laplacian(None, alfa=1.0, beta=1.0, sigma_r=1.0)
lpie.OperatorParameters("sharpen")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mypy_finds_misspelt_arguments_and_names(tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(SNIPPET, encoding="utf-8")
    project = Path(lpie.__file__).parents[1]  # where `make test` has left mypy's cache
    command = [sys.executable, "-m", "mypy", str(tmp_path / "snippet.py")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "snippet.py" in line and ": error:" in line]
    assert sorted({int(line.split(":")[1]) for line in errors}) == [5, 6, 7, 8, 9], done.stdout + done.stderr
