"""Trains networks on whole photographs and their targets: one visible step, exact resume, several at once on a GPU.

Every draw of a run (which shape, which photographs, which mirrored) is made before its first step, so a run that was
interrupted continues with the very numbers it would have had.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lpie import networks
from lpie.critic.nima import NIMA
from lpie.losses.objective import PerceptualObjective
from lpie.networks.bilateral_grid import roughness
from lpie.records import read_tensors, write_csv, write_json, write_tensors
from lpie.study.photograph_pool import Batch, PhotographPool, draw_photographs
from lpie.study.resuming import going_on, optimizer_tensors
from lpie.study.settings import Study
from lpie.study.targets import Scene
from lpie.weights import open_weights

log = logging.getLogger(__name__)

LOGGED = ("loss", "fidelity", "score")


def default_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(
    studies: Sequence[Study], scenes: Sequence[Scene], folder: Path, device: str | None = None
) -> list[nn.Module]:
    """The network of each study, trained on the training scenes or read from `folder/<study.name>`.

    All studies advance step by step together, which keeps a GPU busy that one small network would not fill.
    Each run's folder receives checkpoint.safetensors on the way and weights.safetensors, log.csv, run.json at
    its end. Started again, unfinished runs continue from their checkpoints; on the same device the bytes are
    those of an undisturbed run (on a CPU the number of threads becomes the checkpoint's, since sums depend on it).
    Raises FloatingPointError, once the others are done, for runs that diverged.
    """
    device = device or default_device()
    folder = Path(folder)
    if first := list(dict.fromkeys(study.first for study in studies if study.first and not is_trained(study, folder))):
        train(first, scenes, folder, device)
    unfinished = [study for study in studies if not is_trained(study, folder)]
    if unfinished:
        pools: dict[bool, PhotographPool] = {}
        runs = [Run(study, scenes, folder / study.name, device, pools) for study in unfinished]
        _advance(runs)
    return [load_network(study, folder).to(device) for study in studies]


def is_trained(study: Study, folder: Path) -> bool:
    """Whether `folder` holds the finished network of `study`."""
    return all((Path(folder) / study.name / part).exists() for part in ("run.json", "weights.safetensors"))


def load_network(study: Study, folder: Path) -> nn.Module:
    """The finished network of `study`, in eval mode."""
    network = networks.build(study.network, study.operator, **dict.fromkeys(study.options, True))
    tensors, _ = read_tensors(Path(folder) / study.name / "weights.safetensors")
    network.load_state_dict(tensors)
    return network.eval()


def _advance(runs: list[Run]) -> None:
    """One step of every run in turn, until all are done; those that diverged are named at the end."""
    diverged: list[str] = []
    total = sum(run.study.schedule.steps - run.step for run in runs)
    spoken = time.monotonic()
    with tqdm(total=total, desc=f"training {len(runs)} network(s)", unit="step", mininterval=1.0, disable=None) as bar:
        while pending := [run for run in runs if run.step < run.study.schedule.steps]:
            began = time.monotonic()
            for run in pending:
                run.advance()
            share = (time.monotonic() - began) / len(pending)  # a GPU does not say whose work it was
            for run in pending:
                run.seconds += share
                try:
                    run.keep()
                except FloatingPointError as error:
                    diverged.append(str(error))
            bar.update(len(pending))
            if bar.disable and time.monotonic() - spoken > 5:
                log.info("step %d of %d, %d network(s)", pending[0].step, pending[0].study.schedule.steps, len(runs))
                spoken = time.monotonic()
    if diverged:
        raise FloatingPointError(" ".join(diverged))


class Run:
    """One study in training: network, optimizer, its draws, and what it has logged so far."""

    def __init__(
        self, study: Study, scenes: Sequence[Scene], folder: Path, device: str, pools: dict[bool, PhotographPool]
    ) -> None:
        self.study, self.folder, self.device = study, folder, torch.device(device)
        schedule = study.schedule
        torch.manual_seed(study.seed)
        self.network = networks.build(study.network, study.operator, **dict.fromkeys(study.options, True))
        if study.first:
            self.network = load_network(study.first, folder.parent)
        elif study.initial:
            self.network.load_state_dict(open_weights(study.initial)[0])
        self.network.to(self.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        critic = NIMA.from_pretrained(study.critic) if study.critic != "none" else None
        self.objective = PerceptualObjective(study.fidelity, critic, study.gamma).to(self.device)

        uses_estimate = bool(self.network.uses_estimate)
        if uses_estimate not in pools:
            pools[uses_estimate] = PhotographPool(scenes, uses_estimate, self.device)
        self.pool = pools[uses_estimate]
        draws = draw_photographs(study.seed, schedule, [(frame.side, len(frame.photos)) for frame in self.pool.frames])
        self.drawn_frames = draws.frames
        self.photos, self.mirrored = draws.photos.to(self.device), draws.mirrored.to(self.device)
        cosine = [0.5 * (1 + math.cos(math.pi * step / schedule.steps)) for step in range(schedule.steps)]
        self.rates = schedule.learning_rate * torch.tensor(cosine, device=self.device)
        rate = torch.tensor(schedule.learning_rate, device=self.device)
        on_gpu = self.device.type == "cuda"
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=rate, fused=True, capturable=on_gpu)
        self.counter = torch.zeros((), dtype=torch.long, device=self.device)  # the step, where the GPU can read it
        self.history = torch.zeros(schedule.steps, len(LOGGED), device=self.device)
        self.validation: list[tuple[int, float]] = []
        self.step, self.seconds = 0, 0.0
        self._prepare_optimizer()
        self._resume()
        self.stream = torch.cuda.Stream() if on_gpu else None
        self.memory = torch.cuda.graph_pool_handle() if on_gpu else None
        self.graphs: dict[int, torch.cuda.CUDAGraph | None] = {}  # one for each frame
        for frame in sorted(set(self.drawn_frames)) if on_gpu else ():
            self.graphs[frame] = self._capture(frame)

    def advance(self) -> None:
        """One step; at its marks also a validation."""
        frame = self.drawn_frames[self.step]
        graph = self.graphs.get(frame)
        with torch.cuda.stream(self.stream):
            if graph is None:
                self.one_step(frame)
            else:
                graph.replay()
        self.step += 1
        schedule = self.study.schedule
        if self.step == schedule.steps or self.step % schedule.validate_every == 0:
            self.validation.append((self.step, self._validate()))

    def keep(self) -> None:
        """At its marks a checkpoint, and at the end the finished run."""
        schedule = self.study.schedule
        if self.step == schedule.steps:
            self._finish()
        elif self.step % schedule.checkpoint_every == 0:
            self._save_checkpoint()

    def one_step(self, frame: int) -> None:
        """The whole method: photographs, objective, gradient, Adam. Its position it reads on the device."""
        here = self.counter[None]  # a tensor of one index: indexing by a scalar tensor would wait for the GPU
        chosen, mirrored = (drawn.index_select(0, here)[0] for drawn in (self.photos, self.mirrored))
        batch = self.pool.frames[frame].batch(chosen, mirrored)
        with self._precision():
            enhanced, penalty = self._enhance(batch)
            parts = self.objective.parts(enhanced, batch.target)
        (parts["loss"] + penalty).backward()
        self.optimizer.param_groups[0]["lr"].copy_(self.rates.index_select(0, here)[0])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        row = torch.stack([parts[key].detach().float() for key in LOGGED])
        self.history.index_copy_(0, here, row[None])
        self.counter += 1

    def _enhance(self, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """The enhanced photos, and what is added to the loss for a rough grid."""
        if batch.estimate is not None:
            return self.network(batch.photo, batch.estimate), 0.0
        if not self.study.smoothness:
            return self.network(batch.photo), 0.0
        grid = self.network.predict_grid(self.network.thumbnail_of(batch.photo))  # type: ignore[operator]
        return self.network.apply_grid(batch.photo, grid), self.study.smoothness * roughness(grid)  # type: ignore[operator]

    def _precision(self) -> torch.autocast | nullcontext[None]:
        on_gpu = self.device.type == "cuda"
        return torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False) if on_gpu else nullcontext()

    @torch.no_grad()
    def _validate(self) -> float:
        """Mean PSNR to the target, in dB, of the first validation scenes, whole."""
        if self.stream is not None:
            self.stream.synchronize()
        self.network.eval()
        errors = []
        for batch in self.pool.validation():
            enhanced, _ = self._enhance(batch)
            errors.append((enhanced.float().clamp(0, 1) - batch.target).square().mean())
        self.network.train()
        return float((-10 * torch.stack(errors).log10()).mean())

    # What a run leaves ------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on; the live ones, not copies."""
        state = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return state | optimizer_tensors(self.optimizer) | {"counter": self.counter, "history": self.history}

    def _prepare_optimizer(self) -> None:
        """Lets Adam make its state with a step of zero gradients and zero rate, then resets its clock."""
        for parameter in self.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        rate = self.optimizer.param_groups[0]["lr"]
        rate.zero_()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        rate.fill_(self.study.schedule.learning_rate)
        for moments in self.optimizer.state.values():
            for tensor in moments.values():
                tensor.zero_()

    @torch.no_grad()
    def _restore(self, saved: dict[str, Tensor]) -> None:
        for name, tensor in self._state().items():
            tensor.copy_(saved[name])

    def _save_checkpoint(self) -> None:
        position = {"step": self.step, "seconds": self.seconds, "validation": self.validation}
        position["threads"] = torch.get_num_threads()
        if self.stream is not None:
            self.stream.synchronize()
        metadata = {"study": self.study.digest, "position": json.dumps(position)}
        write_tensors(self.folder / "checkpoint.safetensors", self._state(), metadata)

    def _resume(self) -> None:
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        saved, metadata = read_tensors(path)
        with going_on(path, metadata.get("study"), self.study.digest):
            position = json.loads(metadata["position"])
            self.step, self.seconds = int(position["step"]), float(position["seconds"])
            threads = int(position["threads"])
            self.validation = [(int(at), float(db)) for at, db in position["validation"]]
            self._restore(saved)
        if self.device.type == "cpu" and threads != torch.get_num_threads():
            log.info("%s began with %d thread(s) and goes on so", self.study.name, threads)
            torch.set_num_threads(threads)
        log.info("%s continues at step %d", self.study.name, self.step)

    def _finish(self) -> None:
        if not all(parameter.isfinite().all() for parameter in self.network.parameters()):
            raise FloatingPointError(f"{self.study.name} diverged: weights are not finite. Lower the learning rate.")
        history = self.history.cpu().numpy()
        table = pd.DataFrame(history, columns=list(LOGGED)).assign(step=range(1, len(history) + 1))
        every = max(1, len(table) // 200)
        table = table.groupby((table["step"] - 1) // every).mean().assign(step=lambda rows: rows["step"].round())
        psnr = pd.DataFrame(self.validation, columns=["step", "validation_psnr"])
        write_csv(self.folder / "log.csv", pd.concat([table, psnr]).sort_values("step"))
        settings: dict[str, str] = self.network.metadata()  # type: ignore[operator]
        metadata = {**settings, "study": json.dumps(asdict(self.study), sort_keys=True)}
        write_tensors(self.folder / "weights.safetensors", self.network.state_dict(), metadata)
        record = {
            "run": self.study.name,
            "study": asdict(self.study),
            "seconds": round(self.seconds, 3),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "validation_psnr": self.validation[-1][1],
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        write_json(self.folder / "run.json", record)  # last: its presence says that the run is whole
        (self.folder / "checkpoint.safetensors").unlink(missing_ok=True)

    def _capture(self, frame: int) -> torch.cuda.CUDAGraph | None:
        """A step on photographs of `frame` as one CUDA graph, None where it cannot be one.

        The steps that warm it up leave no trace. The graphs of a run share their memory, since they never overlap.
        """
        saved = {name: tensor.clone() for name, tensor in self._state().items()}
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self.counter.fill_(self.drawn_frames.index(frame))  # where the photographs drawn are the frame's
                self.one_step(frame)
        torch.cuda.synchronize()
        try:
            with torch.cuda.graph(graph, pool=self.memory, stream=self.stream):
                self.one_step(frame)
        except RuntimeError as error:  # some operation waits for the GPU: slower, not wrong
            log.warning("%s trains without a CUDA graph: %s", self.study.name, str(error).splitlines()[0])
            return None
        finally:
            torch.cuda.synchronize()
            self._restore(saved)
            torch.cuda.synchronize()
        return graph
