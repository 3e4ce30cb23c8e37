"""intervention-stats: its tables against the NumPy oracle and by hand, merges of shards, streams that
must not be compared, and hostile ones."""

import json
import os
import subprocess

import numpy as np
import pytest

import intervals
import oracle
import random_model
import streams
from conftest import ROOT
from helpers import environment, fails, ok, random_sentences, rows_of, table, text

EDIT = ["--edit", "1:*=*0.25,3:4-30=+0.5"]
NAMED = (7, 50, 99)  # tokens of each of the small model's clusters
SIDES = "plain", "edited"


def tokens_of(bin, model, *options, count=25):
    lines = text(random_sentences(count, 100, seed=5, longest=9))
    return ok(bin, "tokenize", "-m", model, "--batch", 40, *options, stdin=lines)


class Streams:
    """The two streams of one text, as bytes and as files."""

    def __init__(self, bin, model, place, tokens, *options, edit=EDIT):
        self.paths = {side: place / side for side in SIDES}
        for side in SIDES:
            self.paths[side].write_bytes(ok(bin, "forward-dump", "-m", model, "--emit", "resid,ffn", *options,
                                            *(edit if side == "edited" else []), stdin=tokens))
        self.edited, self.plain = self.paths["edited"], self.paths["plain"]


def tables(bin, model, place, pair, *options):
    """{name: bytes}"""
    names = "tokens", "sentences"
    total = ok(bin, "intervention-stats", "-m", model, "--edited", pair.edited, *options,
               *sum((["--" + name, place / name] for name in names), []), pair.plain)
    return {"total": total, **{name: (place / name).read_bytes() for name in names}}


def compared(model, pair, all_tokens=False):
    """What the oracle makes of the two streams: arrays by prefix."""
    exact = oracle.load_model(model, all_tokens=all_tokens)
    rows = {side: rows_of(streams.read(path)) for side, path in pair.paths.items()}
    plain = rows["plain"]
    log_p = {side: oracle.log_probs(exact, oracle.apply_norm(
        exact, rows[side]["resid"][-1].astype(float) + rows[side]["ffn"][-1])) for side in SIDES}
    prefixes = np.arange(len(plain["next"]))
    tokens = [plain["next"], *(np.full(len(prefixes), token) for token in NAMED)]
    return {
        "sentence": plain["sentence"], "position": plain["position"], "next": plain["next"],
        "top": {side: oracle.best(exact, log_p[side]) for side in SIDES},
        "kl": (np.exp(log_p["plain"]) * (log_p["plain"] - log_p["edited"])).sum(axis=1),
        "log_p": {side: np.stack([log_p[side][prefixes, token] for token in tokens]) for side in SIDES},
        "rank": {side: np.array([[oracle.rank(log_p[side][i], token[i], exact.candidates) for i in prefixes]
                                 for token in tokens]) for side in SIDES},
        "tokens": np.stack(tokens)}


def word(token):
    return f"w{token}"


def expected(found):
    """Rows of the three tables."""
    sentence, changed = found["sentence"], found["top"]["plain"] != found["top"]["edited"]
    numbers = np.unique(sentence)
    wholes = np.array([(sentence == s).sum() for s in numbers])

    def sums(values):
        return np.array([values[sentence == s].sum() for s in numbers])

    p = {side: np.exp(found["log_p"][side]) for side in SIDES}
    log_change = found["log_p"]["edited"] - found["log_p"]["plain"]
    count = len(sentence)
    total = [{
        "prefixes": count, "sentences": len(numbers), "changed": changed.mean(), "kl": found["kl"].mean(),
        **{f"kl_p{q}": np.percentile(found["kl"], q)
           for q in (25, 50, 75)}, **intervals.named({
            "changed": intervals.clustered(sums(changed), wholes, count),
            "kl": intervals.mean(sums(found["kl"]), wholes)})}]
    by_token, by_sentence = [], []
    for t, token in enumerate((None, *NAMED)):
        name = {"token": "" if token is None else word(token), "id": "" if token is None else token}
        is_top = {side: found["top"][side] == found["tokens"][t] for side in SIDES}
        change = p["edited"][t] - p["plain"][t]
        by_token.append({
            **name, "prefixes": count, "probability": p["plain"][t].mean(),
            "edited_probability": p["edited"][t].mean(), "change": change.mean(),
            "log_change": log_change[t].mean(), "top": is_top["plain"].mean(),
            "edited_top": is_top["edited"].mean(), "rank_p50": np.median(found["rank"]["plain"][t]),
            "edited_rank_p50": np.median(found["rank"]["edited"][t]), **intervals.named({
                "change": intervals.mean(sums(change), wholes),
                "log_change": intervals.mean(sums(log_change[t]), wholes),
                "top": intervals.clustered(sums(is_top["plain"]), wholes, count),
                "edited_top": intervals.clustered(sums(is_top["edited"]), wholes, count)})})
        for number in numbers:
            here = sentence == number
            by_sentence.append((number, t, {
                "sentence": int(number), "prefixes": int(here.sum()), "changed": int(changed[here].sum()),
                "kl": found["kl"][here].mean(), **name, "probability": p["plain"][t, here].mean(),
                "edited_probability": p["edited"][t, here].mean(), "log_change": log_change[t, here].mean(),
                "rank": found["rank"]["plain"][t, here].mean(),
                "edited_rank": found["rank"]["edited"][t, here].mean()}))
    return {"total": total, "tokens": by_token,
            "sentences": [row for _, _, row in sorted(by_sentence, key=lambda row: row[:2])]}


def check(found, wanted):
    for name, rows in wanted.items():
        assert_near(found[name], rows, low=("kl_p25", "kl_p50", "kl_p75"))


def assert_near(source, rows, low):
    """assert_table, for differences of logarithms, which 32-bit floats know to within 1e-5."""
    found = table(source)
    assert len(found) == len(rows)
    for row, wanted in zip(found, rows):
        assert list(row) == list(wanted)
        for name, value in wanted.items():
            if isinstance(value, (str, int)) or np.isnan(value):
                assert row[name] == ("" if value != value else str(value)), (name, row)
            else:
                below = abs(value) * (1e-4 + (name in low) / 1024) + 1e-5
                above = abs(value) * 1e-4 + 1e-5
                assert value - below <= float(row[name]) <= value + above, (name, row, value)


IDS = ["--ids", ",".join(map(str, NAMED))]


@pytest.mark.parametrize("options", [[], ["--positions", "random"], ["--with-bos"], ["--layers", "3"]],
                         ids=lambda options: "".join(options) or "all")
@pytest.mark.parametrize("chosen", ["small_model", "normed_model"])
def test_tables_are_the_oracles(bin, request, chosen, options, tmp_path):
    """Oracle: NumPy in float64, of the two streams' last outputs; some sentences have one token."""
    model = request.getfixturevalue(chosen)
    pair = Streams(bin, model, tmp_path, tokens_of(bin, model), *options)
    found = compared(model, pair)
    assert 0.1 < (found["top"]["plain"] != found["top"]["edited"]).mean() < 1 and found["kl"].mean() > 0.01
    check(tables(bin, model, tmp_path, pair, *IDS), expected(found))


def test_all_tokens(bin, small_model, tmp_path):
    """Oracle: NumPy; special symbols are ranked, too, and are the most probable ones at some prefixes."""
    pair = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model, count=60))
    rankings = [compared(small_model, pair, all_tokens) for all_tokens in (False, True)]
    assert any(not np.array_equal(rankings[0]["top"][side], rankings[1]["top"][side]) for side in SIDES)
    check(tables(bin, small_model, tmp_path, pair, *IDS, "--all-tokens"), expected(rankings[1]))
    check(tables(bin, small_model, tmp_path, pair, *IDS), expected(rankings[0]))


def test_divergence_is_that_of_edited_models(bin, small_model, tmp_path):
    """Oracle: NumPy computes the whole model with and without the edit, and shares no stream."""
    pair = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model),
                   edit=["--edit", "2:*=0", "--edit-at", "last"])
    exact = oracle.load_model(small_model)

    def removed(layer, coef):
        return coef if layer != 1 else np.concatenate([coef[:-1], 0 * coef[-1:]])

    divergences = {}
    for number, sentence in enumerate(random_sentences(25, 100, seed=5, longest=9)):
        finals = [oracle.forward(exact, sentence, edit).final for edit in (None, removed)]
        log_p, log_q = (oracle.log_probs(exact, final) for final in finals)
        if len(sentence) > 1:
            divergences[number] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)[1:].mean()
    found = {int(row["sentence"]): float(row["kl"])
             for row in table(tables(bin, small_model, tmp_path, pair)["sentences"])}
    assert found == pytest.approx(divergences, rel=1e-3, abs=1e-5) and max(divergences.values()) > 0.01


def test_named_by_text(bin, small_model, tmp_path):
    """--token and --ids name the same tokens, and come in this order."""
    pair = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model))
    by_number = tables(bin, small_model, tmp_path, pair, *IDS)
    by_text = tables(bin, small_model, tmp_path, pair, "--token", "w7", "--token", "w50", "--ids", "99")
    assert by_text == by_number
    fails(bin, "intervention-stats", "-m", small_model, "--edited", pair.edited, "--token", "none",
          "--tokens", tmp_path / "x", pair.plain, status=2,
          says="--token 'none' is not one token of the model")


def test_an_edit_that_changes_nothing(bin, small_model, tmp_path):
    """By hand: the two models are one, so nothing is changed, and nothing diverges."""
    pair = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model), edit=["--edit", "1:*=*1"])
    found = {name: table(data) for name, data in tables(bin, small_model, tmp_path, pair, *IDS).items()}
    for row in found["total"]:
        assert {row[name]
                for name in ("changed", "kl", "kl_p25", "kl_p50", "kl_p75", "kl_low", "kl_high")} == {"0"}
    for row in found["tokens"]:
        assert row["change"] == row["log_change"] == row["change_high"] == "0"
        assert row["probability"] == row["edited_probability"] and row["rank_p50"] == row["edited_rank_p50"]


def test_by_hand(bin, tmp_path):
    """Expected by hand, for a plain softmax over unit vectors of a, b, c and d and of -a and -b."""
    from test_composition import make_hand_model
    model = make_hand_model(tmp_path / "hand", layers=1)
    both = Streams(bin, model, tmp_path, ok(bin, "tokenize", "-m", model, stdin=b"w4 w5 w4\nw5 w4\n"),
                   edit=["--edit", "1:0=0"])
    ln2 = float(np.log(2))
    a, b = (np.eye(4)[i] * ln2 for i in range(2))
    outputs = {  # of sentence 0 at positions 1 and 2, of sentence 1 at position 1
        "plain": [3 * a, 2 * b, a], "edited": [2 * b, 2 * b, a + b]}
    for side in SIDES:
        real = streams.read(both.paths[side])
        output = np.array(outputs[side], np.float32)
        both.paths[side].write_bytes(
            streams.write(real.header, [
                {"id": 0, "len": [3, 2], "tok": [4, 5, 4, 5, 4], "row_sentence": [0, 0, 1],
                 "row_position": [1, 2, 1]},
                {"layer": 0, "resid": output, "ffn": 0 * output}]))
    place = tmp_path / "out"
    place.mkdir()
    found = {
        name: table(data)
        for name, data in tables(bin, model, place, both, "--ids", 1, "--all-tokens").items()}
    # Weights of the words: 3a: 8 1 1 1 1/8 1; 2b: 1 4 1 1 1 1/4; a: 2 1 1 1 1/2 1; a + b: 2 2 1 1 1/2 1/2
    p, q = np.array([8, 1, 1, 1, 1 / 8, 1]) / 12.125, np.array([1, 4, 1, 1, 1, 1 / 4]) / 8.25
    r, s = np.array([2, 1, 1, 1, 1 / 2, 1]) / 6.5, np.array([2, 2, 1, 1, 1 / 2, 1 / 2]) / 7
    kl = [(p * np.log(p / q)).sum(), 0, (r * np.log(r / s)).sum()]
    total = found["total"][0]
    assert (total["prefixes"], total["sentences"]) == ("3", "2")
    assert float(total["changed"]) == pytest.approx(1 / 3)  # 0 to 1; 1; 0, of equal ones the lower
    assert float(total["kl"]) == pytest.approx(np.mean(kl), rel=1e-5)
    nexts, one = found["tokens"]
    # next tokens 5, 4 and 4; token 1
    assert float(nexts["probability"]) == pytest.approx((p[5] + q[4] + r[4]) / 3, rel=1e-5)
    assert float(nexts["edited_probability"]) == pytest.approx((q[5] + q[4] + s[4]) / 3, rel=1e-5)
    assert float(one["change"]) == pytest.approx((q[1] - p[1] + s[1] - r[1]) / 3, rel=1e-5)
    assert float(one["log_change"]) == pytest.approx(np.log([q[1] / p[1], 1, s[1] / r[1]]).mean(), rel=1e-5)
    assert [one[name] for name in ("token", "id", "rank_p50", "edited_rank_p50")] == ["<pad>", "1", "2", "1"]
    assert [float(one[name]) for name in ("top", "edited_top")] == pytest.approx([1 / 3, 2 / 3])
    rows = [(row["sentence"], row["prefixes"], row["changed"], row["id"]) for row in found["sentences"]]
    assert rows == [("0", "2", "1", ""), ("0", "2", "1", "1"), ("1", "1", "0", ""), ("1", "1", "0", "1")]
    assert float(found["sentences"][1]["rank"]) == 1.5 and float(found["sentences"][1]["edited_rank"]) == 1


# ---------------------------------------------------------------- shards and threads

def test_merges_and_threads_give_the_same_bytes(bin, small_model, tmp_path):
    """Tables and sums: one run, several threads, shards in any order."""
    def summed(pair, *options):
        return ok(bin, "intervention-stats", "-m", small_model, "--sums", "--edited", pair.edited, *IDS,
                  *options, pair.plain)

    whole = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model, count=60))
    paths = []
    for i in range(3):
        place = tmp_path / f"shard-{i}"
        place.mkdir()
        pair = Streams(bin, small_model, place, tokens_of(bin, small_model, "--shard", f"{i}/3", count=60))
        paths.append(place / "sums")
        paths[-1].write_bytes(summed(pair))
    sums, direct = summed(whole, "--threads", 1), tables(bin, small_model, tmp_path, whole, *IDS)
    assert summed(whole, "--threads", 4) == sums
    for order in [0, 1, 2], [2, 0, 1]:
        merged = [paths[i] for i in order]
        assert ok(bin, "intervention-stats", "--merge", "--sums", *merged) == sums
        total = ok(bin, "intervention-stats", "--merge", "--tokens", tmp_path / "t", "--sentences",
                   tmp_path / "s", *merged)
        assert {"total": total, "tokens": (tmp_path / "t").read_bytes(),
                "sentences": (tmp_path / "s").read_bytes()} == direct
    fails(bin, "intervention-stats", "--merge", *paths[:2], says="shard 2/3 is missing")


def test_sums_of_other_edits_are_not_merged(bin, small_model, tmp_path):
    paths = []
    for i, edit in enumerate(["1:4=0", "1:5=0"]):
        pair = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model, "--shard", f"{i}/2"),
                       edit=["--edit", edit])
        paths.append(tmp_path / f"sums-{i}")
        paths[-1].write_bytes(
            ok(bin, "intervention-stats", "-m", small_model, "--sums", "--edited", pair.edited, pair.plain))
    assert streams.read(paths[0]).header["edits"] == {"at": "all", "list": [[0, 4, 5, "0"]]}
    fails(bin, "intervention-stats", "--merge", *paths, says="made with another model, corpus or options")


def test_pipes(bin, small_model, tmp_path):
    """One of the two may be standard input."""
    pair = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model))
    named = ok(bin, "intervention-stats", "-m", small_model, "--edited", pair.edited, pair.plain)
    assert named == ok(bin, "intervention-stats", "-m", small_model, "--edited", pair.edited,
                       stdin=pair.plain.read_bytes())
    assert named == ok(bin, "intervention-stats", "-m", small_model, "--edited", "-", pair.plain,
                       stdin=pair.edited.read_bytes())
    for plain in [], ["-"]:
        fails(bin, "intervention-stats", "-m", small_model, "--edited", "-", *plain, status=2,
              says="standard input cannot be both")


# ---------------------------------------------------------------- refusals

def test_streams_that_must_not_be_compared(bin, small_model, normed_model, tmp_path):
    tokens = tokens_of(bin, small_model)
    pair = Streams(bin, small_model, tmp_path, tokens)

    def refused(edited, plain, says):
        fails(bin, "intervention-stats", "-m", small_model, "--edited", edited, plain, "-o", tmp_path / "out",
              says=says)
        assert not (tmp_path / "out").exists()

    def dumped(name, *options, model=small_model, tokens=tokens):
        path = tmp_path / name
        path.write_bytes(ok(bin, "forward-dump", "-m", model, *options, stdin=tokens))
        return path

    refused(pair.plain, pair.plain, "it was made without edits")
    refused(pair.edited, pair.edited, "it was made with edits, and is to be the plain model's")
    refused(pair.plain, pair.edited, "it was made")
    other = "made with another model, corpus or options than the plain model's"
    refused(dumped("random", "--emit", "resid,ffn", "--positions", "random", *EDIT), pair.plain, other)
    refused(dumped("bos", "--emit", "resid,ffn", "--with-bos", *EDIT), pair.plain, other)
    refused(dumped("other", "--emit", "resid,ffn", *EDIT, model=normed_model), pair.plain,
            "made with another model")
    shard = tokens_of(bin, small_model, "--shard", "0/2")
    refused(dumped("shard", "--emit", "resid,ffn", *EDIT, tokens=shard), pair.plain,
            "is not that of the plain model's")
    first = tokens_of(bin, small_model, "--to", 5)
    refused(dumped("first", "--emit", "resid,ffn", *EDIT, tokens=first), pair.plain, "it has fewer batches")
    refused(pair.edited, dumped("fewer", "--emit", "resid,ffn", tokens=first), "it has more batches")
    same = ["--emit", "resid,ffn", "--layers", "1-2"]
    refused(dumped("low", *same, "--edit", "1:1=0"), dumped("low plain", *same), "it lacks the last layer")
    refused(dumped("no ffn", "--emit", "resid", *EDIT), dumped("no ffn plain", "--emit", "resid"),
            "lacks resid or ffn")
    refused(dumped("maxima", *EDIT), dumped("plain maxima"), "lacks resid or ffn")


def test_wrong_use(bin, small_model, tmp_path):
    pair = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model))
    usual = ["-m", small_model, "--edited", pair.edited]
    for options, says in [
        (["-m", small_model, pair.plain], "--edited FILE is needed"),
        (["--edited", pair.edited], "--model DIR is needed"),
        ([*usual, "--token", "w5", pair.plain], "--token and --ids are for the tables"),
        ([*usual, "--ids", "100", "--tokens", tmp_path / "x", pair.plain], "--ids takes a list"),
        ([*usual, "--sums", "--sentences", tmp_path / "x", pair.plain], "--sums writes no tables"),
        (["--merge", "--edited", pair.edited, pair.plain], "--merge keeps"),
        (["--merge", "--ids", "5", pair.plain], "--merge keeps")]:
        fails(bin, "intervention-stats", *options, status=2, says=says)


def test_hostile_sums(bin, small_model, tmp_path):
    """What contradicts itself in a stream of sums is refused."""
    pair = Streams(bin, small_model, tmp_path, tokens_of(bin, small_model))
    good = streams.read(
        ok(bin, "intervention-stats", "-m", small_model, "--sums", *IDS, "--edited", pair.edited, pair.plain))

    def merged(header=None, of_list=None, of_layer=None, of_all=None):
        *lists, layer, last = ({name: value for name, value in record.items()} for record in good.records)
        for name, value in (of_list or {}).items():
            lists[0][name] = np.array(lists[0][name])
            lists[0][name].reshape(-1)[0] = value
        layer.update(of_layer or {})
        last.update(of_all or {})
        return streams.write({**good.header, **(header or {})}, [*lists, layer, last],
                             {name: good.trailer[name] for name in streams.COUNTS + streams.COVERAGE})

    ok(bin, "intervention-stats", "--merge", "-", stdin=merged())
    prefixes = good.records[-2]["prefixes"]
    for lie, says in [
        ({"of_list": {"kl": -1}}, "out of range"), ({"of_list": {"kl": np.inf}}, "out of range"),
        ({"of_list": {"logp": 1}}, "out of range"), ({"of_list": {"edited_logp": np.nan}}, "out of range"),
        ({"of_list": {"rank": 0}}, "out of range"), ({"of_list": {"edited_rank": 101}}, "out of range"),
        ({"of_list": {"top": 100}}, "out of range"), ({"of_list": {"next": 100}}, "out of range"),
        ({"of_list": {"sentence": 1 << 40}}, "out of order"), ({"of_list": {"position": 65535}}, "out of"),
        ({"of_layer": {"prefixes": prefixes + 1}}, "its sums say"),
        ({"of_all": {"changed": prefixes + 1}}, "'changed'"),
        ({"header": {"named_tokens": 5}}, "no list of named_tokens"),
        ({"header": {"named_tokens": [[7]]}}, "not each"),
        ({"header": {"named_tokens": [[100, "x"]]}}, "not each"),
        ({"header": {"named_tokens": [[-1, "x"]]}}, "not each"),
        ({"header": {"named_tokens": [[7, 8]]}}, "not each"), ({"header": {"named_tokens": []}}, "elements")]:
        fails(bin, "intervention-stats", "--merge", "-", stdin=merged(**lie), says=says)


# ---------------------------------------------------------------- pipelines/ablation.sh

def ablated(bin, model, out, *options):
    """The script's table, of 40 sentences."""
    path = out / "text"
    path.write_bytes(text(random_sentences(40, 100, seed=5, longest=9)))
    done = subprocess.run([ROOT / "pipelines" / "ablation.sh", model, path, out, *options],
                          capture_output=True, text=True, check=False,
                          env=environment({"PATH": f"{bin}:{os.environ['PATH']}"}))
    assert done.returncode == 0, done.stderr
    assert sorted(entry.name for entry in out.iterdir()) == ["ablation.csv", "text", "values.msgpack"]
    assert done.stdout.startswith(f"{out}/ablation.csv:\nlayer,kind,removed,prefixes,sentences,changed,kl\n")
    return table(out / "ablation.csv")


@pytest.mark.release_only
def test_ablation_of_every_position(bin, small_model, tmp_path):
    """Oracle: NumPy computes the whole model with and without a layer's greatest contributions."""
    found = ablated(bin, small_model, tmp_path, "--all", "--removed", "1,9")
    kinds = [(str(layer), kind, count) for layer in (1, 2, 3) for kind in ("top", "agreeing", "random")
             for count in ("1", "9")]
    assert [(row["layer"], row["kind"], row["removed"]) for row in found] == kinds
    exact = oracle.load_model(small_model)
    sentences = random_sentences(40, 100, seed=5, longest=9)
    plain = [oracle.tops(exact, oracle.forward(exact, sentence).out[-1])[1:] for sentence in sentences]
    for layer in range(3):
        norms = np.sqrt((oracle.value_vectors(exact, layer) ** 2).sum(axis=1))

        def remove(of_layer, coef):
            if of_layer == layer:
                coef = coef.copy()
                best = np.argsort(-np.abs(coef) * norms, axis=1, kind="stable")[:, :9]
                np.put_along_axis(coef, best, 0, axis=1)
            return coef

        outputs = [oracle.forward(exact, sentence, remove).out[-1] for sentence in sentences]
        edited = [oracle.tops(exact, output)[1:] for output in outputs]
        changed, wholes = [(a != b).sum() for a, b in zip(plain, edited)], [len(a) for a in plain]
        (row,) = (row for row in found
                   if (row["layer"], row["kind"], row["removed"]) == (str(layer + 1), "top", "9"))
        assert int(row["prefixes"]) == sum(wholes) and sum(changed) > 10
        assert float(row["changed"]) == pytest.approx(sum(changed) / sum(wholes), rel=1e-6)
        low, high = intervals.clustered(*zip(*((c, n) for c, n in zip(changed, wholes) if n)), sum(wholes))
        assert (float(row["changed_low"]), float(row["changed_high"])) == pytest.approx((low, high), rel=1e-4)
    shares = {(row["layer"], row["kind"], row["removed"]): float(row["kl"]) for row in found}
    assert all(shares[layer, "top", "9"] > shares[layer, "random", "1"] for layer in "123")


@pytest.mark.release_only
def test_ablation_of_a_sample(bin, small_model, tmp_path):
    """The same tools by hand: memories are removed at the random position only."""
    found = ablated(bin, small_model, tmp_path, "--prefixes", "20", "--removed", "3")
    tokens = ok(bin, "tokenize", "-m", small_model, "--sample", 20, tmp_path / "text")
    usual = ["-m", small_model, "--emit", "resid,ffn", "--layers", "3", "--positions", "random"]
    (tmp_path / "plain").write_bytes(ok(bin, "forward-dump", *usual, stdin=tokens))
    values = ["--values", tmp_path / "values.msgpack"]
    for layer, kind, more in (2, "top", []), (1, "random", []), (3, "agreeing", values):
        edited = ok(bin, "forward-dump", *usual, "--remove", f"{layer}:{kind}=3", "--edit-at", "last", *more,
                    stdin=tokens)
        (direct,) = table(
            ok(bin, "intervention-stats", "-m", small_model, "--edited", "-", tmp_path / "plain",
               stdin=edited))
        (row,) = (row for row in found if (row["layer"], row["kind"]) == (str(layer), kind))
        assert row == {"layer": str(layer), "kind": kind, "removed": "3", **direct}


@pytest.mark.release_only
def test_ablation_of_every_second_layer_has_the_rows_of_all(bin, small_model, tmp_path):
    """The last layer is among them, whatever the depth."""
    options = ["--prefixes", "10", "--removed", "2"]
    rows = ablated(bin, small_model, tmp_path, *options)
    for every, layers in ("2", "13"), ("3", "3"), ("7", "3"):
        assert ablated(bin, small_model, tmp_path, *options, "--every", every) \
            == [row for row in rows if row["layer"] in layers]


@pytest.mark.release_only
def test_ablation_where_coefficients_are_negative(bin, tmp_path):
    """GELU, some of whose memories agree by their least probable token: the script asks for these itself."""
    model = tmp_path / "gelu"
    config = random_model.write_model(model, layers=2, d_model=16, d_ff=12, heads=2, vocabulary=100,
                                      cutoffs=(20, 40))
    (model / "config.json").write_text(json.dumps({**config, "activation_function": "gelu"}))
    (tmp_path / "out").mkdir()
    rows = ablated(bin, model, tmp_path / "out", "--prefixes", "30", "--removed", "2")
    assert len(rows) == 6 and all(row["prefixes"] == rows[0]["prefixes"] for row in rows)
    values = streams.read(tmp_path / "out" / "values.msgpack").records
    assert all(len(value["bottom"]) == 1 for value in values)
