"""A critic of one's own: the last layer of a NIMA learns one person's ratings or choices, in a minute on two cores.

The layers below stay as they are, so that a critic that is hard to fool stays so. To the logit of each rating k is
added (k - 5.5) t, with t linear in the features that the last layer reads: it moves the whole distribution up or down.
t is found by regression of the mean score on ratings, by logistic regression of its differences on choices, or by both
at once; cross-validation chooses the penalty. Agreement is reported on held-out photographs, by copies of the critic
(`twins`) trained without them.

Source: Bradley & Terry, Rank Analysis of Incomplete Block Designs, Biometrika 1952, for choices.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold
from torch import Tensor, nn
from torch.nn import functional as F

from lpie.critic.nima import NIMA, mean_score
from lpie.critic_training.agreement import bootstrap_interval
from lpie.critic_training.opinions import Opinions
from lpie.critic_training.ratings import RATINGS
from lpie.evidence.statistics import rank_correlation
from lpie.photos.photographs import read_photo
from lpie.records import write_csv, write_whole
from lpie.vocabulary import Photo

FEWEST = 30
"""Ratings or choices: with fewer, a rank correlation below 0.36 is not significant at 95 %."""

FOLDS = 5
INNER_FOLDS = 3  # within which the penalty is chosen
PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0)  # on the mean square of the direction (features standardized)
STEPS = 30  # of L-BFGS
Move = tuple[Float[Tensor, " f"], Float[Tensor, ""]]
"""Direction and offset of t: t = features @ direction + offset."""
Measure = tuple[str, Callable[..., float], tuple[NDArray[np.float64], ...]]
"""Name, statistic, and its samples: one number for each photograph or choice."""


@dataclass(frozen=True)
class Learned:
    """Agreement with opinions about unseen photographs, before and after: estimate and both ends of its interval."""

    measure: str
    count: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]

    def __str__(self) -> str:
        before, after = ("{:.2f} [{:.2f}, {:.2f}]".format(*bounds) for bounds in (self.before, self.after))
        return f"{self.measure}, {self.count} held out: {after} after learning, {before} before"


def learn_taste(opinions: Opinions, out: Path, initial: str = "compact", seed: int = 0) -> list[Learned]:
    """Write `critic.safetensors`, its card `critic.md` and `predictions.csv` to `out`; returns what was learned.

    `initial` is a critic by name or file; the table's `photo, before, held_out` are scores by it and by twins. Raises
    ValueError if there are fewer than 30 ratings and fewer than 30 choices, or if all ratings are equal.
    """
    _check_enough(opinions)
    start = NIMA.from_pretrained(initial)
    features = features_of(start, opinions.photos)
    logits = last_layer(start)(features).detach()
    before, after = _scores(logits).numpy(), held_out_scores(features, logits, opinions, seed)
    learned = [
        Learned(
            name, len(samples[0]), *((statistic(*s), *bootstrap_interval(statistic, s)) for s in (earlier, samples))
        )
        for (name, statistic, samples), (_, _, earlier) in zip(
            _agreement(after, opinions), _agreement(before, opinions), strict=True
        )
    ]
    critic = moved_critic(start, fit(features, logits, opinions, _best_penalty(features, logits, opinions, seed)))
    counts = {"ratings": str(len(opinions.rated)), "choices": str(len(opinions.choices))}
    critic.save(out / "critic.safetensors", torch.float16, initial=Path(initial).name, **counts)
    write_whole(out / "critic.md", _card(initial, counts, learned))
    columns = {"photo": [path.name for path in opinions.photos], "before": before, "held_out": after}
    write_csv(out / "predictions.csv", pd.DataFrame(columns))
    return learned


@torch.no_grad()
def features_of(nima: NIMA, photos: Iterable[Path | Photo]) -> Float[Tensor, "n f"]:
    """What the last layer reads of each photograph, a file or (1, 3, H, W). Errors as `lpie.read_photo`."""
    read: list[Tensor] = []
    hook = last_layer(nima).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].float()))
    for photo in photos:
        nima(photo if isinstance(photo, Tensor) else read_photo(photo))
    hook.remove()
    return torch.cat(read)


def fit(features: Float[Tensor, "n f"], logits: Float[Tensor, "n 10"], opinions: Opinions, penalty: float) -> Move:
    """The move of the last layer with the least error on `opinions` plus `penalty` times its mean square."""
    used = np.union1d(opinions.rated, opinions.choices)
    center, spread = features[used].mean(0), features[used].std(0).clamp_min(1e-3)
    spread = spread * features.shape[1] ** 0.5
    standard = (features - center) / spread
    basis = torch.linalg.svd(standard[used], full_matrices=False).Vh  # what is best lies in what was seen
    standard = standard @ basis.T
    rated, choices = torch.from_numpy(opinions.rated), torch.from_numpy(opinions.choices)
    wanted = torch.from_numpy(opinions.ratings).float()
    unit = _scores(logits)[used].std().clamp_min(1e-3)
    direction = torch.zeros(len(basis), requires_grad=True)
    offset = torch.zeros((), requires_grad=True)
    solver = torch.optim.LBFGS([direction, offset], max_iter=STEPS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        scores = _scores(_tilted(logits, standard @ direction + offset))
        loss = penalty * direction.square().sum() / features.shape[1] + 1e-3 * offset.square()
        if len(rated):
            loss = loss + (scores[rated] - wanted).square().mean() / wanted.var().clamp_min(1e-3)
        if len(choices):
            loss = loss + F.softplus((scores[choices[:, 1]] - scores[choices[:, 0]]) / unit).mean()
        loss.backward()
        return loss

    solver.step(objective)
    raw = direction.detach() @ basis / spread
    return raw, offset.detach() - raw @ center


def moved_critic(start: NIMA, move: Move) -> NIMA:
    """A frozen copy of `start` with the move in its last layer."""
    critic = copy.deepcopy(start)
    critic.convention = "antialiased"
    tilt, head = torch.from_numpy(RATINGS - 5.5).float(), last_layer(critic)
    with torch.no_grad():
        head.weight.add_(tilt[:, None] * move[0])
        head.bias.add_(tilt * move[1])
    return critic.freeze()


def held_out_scores(features: Tensor, logits: Tensor, opinions: Opinions, seed: int = 0) -> NDArray[np.float64]:
    """The score of each photo, less the mean of all, by a twin that saw neither it nor any photo compared with it."""
    scores = np.zeros(len(features))
    for seen, unseen in _folds(opinions, seed):
        told = opinions.of(seen)
        move = fit(features, logits, told, _best_penalty(features, logits, told, seed))
        scores[unseen] = _centered(moved_scores(features, logits, move), opinions)[unseen]
    return scores


def _best_penalty(features: Tensor, logits: Tensor, opinions: Opinions, seed: int) -> float:
    """The penalty with which twins agree best with opinions they have not seen; of equals the largest."""

    def agreement(penalty: float) -> float:
        scores = np.zeros(len(features))
        for seen, unseen in _folds(opinions, seed, INNER_FOLDS):
            moved = moved_scores(features, logits, fit(features, logits, opinions.of(seen), penalty))
            scores[unseen] = _centered(moved, opinions)[unseen]
        return sum(statistic(*samples) for _, statistic, samples in _agreement(scores, opinions))

    return max(PENALTIES, key=agreement)


def _folds(opinions: Opinions, seed: int, count: int = FOLDS) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Photographs seen and unseen, in turns; compared photographs stay together where that can be."""
    used = np.union1d(opinions.rated, opinions.choices).astype(np.int64)
    groups = opinions.groups(FOLDS)[used]
    folds = GroupKFold(min(count, len(np.unique(groups))), shuffle=True, random_state=seed)
    for seen, unseen in folds.split(used, groups=groups):
        yield used[seen], used[unseen]


def _centered(scores: NDArray[np.float64], opinions: Opinions) -> NDArray[np.float64]:
    """Scores less their mean over all photographs, because the level of each twin depends on what it saw."""
    return scores - scores[np.union1d(opinions.rated, opinions.choices)].mean()


def _agreement(scores: NDArray[np.floating[Any]], opinions: Opinions) -> list[Measure]:
    """How well scores agree with the ratings and with the choices, where there are any."""
    scored = scores.astype(np.float64)
    found: list[Measure] = []
    if len(opinions.rated):
        pairs = (scored[opinions.rated], opinions.ratings)
        found.append(("rank correlation with the ratings", rank_correlation, pairs))
    if len(opinions.choices):
        first, second = scored[opinions.choices].T
        found.append(("share of the choices foreseen", np.mean, ((first > second) + 0.5 * (first == second),)))
    return found


def _check_enough(opinions: Opinions) -> None:
    most, what = max((len(opinions.choices), "choices"), (len(opinions.rated), "ratings"))
    if most < FEWEST:
        raise ValueError(
            f"At least {FEWEST} ratings or {FEWEST} choices are needed, or the result could be chance; "
            f"got {most}: give {FEWEST - most} more {what}."
        )
    if len(opinions.rated) and np.ptp(opinions.ratings) == 0:
        raise ValueError(f"All {len(opinions.rated)} ratings are {opinions.ratings[0]:g}: rate what you like higher.")


def last_layer(nima: NIMA) -> nn.Linear:
    """The layer that makes logits of features."""
    return [layer for layer in nima.network.modules() if isinstance(layer, nn.Linear)][-1]


def _tilted(logits: Float[Tensor, "n 10"], amount: Float[Tensor, " n"]) -> Float[Tensor, "n 10"]:
    return logits + amount[:, None] * torch.from_numpy(RATINGS - 5.5).to(logits)


def _scores(logits: Float[Tensor, "n 10"]) -> Float[Tensor, " n"]:
    return mean_score(logits.softmax(1))


def moved_scores(features: Tensor, logits: Tensor, move: Move) -> NDArray[np.float64]:
    """The mean scores that a critic with the move in its last layer gives."""
    return _scores(_tilted(logits, features @ move[0] + move[1])).double().numpy()


def _card(initial: str, counts: dict[str, str], learned: list[Learned]) -> str:
    found = "\n".join(f"- {one}." for one in learned)
    return f"""# A critic of one person's taste

Started from `{Path(initial).name}`; its last layer learned {counts["ratings"]} ratings and {counts["choices"]} choices
with `lpie critic train --ratings`.

{found}

Held out: {FOLDS} copies, each trained without a fifth of the photographs; in brackets 95 % intervals.
It knows one person's taste in photographs like these, and nothing else. It must not judge networks that it trained.
"""
