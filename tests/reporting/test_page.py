"""The page as a file: self-contained, escaped, bounded, true to the tables."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.comparing import CAUSAL
from infoflow.reporting.contents import MOST_PARTS, MOST_ROWS, contents, matrix_block
from infoflow.reporting.page import breaks
from infoflow.reporting.sentences import finding
from infoflow.reporting.subject import Subject, layer_parts, subject
from infoflow.saving import Absent
from tests.reporting.conftest import FIRST, MINE


class Page(HTMLParser):
    """Tags, links, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.text, self._skip = [], [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href") and tag != "a"]
        self._skip = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._skip = False

    def handle_data(self, data):
        self.text += "" if self._skip else data


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


@pytest.fixture(scope="module")
def text(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    about = {"<b>": "a & b"}
    return ifl.report(comparison, path, about=about).read_text(encoding="utf-8")


def test_the_report_is_one_self_contained_file(comparison, text):
    page = Page(text)
    assert page.links == ["data:,"]
    assert "default-src 'none'" in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "&lt;b&gt;" in text and "a &amp; b" in text
    assert finding(comparison).split(". ")[0] in page.text
    assert len(text) < 1_000_000


def test_the_search_has_one_score_in_the_report_and_its_other_one_is_explained(comparison, text):
    row, own = comparison.partitions.loc[CAUSAL], comparison.search.score.ratio
    assert f"<b>{row['score']:.3f}</b>" in text
    assert ("on the samples it was steered by" in text) == (f"{own:.3f}" != f"{row['score']:.3f}")


def test_every_name_is_text_and_not_markup(nasty, tmp_path):
    text = ifl.report(nasty, tmp_path / "report.html", title="</title><script>").read_text()
    page = Page(text)
    assert "img" not in page.tags and page.tags.count("script") == 3
    assert FIRST in page.text and MINE in page.text and "</title><script>" in page.text
    data = data_of(text)
    assert data["layers"][0] == FIRST and MINE in data["partitions"]


def test_the_page_shows_what_the_tables_hold(comparison, text):
    data = data_of(text)
    assert data["partitions"][CAUSAL]["labels"] == comparison.search.partition.labels.tolist()
    given = comparison.search.exchange.flow_given_context
    np.testing.assert_allclose(data["exchange"]["given"], given, rtol=1e-5)
    dots = {row[0]: row[3] for row in data["dots"]["rows"]}
    assert dots[CAUSAL] == pytest.approx(1 / comparison.partitions.loc[CAUSAL, "score"], rel=1e-5)
    assert {"halves", CAUSAL} <= set(dots) and "whole" not in dots


def unpacked(block):
    raw = np.frombuffer(base64.b64decode(block["values"]), "<u2").astype(float)
    side = len(block["groups"])
    return block["low"] + raw.reshape(side, side) / 65535 * (block["high"] - block["low"])


def test_a_small_matrix_is_kept_to_four_digits_in_the_order_of_its_groups():
    S = np.random.default_rng(0).normal(size=(7, 7))
    block = matrix_block(S, ifl.Partition([0, 1, 0, -1, 1, 0, 1]))
    order = [0, 2, 5, 1, 4, 6, 3]
    assert block["groups"] == [[unit] for unit in order]
    assert block["ranks"] == [0, 0, 0, 1, 1, 1, -1]
    np.testing.assert_allclose(unpacked(block), S[np.ix_(order, order)], atol=1e-4)


def test_a_large_matrix_is_means_over_units_of_one_module():
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 3, 53)
    S = rng.normal(size=(53, 53))
    block = matrix_block(S, ifl.Partition(labels), most=10)
    groups, shown = block["groups"], unpacked(block)
    assert len(groups) <= 10 + 4 and sorted(chain(*groups)) == list(range(53))
    for i, a in enumerate(groups):
        assert len(set(labels[a])) == 1
        for j, b in enumerate(groups):
            cells = [S[u, v] for u in a for v in b if u != v]
            assert shown[i, j] == pytest.approx(np.mean(cells) if cells else 0.0, abs=1e-3)


def test_the_page_of_a_large_network_is_bounded(comparison):
    n = 2500
    part = ifl.Partition(np.arange(n) % 60)
    big = np.random.default_rng(0).random((n, n)).astype(np.float32)
    labels = {f"p{i}": part for i in range(200)}
    search = replace(comparison.search, partition=part)
    many = replace(comparison, labels=labels, similarities=dict.fromkeys("ab", big), graphs={})
    many = replace(many, search=search, modules={})
    text = contents(Subject(search, None, many))
    assert len(text) < 1_500_000
    data = json.loads(text)
    assert list(data["partitions"]) == [CAUSAL]
    assert all(len(m["groups"]) <= MOST_ROWS + 61 for m in data["matrices"])


def test_a_search_has_a_page_of_its_own_with_and_without_its_recording(comparison, tmp_path):
    found, rec = comparison.search, comparison.rec
    alone = ifl.report(found, tmp_path / "a.html").read_text()
    whole = ifl.report(found, tmp_path / "b.html", rec=rec).read_text()
    assert "No recording was given" in alone and "When it is resampled" not in alone
    assert "When it is resampled" in whole and data_of(whole)["parts"]
    assert "Would Q have told you" not in whole


def test_parts_in_single_layers_add_up_to_what_modules_send(comparison):
    sent = layer_parts(comparison.search, comparison.rec)
    assert set(sent["from"]) == {"1"} and set(sent["to"]) == {"3"}  # nothing flows back
    assert (sent["bits_given_context"] >= 0).all()


def test_of_very_many_parts_the_largest_flows_are_kept(comparison):
    count = 70
    one = pd.DataFrame({"module": range(count)})
    sent = one.merge(one, how="cross").set_axis(["from_module", "to_module"], axis=1)
    sent.insert(0, "from", "1")
    sent.insert(2, "to", "3")
    sent["bits_given_context"] = np.random.default_rng(0).permutation(len(sent)) + 1.0
    sent["bits"] = 0.0
    text = contents(Subject(comparison.search, comparison.rec, comparison, sent=sent))
    kept = json.loads(text)["parts"]
    assert len(kept) == MOST_PARTS < len(sent)
    assert min(row[4] for row in kept) == len(sent) - MOST_PARTS + 1
    assert kept[0][:1] == [0] and kept[0][2] == 1  # layers by number


def test_layers_are_drawn_in_the_order_in_which_the_network_runs_them():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    rec = ifl.record(net, ["4", "0", "2"], torch.randn(60, 3))
    found = ifl.search(rec, n_modules=2, budget=4, samples=2, donors=12, contexts=12)
    data = json.loads(contents(subject(found, rec, measure=True)))
    assert [data["layers"][i] for i in data["sequence"]] == ["0", "2", "4"]


def test_what_breaks_is_said_in_words_that_follow_from_the_lesions(comparison):
    hurt = ifl.lesions(comparison.rec, comparison.search)
    table = hurt.table.copy()
    rows = (table["module"] == 0) & (table["measure"] == "accuracy")
    table.loc[rows, ["normal", "lesioned", "damage", "se"]] = 0.9, 0.4, 0.0, 0.01
    table.loc[rows & (table["task"] == ""), "damage"] = 0.5
    table.loc[rows & (table["task"] == "2"), "damage"] = 0.7
    table.loc[(table["module"] == 0) & (table["measure"] == "loss"), ["damage", "se"]] = 0.1, 0.2
    said = breaks(replace(hurt, table=table), 0)
    assert said[0] == "accuracy falls by 0.5 ± 0.01 (from 0.9)"
    assert said[1].startswith("loss does not clearly change")
    assert said[2] == "hurts most class 2 (0.7)"


def test_without_the_network_the_page_says_what_was_not_measured(comparison, tmp_path):
    bare = replace(comparison, rec=replace(comparison.rec, model=Absent()))
    text = ifl.report(bare, tmp_path / "report.html").read_text()
    assert "Not measured: what breaks" in text and data_of(text)["parts"] is None
    assert "not loaded" in text
    quiet = subject(comparison, None, measure=False)
    assert quiet.hurt is None and quiet.notes == ()


def test_what_is_no_result_is_refused(comparison, tmp_path):
    with pytest.raises(TypeError, match="expected what compare or search returned, got"):
        ifl.report({}, tmp_path / "report.html")  # pyright: ignore[reportArgumentType]
    other = ifl.record(nn.Sequential(nn.Linear(3, 5)), ["0"], torch.randn(20, 3))
    with pytest.raises(ValueError, match="rec= of 14 units"):
        ifl.report(comparison.search, tmp_path / "report.html", rec=other)
    with pytest.raises(ValueError, match="at least one module score of untrained"):
        ifl.report(comparison, tmp_path / "report.html", references={"untrained": []})
