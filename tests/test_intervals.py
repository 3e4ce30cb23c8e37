"""95 % intervals of shares: which tables have them, edge cases against an independent computation
(intervals.py), and how often they hold what they should."""

import csv
import io

import numpy as np
import pytest

import fault_inputs
import intervals
import streams
from experiments import TABLES
from helpers import ok, pipeline, random_sentences, table, text
from test_perturbation import KEYED, header
from test_stats import key, projected

ENDS = ("low", "high")

# Of each table: its shares, and the column of how many there are of what counts as independent.
SHARES = {
    "agreement": dict.fromkeys(("agree_next", "agree_last", "frequent"), "live_keys"),
    "confidence": {"agree_next": "live_keys"},
    "active": {"mean": "prefixes"},
    "composition": {"zero_agreement": "prefixes",
                    **dict.fromkeys(("stop_word", "frequent", "short_prefix"), "agreeing")},
    "refinement": {"residual_is_final": "prefixes"},
    "cases": dict.fromkeys(("residual", "ffn", "agreement", "composition"), "prefixes"),
    "settled": dict.fromkeys(("share", "cumulative"), "total"),
    "perplexity": {"next_is_top": "prefixes"},
    "perturbation": dict.fromkeys(("zeroed", "increased"), "keys"),
    "shallow": dict.fromkeys((f"{name}{kind}" for name, kind in [
        ("same_last_1", ""), ("same_last_2", ""), ("same_last_3", ""), ("overlap", ""),
        ("overlap", "_random"),
        ("overlap_before", ""), ("overlap_before", "_random"), ("same_last_1", "_random"),
        ("same_last_2", "_random"),
        ("same_last_3", "_random")]), "keys"),
    "patterns": dict.fromkeys(("shallow", "semantic", "both", "none", "covered"), "keys"),
    "kappa": dict.fromkeys(("observed", "kappa"), "keys"),
    "signs": dict.fromkeys(("gate+input+", "gate+input-", "gate-input+", "gate-input-"), "keys"),
}
WITHOUT = {
    "rank": "quantiles", "top-values": "single values", "last-layer": "single prefixes",
    "annotations": "what readers noted", "shallow-keys": "a key's best triggers are all of them, no sample",
    "shallow-ngrams": "counts", "ablation": "those of intervention-stats, test_intervention.py"}

# The quartiles of means that stand alone, behind the columns named here.
QUARTILES = {"active": "mean", "composition": "agreeing", "refinement": "probability", "perturbation": "mean",
             "patterns": "comparable"}


# ---------------------------------------------------------------- all tables

@pytest.fixture(scope="module")
def tables(bin, small_model, tmp_path_factory):
    """{name: bytes} of all that have shares."""
    place = tmp_path_factory.mktemp("tables")
    lines = text(random_sentences(150, 100, longest=9))
    tokens = ok(bin, "tokenize", "-m", small_model, stdin=lines)
    (place / "tokens").write_bytes(tokens)
    (place / "triggers").write_bytes(pipeline(bin, ["forward-dump", "-m", small_model],
                                              ["topk-keys", "-t", 50],
                                              ["project-values", "-m", small_model], stdin=tokens))
    (place / "rows").write_bytes(ok(bin, "forward-dump", "-m", small_model, "--emit", "coef,resid,ffn",
                                    stdin=tokens))
    ok(bin, "project-values", "-m", small_model, "--all", "-k", 1, "-o", place / "values")
    (place / "words").write_text("w4\nw5\n")
    (place / "noted.csv").write_text(
        "reader,model,layer,cell,triggers,pattern,kind,description,shows\n"
        + "".join(f"{reader},m,1,{cell},5,1,{kind},x,1 2 3 {cell}\n" for cell in (4, 5)
                  for reader, kind in [("A", "shallow"), ("B", "semantic"), ("B2", "shallow")]))
    changed = pipeline(bin, ["perturb-triggers"], ["forward-dump", "-m", small_model, "--emit", "key"],
                       stdin=(place / "triggers").read_bytes())
    ok(bin, "agreement-stats", "-o", place / "agreement", "--confidence", place / "confidence",
       place / "triggers")
    ok(bin, "composition-stats", "-m", small_model, "--values", place / "values",
       "--stop-words", place / "words", "-o", place / "composition", "--active", place / "active",
       place / "rows")
    ok(bin, "refinement-stats", "-m", small_model, "-o", place / "refinement", "--cases", place / "cases",
       "--settled", place / "settled", "--perplexity", place / "perplexity", place / "rows")
    ok(bin, "perturbation-stats", "-o", place / "perturbation", stdin=changed)
    ok(bin, "shallow-stats", "-o", place / "shallow", "--corpus", place / "tokens", place / "triggers")
    ok(bin, "pattern-stats", "-o", place / "patterns", "--kappa", place / "kappa", place / "noted.csv")
    fault_inputs.write_llama(place / "gated")
    triggers = pipeline(bin, ["tokenize", "-m", place / "gated"],
                        ["forward-dump", "-m", place / "gated", "--emit", "max,signs"],
                        ["topk-keys"], stdin=lines)
    ok(bin, "coefficient-stats", "--signs", place / "signs", stdin=triggers)
    return {name: (place / name).read_bytes() for name in SHARES}


def test_every_table_is_known():
    assert sorted([*SHARES, *WITHOUT]) == sorted(TABLES)


@pytest.mark.parametrize("name", SHARES)
def test_every_share_has_its_interval_at_the_end_of_the_row(tables, name):
    columns = next(csv.reader(io.StringIO(tables[name].decode())))
    wanted = [f"{share}_{end}" for share in SHARES[name] for end in ENDS]
    assert columns[-len(wanted):] == wanted
    shares = [column for column in columns[:-len(wanted)] if column in SHARES[name]]
    assert shares == list(SHARES[name]), "in the order of the shares"
    checked = 0
    for row in table(tables[name]):
        for share, count in SHARES[name].items():
            low, high = (row[f"{share}_{end}"] for end in ENDS)
            if not row[share]:
                assert low == high == "" and (row[count] == "0" or share == "kappa")
                continue
            assert (share == "kappa" or float(low) >= 0) \
                and float(low) <= float(row[share]) <= float(high) <= 1 and low != high
            checked += int(row[count]) > 0
    assert checked >= len(SHARES[name])


@pytest.mark.parametrize("name", QUARTILES)
def test_a_mean_that_stands_alone_has_quartiles(tables, name):
    columns = next(csv.reader(io.StringIO(tables[name].decode())))
    place = columns.index(QUARTILES[name]) + 1
    assert columns[place:place + 3] == ["p25", "p50", "p75"]
    for row in table(tables[name]):
        if row["p50"]:
            assert float(row["p25"]) <= float(row["p50"]) <= float(row["p75"])


# ------------------------------------------------------------- independent observations

PARTS = [(0, 1), (1, 1), (0, 2), (1, 2), (0, 10), (10, 10), (1, 500), (10, 500), (499, 500), (500, 500),
         (137, 411)]


def test_wilsons_interval(bin):
    """Reference: the roots of what defines it, in decimal arithmetic; by hand where they are simple: of none
    of n they are 0 and z^2 / (n + z^2), of n of n n / (n + z^2) and 1, with z^2 = 3.84145882."""
    keys = [key(layer, cell, [(5 + (cell < part), 0.5)], [([4], 6)])
            for layer, (part, whole) in enumerate(PARTS)
            for cell in range(whole)]
    rows = table(ok(bin, "agreement-stats", stdin=projected(keys, layers=len(PARTS), d_ff=500)))
    found = {parts: tuple(float(row[f"agree_next_{end}"]) for end in ENDS)
             for row, parts in zip(rows, PARTS, strict=True)}
    for part, whole in PARTS:
        assert found[part, whole] == pytest.approx(intervals.wilson(part / whole, whole), rel=1e-8, abs=1e-15)
    for whole in 1, 10:
        assert found[0, whole] == (0, pytest.approx(3.84145882 / (whole + 3.84145882), rel=1e-8))
        assert found[whole, whole] == (pytest.approx(whole / (whole + 3.84145882), rel=1e-8), 1)


# ------------------------------------------------------------- clusters

def test_students_t_of_the_reference():
    """Table of the t distribution, 97.5 %."""
    for degrees, t in [(1, 12.7062), (2, 4.30265), (3, 3.18245), (9, 2.26216), (30, 2.04227), (120, 1.97993)]:
        assert intervals.student(degrees) == pytest.approx(t, abs=1e-5 * t)


def changed(layers):
    """A stream of activations of changed prefixes: layers: each a list of keys, of each how many of how many
    are 0."""
    rows = [(layer, cell, 0.0 if i < part else 1.0) for layer, keys in enumerate(layers)
            for cell, (part, whole) in enumerate(keys) for i in range(whole)]
    records = []
    for start in range(0, len(rows), 200):
        layer, cell, now = zip(*rows[start:start + 200])
        count = len(now)
        records += [{"id": start, "len": [3] * count, "tok": [4] * 3 * count, "key_layer": layer,
                     "key_cell": cell, "key_coef": [2] * count, "key_change": [0] * count}, {"key": now}]
    top = header("activations", KEYED, changes=["last"], layers=[], cells=None)
    top["model"].update(layers=len(layers), d_ff=max(map(len, layers)))
    return streams.write({**top, "batch": {"positions": 1000}}, records)


def of_zeroed(bin, layers):
    """[(share, low, high)]"""
    rows = table(ok(bin, "perturbation-stats", stdin=changed(layers)))
    assert [int(row["keys"]) for row in rows] == [len(keys) for keys in layers]
    return [tuple(float(row[name]) for name in ("zeroed", "zeroed_low", "zeroed_high")) for row in rows]


def test_clustered_shares(bin):
    """Reference: NumPy.  One key; keys of equal shares; none and all; keys of different sizes; keys that
    differ more than their triggers could, and less."""
    random = np.random.default_rng(1)
    layers = [[(2, 5)], [(0, 5)], [(5, 5)], [(1, 4), (1, 4), (1, 4)], [(0, 50)] * 10, [(50, 50)] * 10,
              [(0, 50), (50, 50)],
              [(50, 50)] + [(0, 50)] * 9, [(5, 10), (6, 10)], [(1, 1), (0, 7), (3, 4), (0, 1)],
              *([(int(random.integers(whole + 1)), whole) for whole in random.integers(1, 20, count).tolist()]
                for count in (3, 4, 31, 100)),
              [(int(random.binomial(20, 0.3)), 20) for _ in range(40)], [(i % 2, 1) for i in range(301)]]
    for keys, (share, *limits) in zip(layers, of_zeroed(bin, layers), strict=True):
        parts, wholes = zip(*keys)
        assert share == pytest.approx(sum(parts) / sum(wholes), rel=1e-8)
        assert limits == pytest.approx(intervals.clustered(parts, wholes, sum(wholes)), rel=1e-6,
                                       abs=1e-12), keys
        assert limits[0] <= share <= limits[1]


def test_triggers_of_a_key_are_not_independent(bin):
    """Ten keys of 50 triggers that are all alike say as much as ten observations, not as 500; where triggers
    are independent, about as much as 500."""
    (_, *alike), (_, *independent) = of_zeroed(bin, [[(50, 50)] * 3 + [(0, 50)] * 7,
                                                     [(15, 50), (14, 50), (16, 50)] * 4])
    ten, many = intervals.wilson(0.3, 10), intervals.wilson(0.3, 600)
    assert alike[1] - alike[0] >= ten[1] - ten[0]
    assert independent[1] - independent[0] < 1.3 * (many[1] - many[0])


def test_the_interval_holds_the_truth_in_95_of_100_samples(bin):
    """400 samples of 20 keys with 10 triggers each, whose keys' own shares are spread around 0.3 (a beta
    distribution): the interval that knows of keys holds 0.3 nearly as often as it says, one of independent
    triggers does not."""
    random = np.random.default_rng(5)
    layers = [[(int(random.binomial(10, p)), 10) for p in random.beta(0.6, 1.4, 20)] for _ in range(400)]
    found = of_zeroed(bin, layers)
    held = np.mean([low <= 0.3 <= high for _, low, high in found])
    naive = np.mean([low <= 0.3 <= high
                     for low, high in (intervals.wilson(share, 200) for share, _, _ in found)])
    assert 0.92 <= held <= 0.985 and naive < 0.8


def test_agreement_of_two_readers(bin, tmp_path):
    """By hand: of three keys of 4 triggers two readers class 4, 2 and 0 alike; kappa's interval is that of
    what was observed, with what was expected."""
    path = tmp_path / "a.csv"
    rows = [("A", 0, "shallow", "1 2 3 4"), ("B", 0, "shallow", "1 2 3 4"), ("A", 1, "shallow", "1 2 3 4"),
            ("B", 1, "shallow", "1 2 3"), ("A", 2, "shallow", "1 2 3 4"), ("B", 2, "semantic", "1 2 3 4")]
    path.write_text("reader,model,layer,cell,triggers,pattern,kind,description,shows\n" + "".join(
        f"{reader},m,1,{cell},4,1,{kind},x,{shows}\n" for reader, cell, kind, shows in rows))
    ok(bin, "pattern-stats", "--kappa", tmp_path / "kappa.csv", path)
    (row,) = table(tmp_path / "kappa.csv")
    low, high = intervals.clustered([4, 3, 0], [4, 4, 4], 12)
    expected = 7 / 12  # A: all shallow; B: shallow 7, semantic 4, none 1
    assert float(row["expected"]) == pytest.approx(expected)
    assert [float(row[f"observed_{end}"]) for end in ENDS] == pytest.approx([low, high], rel=1e-8)
    assert [float(row[f"kappa_{end}"]) for end in ENDS] \
        == pytest.approx([(end - expected) / (1 - expected) for end in (low, high)], rel=1e-7)


def test_shares_of_patterns(bin, tmp_path):
    """By hand: two keys of 4 and 6 triggers, of two readers the means."""
    path = tmp_path / "a.csv"
    rows = [("A", 0, 4, "1 2 3 4"), ("B", 0, 4, "1 2 3"), ("A", 1, 6, "1 2 3")]
    path.write_text("reader,model,layer,cell,triggers,pattern,kind,description,shows\n" + "".join(
        f"{reader},m,1,{cell},{count},1,shallow,x,{shows}\n" for reader, cell, count, shows in rows))
    (row,) = table(ok(bin, "pattern-stats", path))
    for name, parts in ("shallow", [3.5, 3]), ("covered", [3.5, 3]), ("none", [0.5, 3]), ("both", [0, 0]):
        assert [float(row[f"{name}_{end}"]) for end in ENDS] \
            == pytest.approx(intervals.clustered(parts, [4, 6], 10), rel=1e-7, abs=1e-12)
