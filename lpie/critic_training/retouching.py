"""Can a critic learn from retouching which way a photograph gets better, and where to stop?

Pairs of an original photograph and a retoucher's version (MIT-Adobe FiveK, expert C) are choices like any other: the
last layer of a critic learns them (`taste`), from the features of the AVA network or of `robust`. On held-out pairs, is
the retouched photograph ranked above the original (`direction`), and above one with every change twice as large
(`measure`)? Are tone-mapped renditions ranked as people ranked them (`renditions`), and how far does an attack raise
the score (`attack`)?

Source: ranking by pairs, Burges et al., Learning to Rank using Gradient Descent, ICML 2005.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpie.critic.nima import NIMA
from lpie.critic_training.measures import fooling
from lpie.critic_training.opinions import Opinions
from lpie.critic_training.taste import Move, features_of, fit, last_layer, moved_critic, moved_scores
from lpie.evidence.statistics import student_interval
from lpie.imaging.resampling import resize
from lpie.judges.robustness import ATTACKED_SIZE
from lpie.photos.photographs import read_photo
from lpie.records import write_csv
from lpie.registry import files_of
from lpie.study.instruments import finished_pairs
from lpie.vocabulary import Photo

INITIAL = ("ava", "robust")
SIZES = (5, 10, 15)  # pairs to learn from; and all but those that are kept apart
REPEATS = 20  # random choices of a fifth that is kept apart
PENALTY = 300.0  # of `taste.fit`; weaker ones agree less with unseen pairs
APART = 0.3  # of the ratings 1..7: renditions that people rated closer are not asked about


def overdone(came: Photo, finished: Photo) -> Photo:
    """The photograph with every change of the retoucher twice as large."""
    return (came + 2 * (finished - came)).clamp(0, 1)


def write_retouching_table(out: Path) -> pd.DataFrame:
    """Write `retouching_critic.csv`: `initial, pairs, measure, mean, low, high, n`; 0 pairs is the critic as it was.

    Shares are means over `n` random choices of a fifth of the pairs that is kept apart, with Student's t interval.
    """
    pairs = [(_square(came), _square(finished)) for _, came, finished in finished_pairs()]
    photos = torch.cat([torch.cat([finished, came, overdone(came, finished)]) for came, finished in pairs])
    ratings = pd.read_csv(next(path for path in files_of("people/tone_mapping") if path.suffix == ".csv"))
    images = {path.name: path for path in files_of("people/tone_mapping") if path.suffix == ".jpg"}
    renditions = torch.cat([_square(images[name]) for name in ratings["file"]])
    rows = []
    kept = len(pairs) // 5
    for initial in INITIAL:
        start = NIMA.from_pretrained(initial)
        head = last_layer(start)
        features, shown = (features_of(start, some.split(1)) for some in (photos, renditions))
        logits, shown_logits = head(features).detach(), head(shown).detach()
        for size in (0, *SIZES, len(pairs) - kept):
            shares: dict[str, list[float]] = {"direction": [], "measure": [], "renditions": []}
            random = np.random.default_rng(0)
            move: Move = (torch.zeros(features.shape[1]), torch.zeros(()))
            for _ in range(REPEATS):
                order = random.permutation(len(pairs))
                if size:
                    move = fit(features, logits, preferences(order[kept:][:size]), PENALTY)
                scores = moved_scores(features, logits, move).reshape(-1, 3)[order[:kept]]
                shares["direction"].append(float((scores[:, 0] > scores[:, 1]).mean()))
                shares["measure"].append(float((scores[:, 0] > scores[:, 2]).mean()))
                shares["renditions"].append(ranked_as_people_do(moved_scores(shown, shown_logits, move), ratings))
            found = {name: student_interval(values) for name, values in shares.items()}
            rows += [{"initial": initial, "pairs": size, "measure": name, **vars(i)} for name, i in found.items()]
            if size in (0, len(pairs) - kept):
                score = moved_critic(start, move).mean_score
                gain = fooling(score, photos[::3].split(1), photos[:3].split(1), 0)["attack_gain"]
                spread = moved_scores(features, logits, move)[::3].std(ddof=1)
                rows.append(
                    {"initial": initial, "pairs": size, "measure": "attack", "mean": gain / spread, "n": len(pairs)}
                )
    table = pd.DataFrame(rows)
    write_csv(out / "retouching_critic.csv", table)
    return table


def ranked_as_people_do(scores: NDArray[np.float64], ratings: pd.DataFrame) -> float:
    """The share of pairs of renditions of a scene, rated clearly apart by people, that `scores` order as they did."""
    ordered = [
        scores[better] > scores[worse]
        for _, scene in ratings.groupby("scene")
        for better, worse in permutations(scene.index, 2)
        if ratings["mean"][better] - ratings["mean"][worse] > APART
    ]
    return float(np.mean(ordered))


def preferences(chosen: NDArray[np.int64]) -> Opinions:
    """The finished photograph is preferred to the original and to the overdone one; three rows a pair."""
    pairs = np.concatenate([np.stack([3 * chosen, 3 * chosen + other], 1) for other in (1, 2)])
    return Opinions((), np.empty(0, np.int64), np.empty(0), pairs)


def _square(path: Path) -> Tensor:
    return resize(read_photo(path), ATTACKED_SIZE, ATTACKED_SIZE)
