"""The report: every table and figure follows from the CSV files alone, and the page needs nothing beside it."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from synthetic_records import JUDGES as JUDGED
from synthetic_records import invent_study

from lpie.evidence import Evidence
from lpie.evidence.results import read_results
from lpie.evidence.tables import headline, markdown, time_table
from lpie.figures import page_data
from lpie.figures.page_data import instruments
from lpie.figures.readable import number
from lpie.figures.report import PUBLISHED, publish, write_report
from lpie.judges import JUDGES
from lpie.losses import FIDELITIES
from lpie.networks import FAMILIES
from lpie.records import write_csv

pytestmark = pytest.mark.usefixtures("people_agree_with_the_judges")
EARNED = dict(JUDGES)  # with the roles of this world


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, people_agree_with_the_judges: None) -> Path:
    """Published evidence of an invented study, drawn once."""
    place = tmp_path_factory.mktemp("published")
    runs, scores = invent_study(networks=("parameters",), operators=("tone",), seeds=2, rivals=True)
    write_csv(place / "runs.csv", runs)
    write_csv(place / "scores.csv", scores)
    with_critic = runs.loc[runs["network"] == "parameters", "run"]
    write_csv(
        place / "logs.csv.xz",
        pd.DataFrame({"run": with_critic, "step": 10, "loss": 0.1, "fidelity": 0.1, "validation_psnr": 38.0}),
    )
    for run in runs["run"]:
        (place / "crops" / run).mkdir(parents=True)
        Image.linear_gradient("L").resize((48, 48)).convert("RGB").save(place / "crops" / run / "tone-test-3.webp")
    (place / "provenance.json").write_text('{"commit": "abc & <def>"}')
    write_report(place)
    return place


def test_every_table_and_figure_is_there(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    for table in ("verdicts", "headline", "frontier", "gammas", "recipe", "recipe_summary", "comparisons", "time"):
        assert f"{table}.csv" in names
    assert {"verdicts.md", "headline.md", "report.html"} <= names
    assert {path.name for path in (folder / "figures").iterdir()} == {"frontier.png", "spectrum.png", "claim-C1.png"}
    drawn = re.findall(r'id="figure-([^"]*)"', (folder / "report.html").read_text())
    panels = {f"frontier--tone-{critic}" for critic in ("compact", "ava")}
    assert set(drawn) == {"claim-C1", "claim-C2", "claim-C7", "gamma-tone", "spectrum", *panels}


def test_drawing_again_gives_the_same_bytes(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and "crops" not in path.parts]
    before = {path: path.read_bytes() for path in files}
    write_report(folder)
    assert [path.name for path, content in before.items() if path.read_bytes() != content] == []


def test_the_page_asks_nothing_of_the_network_and_escapes_what_it_shows(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    shown = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=\"(?!data:|#)", shown)
    assert set(re.findall(r"https?://[^\"]*", shown)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "abc &amp; &lt;def&gt;" in page.replace("&#34;", '"')
    assert page.count("data:image/webp;base64,") == len(FIDELITIES) + 5  # each picture once
    for claim in ("C1", "C7"):
        assert f'id="{claim}"' in page


def test_the_page_answers_first_and_writes_numbers_as_people_do(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    shown = re.sub(r"<(script|style|svg|pre)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    answer = shown.index("Yes, by the judges asked here; of the paper&#39;s seven claims, ")
    assert answer < shown.index("C1") < shown.index("Claim by claim")
    assert not re.search(r"\d[eE]-\d|\bnan\b|gain_|\[nan", shown)


def test_numbers_are_written_as_people_write_them() -> None:
    written = [number(value) for value in (1.0, -0.00412, 0.12345, 12.345, 1234.5, float("nan"))]
    assert written == ["1", "−0.0041", "0.123", "12.35", "1,234", ""]
    assert (number(4.846e-12, "p_holm"), number(0.03, "p_holm")) == ("&lt; 0.001", "0.030")


def test_what_instruments_are_worth_is_shown_where_it_was_asked(folder: Path, tmp_path: Path) -> None:
    assert instruments(tmp_path) is None
    write_csv(tmp_path / "instruments.csv", pd.DataFrame({"instrument": ["niqe"], "blur_and_jpeg": [0.8312]}))
    asked = instruments(tmp_path)
    assert asked is not None
    assert "blur and jpeg" in asked["table"]
    assert ">0.831<" in asked["table"]
    assert (asked["people"], asked["sheets"]) == ("", [])


def test_what_cannot_be_drawn_is_said(folder: Path, tmp_path: Path) -> None:
    runs, scores = pd.read_csv(folder / "runs.csv"), pd.read_csv(folder / "scores.csv")
    write_csv(tmp_path / "runs.csv", runs[runs["gamma"].fillna(0) == 0])
    write_csv(tmp_path / "scores.csv", scores)
    page = write_report(tmp_path).read_text()
    assert "frontier: Nothing to draw: the tables hold no networks trained with a critic" in page
    assert "not attempted" in page


def test_the_headline_says_which_interval_it_gives() -> None:
    evidence = Evidence(*invent_study(networks=("parameters",), operators=("tone",), seeds=2))
    front = evidence.frontier
    table = headline(evidence).set_index("objective")
    several, one = table.loc["L2 + 0.01 NIMA (compact)"], table.loc["L2 + 0.1 NIMA (compact)"]
    row = front[front["objective"] == "l2+0.01compact"].iloc[0]
    half = (row["gain_niqe_seed_high"] - row["gain_niqe_seed_low"]) / 2
    assert several["niqe"] == f"{row['gain_niqe']:+.3f} ± {half:.3f}"
    assert (several["seeds"], one["seeds"]) == (2, 1)
    row = front[front["objective"] == "l2+0.1compact"].iloc[0]
    assert one["niqe"].endswith(f"± {(row['gain_niqe_high'] - row['gain_niqe_low']) / 2:.3f}")


def test_markdown_escapes_its_own_bars() -> None:
    assert markdown(pd.DataFrame({"a": ["x|y"], "b": [1]})) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |\n"


def test_time_adds_up() -> None:
    runs = pd.DataFrame({"operator": "tone", "network": ["grid", "grid", "target"], "device": "cpu",
                         "seconds": [30.0, 60.0, None]})  # fmt: skip
    assert time_table(runs).iloc[0].to_dict() == {
        "operator": "tone", "network": "grid", "device": "cpu", "runs": 2, "seconds_each": 45.0, "minutes": 1.5,
    }  # fmt: skip


def test_publishing_takes_the_tables_and_only_the_crops_that_are_shown(folder: Path, tmp_path: Path) -> None:
    source, published = tmp_path / "study", tmp_path / "published"
    runs, scores = pd.read_csv(folder / "runs.csv"), pd.read_csv(folder / "scores.csv")
    write_csv(source / "runs.csv", runs)
    write_csv(source / "scores.csv", scores)
    rival = runs.loc[runs["network"] == "trivial", "run"].iloc[0]
    for run in ("tone-target", "tone-input", rival):
        (source / "runs" / run / "crops").mkdir(parents=True)
        for photo in "abcd":
            Image.new("RGB", (4, 4)).save(source / "runs" / run / "crops" / f"{photo}.png")
    (source / "runs" / "x").mkdir()
    (source / "runs" / "x" / "log.csv").write_text("step,loss,validation_psnr\n1,0.5,30\n")
    publish(source, published)
    assert sorted(str(path.relative_to(published / "crops")) for path in published.rglob("*.webp")) == [
        "tone-input/a.webp", "tone-target/a.webp",
    ]  # fmt: skip
    assert pd.read_csv(published / "logs.csv.xz")["run"].tolist() == ["x"]


@pytest.mark.slow
def test_what_is_committed_is_what_its_tables_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make published` would change nothing: checked on tables and pictures, whose bytes do not depend on the date."""
    for name in JUDGED:
        monkeypatch.setitem(JUDGES, name, EARNED[name])
    listed = subprocess.run(["git", "ls-files", "-z", str(PUBLISHED)], cwd=PUBLISHED.parents[1], capture_output=True,
                            text=True, check=False)  # fmt: skip
    committed = [PUBLISHED.parents[1] / name for name in listed.stdout.split("\0") if name]
    if PUBLISHED / "scores.csv.xz" not in committed:
        pytest.skip("no evidence is committed yet")
    for path in committed:
        copy = tmp_path / path.relative_to(PUBLISHED)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    write_report(tmp_path)
    kinds = {".csv", ".md", ".png", ".webp"}
    drawn = [path for path in tmp_path.rglob("*") if path.suffix in kinds]
    assert {path.relative_to(tmp_path) for path in drawn} == {
        path.relative_to(PUBLISHED) for path in committed if path.suffix in kinds
    }
    stored = {path: PUBLISHED / path.relative_to(tmp_path) for path in drawn}
    assert [path.name for path, there in stored.items() if path.read_bytes() != there.read_bytes()] == []


def test_the_readme_says_what_the_tables_say() -> None:
    """Claims with their verdicts, and how much they rest on."""
    text = (PUBLISHED.parents[1] / "README.md").read_text(encoding="utf-8")
    if not (PUBLISHED / "verdicts.csv").exists():
        pytest.skip("no evidence is committed yet")
    for _, row in pd.read_csv(PUBLISHED / "verdicts.csv").iterrows():
        assert f"| {row['claim']} | {row['paper']} | {row['verdict']}" in text
        cases = re.search(r"Holds in (\d+ of \d+) cases", row["found"])
        if cases and row["verdict"] != "supported":
            assert f"| {row['verdict']} ({cases.group(1)}" in text
    runs = pd.read_csv(PUBLISHED / "runs.csv")
    assert f"{runs['network'].isin(FAMILIES).sum()} networks of three families" in text
    assert f"({len(runs)} evaluated outputs" in text


def test_the_numbers_beside_the_answer_say_what_the_rows_say() -> None:
    """Differences taken again from a row per run and photo; what was seen counted again."""
    ladder, answered = (pd.read_csv(PUBLISHED / f"{name}.csv") for name in ("ladder", "answers"))
    said = page_data.numbers(answered, ladder)
    runs, scores = read_results(PUBLISHED)
    scores = scores[scores["split"] == "validation"].merge(runs[["run", "operator", "network", "objective", "seed"]])
    found = re.search(r"At (\S+) the critic (\S+) likes .+? better by (\S+), and (\d+)% of photographs", said)
    assert found is not None
    gamma, critic, gain, share = found.groups()
    step = ladder[(ladder["critic"] == critic) & (ladder["gamma"] == float(gamma))]
    row = step[step["plain"].round(2) == int(share) / 100].iloc[0]
    of = scores[(scores["operator"] == row["operator"]) & (scores["network"] == row["network"]) & (scores["seed"] == 0)]
    pleased, alone = (of[of["objective"] == name].set_index("photo") for name in (row["objective"], "l2"))
    assert (pleased[f"score_{critic}"] - alone[f"score_{critic}"]).mean() == pytest.approx(float(gain), abs=0.006)
    assert (pleased["unexplained"] > JUDGES["unexplained"].plain).mean() == pytest.approx(int(share) / 100, abs=0.006)
    assert html.unescape((PUBLISHED / "report.html").read_text(encoding="utf-8")).count(said) == 1


def test_published_pages_name_no_file_of_the_machine_that_drew_them() -> None:
    pages = list(PUBLISHED.rglob("*.html"))
    assert len(pages) > 2
    assert [
        page.name for page in pages if re.search(r"--weights\s+/|[\"' ]/(tmp|home|root|work)/", page.read_text())
    ] == []


def test_the_example_of_pairs_says_what_its_tables_say() -> None:
    text = " ".join((PUBLISHED / "pairs" / "README.md").read_text(encoding="utf-8").split())
    answered = pd.read_csv(PUBLISHED / "pairs" / "answers.csv")
    asked = answered[answered["role"] == "human reference"].set_index("instrument")
    within = asked["no difference that matters"].to_dict()
    assert within == {"SSIM": 4, "MS-SSIM": 2, "LPIPS": 2, "ColorVideoVDP": 0}  # in any of four, in two, all four open
    assert set(asked["cases"]) == {4}
    assert not asked[["supported", "contradicted"]].to_numpy().any()
    assert f"{asked['needed'].min():.0f} to {asked['needed'].max():.0f} would decide" in text


def test_the_cards_of_shipped_networks_say_what_the_tables_say() -> None:
    runs, scores = read_results(PUBLISHED)
    cards = [card.read_text(encoding="utf-8") for card in (PUBLISHED.parents[1] / "lpie" / "weights").glob("*.md")]
    named = {found[1]: " ".join(card.split()) for card in cards if (found := re.search(r"the run\s+`(\S+)`", card))}
    ours = {run: card for run, card in named.items() if run in set(runs["run"])}
    assert ours
    assert all("at commit" in card for run, card in named.items() if run not in ours)  # of earlier studies
    for run, card in ours.items():
        test = scores[(scores["run"] == run) & (scores["split"] == "test")]
        assert f"({len(test)} photographs" in card
        assert f"to the operator's output {test['psnr'].mean():.1f} dB, MS-SSIM {test['ms_ssim'].mean():.3f}" in card


def test_a_critic_that_did_not_score_every_run_leaves_an_empty_cell() -> None:
    runs, scores = invent_study(networks=("parameters",), operators=("tone",), seeds=2, rivals=False)
    run = "tone-parameters-l2-s1"
    scores.loc[scores["run"] == run, "score_ava"] = float("nan")
    evidence = Evidence(runs, scores)
    front = evidence.frontier
    unknown = front[front["gain_ava"].isna()]
    assert unknown["objective"].tolist() == ["l2"]
    table = headline(evidence).set_index("objective")
    assert table.loc["L2", "ava"] == ""
    assert table.loc["L2", "compact"] != ""
    assert (table.drop("L2")["ava"] != "").all()


def test_published_scores_keep_five_digits(tmp_path: Path) -> None:
    runs, scores = invent_study(networks=("parameters",), operators=("tone",), seeds=1, rivals=False)
    (tmp_path / "source").mkdir()
    write_csv(tmp_path / "source" / "runs.csv", runs)
    write_csv(tmp_path / "source" / "scores.csv", scores)
    write_csv(tmp_path / "source" / "logs.csv.xz", pd.DataFrame({"run": ["x"], "validation_psnr": [1.0]}))
    publish(tmp_path / "source", tmp_path / "published")
    kept = pd.read_csv(tmp_path / "published" / "scores.csv.xz")
    both = scores.merge(kept, on=["run", "photo"], suffixes=("", "_kept"))
    assert len(both) == len(scores)
    both = both[both["psnr"] < 1e3]
    assert 1e-6 < (both["psnr_kept"] / both["psnr"] - 1).abs().max() < 5.1e-5
