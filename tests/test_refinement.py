"""refinement-stats: its tables against PyTorch, against the NumPy oracle, against tables
worked out by hand, and against what forward-dump says of the same positions."""

import numpy as np
import pytest

import intervals
import oracle
import section5
import streams
from helpers import assert_table, ok, pipeline, random_sentences, rows_of, table, text

FILES = ("cases", "last-layer", "settled", "perplexity")
PROBABILITIES = ("p25", "p50", "p75")


def dumped(bin, model, *options, sentences=None, vocabulary=41):
    """Activations of random sentences, some of one token."""
    sentences = sentences or random_sentences(25, vocabulary, seed=5, longest=9)
    return pipeline(bin, ["tokenize", "-m", model, "--batch", 40],
                    ["forward-dump", "-m", model, "--emit", "resid,ffn,prediction", *options],
                    stdin=text(sentences))


def statistics(bin, model, directory, data, *options):
    """{name: bytes} of all tables; the one on standard output is refinement."""
    named = sum((["--" + name, directory / name] for name in FILES), [])
    refined = ok(bin, "refinement-stats", "-m", model, *named, *options, stdin=data)
    return {"refinement": refined, **{name: (directory / name).read_bytes() for name in FILES}}


def expected(model, data, norm="none"):
    """What the oracle makes of the stream: {name: rows} of all tables."""
    stream, exact = streams.read(data), oracle.load_model(model)
    rows = rows_of(stream)
    found = oracle.refinement(exact, rows["resid"], rows["ffn"], rows["next"], norm)
    refined, cases, settled = oracle.refinement_rows(found)
    words = {i: word for word, i in oracle.load_dictionary(model).items()}
    changes = []
    for i in np.flatnonzero(found.residual[-1] != found.final):
        old, new = found.residual[-1, i], found.final[i]
        a, b = (oracle.output_embedding(exact, token) for token in (old, new))
        changes.append({"sentence": int(rows["sentence"][i]), "position": int(rows["position"][i]),
                        "prefix": " ".join(words[token] for token in rows["prefix"][i]),
                        "old": words[old], "new": words[new], "p_old": found.p_old[i],
                        "p_new": found.p_new[i], "cosine": a @ b / np.sqrt((a @ a) * (b @ b))})
    perplexity = [intervals.of_all({
        "prefixes": len(rows["next"]), "perplexity": np.exp(-oracle.nan_mean(found.next_logp)),
        "next_is_top": oracle.nan_mean(found.final == rows["next"])}, len(rows["next"]), "next_is_top")]
    return {"refinement": refined, "cases": cases, "settled": settled, "last-layer": changes,
            "perplexity": perplexity}


def check(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert_table(found[name], wanted[name], tolerance=1e-4, low=PROBABILITIES * (name == "refinement"))


# ----------------------------------------------------------- against PyTorch

@pytest.mark.release_only
def test_refinement_is_pytorchs(bin, model, valid, tmp_path):
    """Reference: PyTorch's predictions of r^l, y^l and o^l at 1,000 positions, and what r^l
    gives to the final token.  A float's last bits may decide between two nearly equal tokens:
    of 48,000 predictions two may be others."""
    reference = section5.reference()
    sentence, position = reference["sentence"][0], reference["position"][0]
    data = section5.activations(bin, model, valid, sentence, position)
    found = {name: table(rows) for name, rows in statistics(bin, model, tmp_path, data).items()}
    final = reference["final"][0]
    assert np.array_equal(final, reference["top_output"][-1])
    wanted = oracle.Refinement(reference["top_residual"], reference["top_ffn"], reference["top_output"],
                               reference["p_residual_final"], np.ones((16, 1000)), final, None, None, None)
    refined, cases, settled = oracle.refinement_rows(wanted)
    near = 2.1 / 1000
    for row, expected_row in zip(found["refinement"], refined, strict=True):
        for name in "layer", "prefixes":
            assert int(row[name]) == expected_row[name]
        assert float(row["residual_is_final"]) == pytest.approx(expected_row["residual_is_final"], abs=near)
        assert float(row["probability"]) == pytest.approx(expected_row["probability"], rel=1e-4)
        for name in PROBABILITIES:
            assert expected_row[name] * (1 - 1 / 1024 - 1e-4) <= float(row[name]) \
                <= expected_row[name] * (1 + 1e-4)
        assert float(row["rank_p50"]) >= 1
    for name, rows in ("cases", cases), ("settled", settled):
        for row, expected_row in zip(found[name], rows, strict=True):
            for column, value in expected_row.items():
                allowed = near * (1000 if column == "prefixes" else column not in ("layer", "total"))
                assert float(row[column]) == pytest.approx(value, abs=allowed)
    words = {i: word for word, i in oracle.load_dictionary(model).items()}
    changed = [(str(sentence[i]), str(position[i]), words[reference["top_residual"][-1, i]], words[final[i]])
               for i in range(1000) if reference["top_residual"][-1, i] != final[i]]
    listed = [(row["sentence"], row["position"], row["old"], row["new"]) for row in found["last-layer"]]
    assert len(changed) > 50 and len(set(changed) ^ set(listed)) <= 2
    p_final = {(str(s), str(j)): p for s, j, p in zip(sentence, position, reference["p_residual_final"][-1])}
    assert all(p_final[row["sentence"], row["position"]] <= float(row["p_old"]) * 1.0001
               for row in found["last-layer"])


# -------------------------------------------------------- against the oracle

@pytest.mark.parametrize("options", [["--positions", "random"], ["--with-bos"], []],
                         ids=lambda options: "".join(options))
def test_tables_are_the_oracles(bin, random_model, tmp_path, options):
    """Oracle: NumPy in float64; several clusters, odd widths."""
    data = dumped(bin, random_model, *options)
    check(statistics(bin, random_model, tmp_path, data), expected(random_model, data))


@pytest.mark.parametrize("norm", ["none", "gain", "full"])
def test_norm_is_the_oracles(bin, normed_model, tmp_path, norm):
    """Oracle: NumPy in float64; residuals and outputs have the final norm with their own
    statistics, blocks' outputs what --norm says."""
    data = dumped(bin, normed_model, vocabulary=100)
    wanted = {how: expected(normed_model, data, how) for how in ("none", "gain", "full")}
    assert wanted["none"]["cases"] != wanted["gain"]["cases"] != wanted["full"]["cases"]
    check(statistics(bin, normed_model, tmp_path, data, *(["--norm", norm] if norm != "none" else [])),
          wanted[norm])


def test_sample_of_sentences(bin, small_model, tmp_path):
    """Oracle: NumPy; the sentences of a sample keep their numbers."""
    sentences = random_sentences(200, 100, seed=6, longest=9)
    data = pipeline(bin, ["tokenize", "-m", small_model, "--sample", 40, "--batch", 40],
                    ["forward-dump", "-m", small_model, "--emit", "resid,ffn", "--positions", "random"],
                    stdin=text(sentences))
    wanted = expected(small_model, data)
    check(statistics(bin, small_model, tmp_path, data), wanted)
    for row in wanted["last-layer"]:
        prefix = " ".join(f"w{token}" if token > 3 else "<unk>"
                          for token in sentences[row["sentence"]][:row["position"]])
        assert row["prefix"] == prefix
    assert max(row["sentence"] for row in wanted["last-layer"]) > 100


# -------------------------------------------------------------- worked by hand

def test_by_hand(bin, tmp_path):
    """Expected by hand, for a plain softmax over unit vectors: top(h) is h's largest place,
    and p(h) its softmax."""
    from test_composition import make_hand_model
    model = make_hand_model(tmp_path / "hand", layers=2)
    real = streams.read(pipeline(bin, ["tokenize", "-m", model],
                                 ["forward-dump", "-m", model, "--emit", "resid,ffn"], stdin=b"w4\n"))
    ln2 = float(np.log(2))
    a, b, c, d = (np.eye(4, dtype=float)[i] * ln2 for i in range(4))
    # words 0..3 are a..d, 4 and 5 the negatives of 0 and 1
    rows = [  # position, (r, y) of layer 1, (r, y) of layer 2
        # o1 = 2a: residual only; o2 = 3a + b: residual a, block b: residual.  Final 0, never changes.
        (1, (3 * a, b), (3 * a, b)),
        # o1 = c: agreement.  o2 = 4b: from c to block's b: ffn.  Final 1, not before the end.
        (2, (c, c), (c, 4 * b)),
        # r1 = a, y1 = 2b: ffn.  r2 = 3b + 2c, y2 = a + 2c: o2 = a + 3b + 4c: neither... its block's c: ffn.
        (3, (a, 2 * b), (3 * b + 2 * c, a + 2 * c)),
        # r1 = 2a + b, y1 = b: o1 = 2a + 2b: equal, the lower counts: residual.  r2 = 4d + 3c, y2 = 4a + 3c:
        # o2 = 4a + 4d + 6c: composition.  Final 2.
        (4, (2 * a + b, b), (4 * d + 3 * c, 4 * a + 3 * c)),
    ]
    position, one, two = zip(*rows)
    pairs = [[np.array(v, np.float32) for v in zip(*layer)] for layer in (one, two)]
    data = streams.write(real.header, [
        {"id": 0, "len": [5], "tok": [4, 5, 0, 2, 1], "row_sentence": [0] * 4, "row_position": position},
        *({"layer": i, "resid": r, "ffn": y} for i, (r, y) in enumerate(pairs))])
    found = {name: table(rows)
             for name, rows in statistics(bin, model, tmp_path, data, "--all-tokens").items()}

    def columns(name, *wanted):
        return [tuple(row[column] for column in wanted) for row in found[name]]

    assert columns("cases", "residual", "ffn", "agreement", "composition") == [
        ("0.5", "0.25", "0.25", "0"), ("0.25", "0.5", "0", "0.25")]
    # finals: 0, 1, 2, 2; r1 predicts 0, 2, 0, 0; r2 predicts 0, 2, 1, 3
    assert columns("refinement", "layer", "prefixes",
                   "residual_is_final") == [("1", "4", "0.25"), ("2", "4", "0.25")]
    # r1: 3a: exp 8 1 1 1 1/8 1, sum 12.125: 8/12.125, rank 1.  c: exp 1 1 2 1 1 1: 1 of 7; before it c, and
    # of the equal ones word 0: rank 3.  a: exp 2 1 1 1 .5 1: 1 of 6.5, rank 3.  2a + b: exp 4 2 1 1 .25 .5,
    # sum 8.75: 1 of it, rank 3.
    p = [8 / 12.125, 1 / 7, 1 / 6.5, 1 / 8.75]
    row = found["refinement"][0]
    assert float(row["probability"]) == pytest.approx(np.mean(p), rel=1e-5)
    for name, q in ("p25", 25), ("p50", 50), ("p75", 75):
        assert np.percentile(p, q) * 0.999 <= float(row[name]) <= np.percentile(p, q) * 1.00001
    assert row["rank_p50"] == "3"
    # r2: rank 1; 3; 3b + 2c: c is second; 4d + 3c: second: the median of 1, 2, 2, 3
    assert found["refinement"][1]["rank_p50"] == "2"
    assert columns("settled", "layer", "prefixes", "share", "cumulative") == [
        ("1", "1", "0.25", "0.25"), ("2", "0", "0", "0.25"), ("3", "3", "0.75", "1")]
    assert columns("last-layer", "sentence", "position", "prefix", "old", "new", "cosine") == [
        ("0", "2", "w4 w5", "</s>", "<pad>", "0"), ("0", "3", "w4 w5 <s>", "<pad>", "</s>", "0"),
        ("0", "4", "w4 w5 <s> </s>", "<unk>", "</s>", "0")]
    # p(r2) of old: c: 2 of 7; 3b + 2c: exp 1 8 4 1 1 1/8: 8 of 15.125; 4d + 3c: exp 1 1 8 16 1 1: 16 of 28
    assert [float(row["p_old"])
            for row in found["last-layer"]] == pytest.approx([2 / 7, 8 / 15.125, 16 / 28], rel=1e-5)
    # p(o2) of new: c + 4b: 16 of 1 + 16 + 2 + 1 + 1 + 1/16; a + 3b + 4c: exp 2 8 16 1 .5 1/8;
    # 4a + 4d + 6c: exp 16 1 64 16 1/16 1
    sums = [21.0625, 27.625, 98.0625]
    assert [float(row["p_new"]) for row in found["last-layer"]] \
        == pytest.approx([16 / sums[0], 16 / sums[1], 64 / sums[2]], rel=1e-5)
    # next tokens 5, 0, 2, 1.  3a + b: exp 8 2 1 1 1/8 1/2, sum 12.625: word 5 has 1/2 of it; then 1, 16 and 1
    logs = np.log([0.5 / 12.625, 1 / sums[0], 16 / sums[1], 1 / sums[2]])
    assert float(found["perplexity"][0]["perplexity"]) == pytest.approx(np.exp(-logs.mean()), rel=1e-5)
    assert found["perplexity"][0]["next_is_top"] == "0.25"


def test_no_prefix(bin, small_model, tmp_path):
    """Expected by the manual: sentences of one token have no prefix; nothing is defined."""
    for options in ["--positions", "random"], []:
        found = statistics(bin, small_model, tmp_path,
                           dumped(bin, small_model, *options, sentences=[[5], [6], [7]]))
        assert found["refinement"].splitlines()[1:] == [b"%d,0,,,,,,,," % i for i in range(1, 4)]
        assert found["cases"].splitlines()[1:] == [b"%d,0,,,,,,,,,,,," % i for i in range(1, 4)]
        assert found["settled"].splitlines()[1:] == [b"%d,0,,,0,,,," % i for i in range(1, 5)]
        assert found["perplexity"].splitlines()[1:] == [b"0,,,,"]
        assert len(found["last-layer"].splitlines()) == 1


# ---------------------------------------------------------------- identities

@pytest.fixture(params=["random", "normed", pytest.param("shipped", marks=pytest.mark.release_only)])
def any_dump(request, bin, tmp_path):
    """A model's directory and activations made with it, residuals, outputs and predictions."""
    if request.param == "shipped":
        lines = request.getfixturevalue("valid").read_bytes().splitlines(keepends=True)[:30]
        model = request.getfixturevalue("model")
        return model, pipeline(bin, ["tokenize", "-m", model],
                               ["forward-dump", "-m", model, "--emit", "resid,ffn,prediction",
                                "--positions", "random"],
                               stdin=b"".join(lines))
    model = request.getfixturevalue("small_model" if request.param == "random" else "normed_model")
    return model, dumped(bin, model, vocabulary=100)


def test_cases_sum_to_one(bin, any_dump, tmp_path):
    rows = table(statistics(bin, any_dump[0], tmp_path, any_dump[1])["cases"])
    names = "residual", "ffn", "agreement", "composition"
    assert len(rows) >= 3
    for row in rows:
        assert sum(float(row[name]) for name in names) == pytest.approx(1, abs=1e-8)
        counts = [float(row[name]) * int(row["prefixes"]) for name in names]
        assert counts == pytest.approx(np.round(counts), abs=1e-5)


def test_last_output_is_the_models_own_prediction(bin, any_dump, tmp_path):
    """Two ways to the same numbers: o^L as refinement-stats adds it up, and what forward-dump
    predicts at the same positions."""
    model, data = any_dump
    found = {name: table(rows) for name, rows in statistics(bin, model, tmp_path, data).items()}
    stream = streams.read(data)
    batches = [record for record in stream.records if "tok" in record]
    counts = np.concatenate([batch["row_position"] for batch in batches]) >= 1
    own = {name: np.concatenate([r[name] for r in stream.records if name in r])[counts]
           for name in ("top", "top_logp", "next_logp")}
    rows = rows_of(stream)
    assert float(found["perplexity"][0]["perplexity"]) == pytest.approx(
        np.exp(-own["next_logp"].astype(float).mean()), rel=1e-6)
    assert float(found["perplexity"][0]["next_is_top"]) \
        == pytest.approx((own["top"] == rows["next"]).mean(), rel=1e-8)
    places = {(s, j): i for i, (s, j) in enumerate(zip(rows["sentence"].tolist(), rows["position"].tolist()))}
    words = {i: word for word, i in oracle.load_dictionary(model).items()}
    assert found["last-layer"]
    for row in found["last-layer"]:
        i = places[int(row["sentence"]), int(row["position"])]
        assert row["new"] == words[own["top"][i]]
        assert float(row["p_new"]) == pytest.approx(np.exp(own["top_logp"][i]), rel=1e-5)


def test_last_layer_is_what_is_not_settled(bin, any_dump, tmp_path):
    """The last layer's changes are the prefixes settled by it only, and those where its residual
    is not final; none is left open at the end."""
    found = {name: table(rows) for name, rows in statistics(bin, any_dump[0], tmp_path, any_dump[1]).items()}
    prefixes = int(found["refinement"][0]["prefixes"])
    assert int(found["settled"][-1]["prefixes"]) == len(found["last-layer"])
    assert (1 - float(found["refinement"][-1]["residual_is_final"])) * prefixes \
        == pytest.approx(len(found["last-layer"]), abs=1e-5)
    assert float(found["settled"][-1]["cumulative"]) == 1
    assert sum(int(row["prefixes"]) for row in found["settled"]) == prefixes


def test_final_token_is_the_most_probable_one(bin, small_model, tmp_path):
    """If the last block adds nothing, r^L is o^L: its final token has rank 1 and the largest
    probability of all, and the last layer changes nothing."""
    stream = streams.read(dumped(bin, small_model, vocabulary=100))
    last = stream.header["model"]["layers"] - 1
    records = [dict(record, ffn=record["ffn"] * 0) if record.get("layer") == last else record
               for record in stream.records]
    data = streams.write(stream.header, records)
    found = {name: table(rows) for name, rows in statistics(bin, small_model, tmp_path, data).items()}
    row, rows = found["refinement"][-1], rows_of(streams.read(data))
    model = oracle.load_model(small_model)
    exact = oracle.log_probs(model, rows["resid"][-1])[:, model.candidates]
    assert (row["residual_is_final"], row["rank_p50"]) == ("1", "1")
    assert float(row["probability"]) == pytest.approx(np.exp(exact.max(axis=1)).mean(), rel=1e-5)
    assert not found["last-layer"]
    assert float(found["cases"][-1]["ffn"]) == float(found["cases"][-1]["composition"]) == 0
