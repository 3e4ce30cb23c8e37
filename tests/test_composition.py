"""composition-stats: its tables against PyTorch, against the NumPy oracle, against
tables worked out by hand, and its two ways to memories' tokens against each other."""

import csv
import gzip
import json

import numpy as np
import pytest

import fault_inputs
import intervals
import oracle
import random_model as random_models
import section5
import streams
from conftest import ROOT
from helpers import assert_table, fails, ok, pipeline, random_sentences, rows_of, sentences_of, table, text


def dumped(bin, model, *options, sentences=None, vocabulary=41):
    """Activations of random sentences, some of one token."""
    sentences = sentences or random_sentences(25, vocabulary, seed=4, longest=9)
    return pipeline(bin, ["tokenize", "-m", model, "--batch", 40],
                    ["forward-dump", "-m", model, "--emit", "coef,ffn", *options], stdin=text(sentences))


def statistics(bin, model, directory, data, *options):
    """active.csv and composition.csv, as bytes."""
    table = ok(bin, "composition-stats", "-m", model, "--active", directory / "active.csv", *options,
               stdin=data)
    return (directory / "active.csv").read_bytes(), table


@pytest.fixture
def values(bin, tmp_path):
    """Makes every value's tokens; the options of composition-stats for them."""
    def make(model, *options):
        ok(bin, "project-values", "-m", model, "--all", "-k", 1, *options, "-o", tmp_path / "values")
        return ["--values", tmp_path / "values"]
    return make


def expected(model, data, norm="none", scaled=False, rank="value", threshold=0.0, **options):
    """What the oracle makes of the stream: rows of both tables."""
    stream, exact = streams.read(data), oracle.load_model(model)
    rows, layers = rows_of(stream), []
    cells = stream.header["cells"] or list(range(exact.config["intermediate_size"]))
    numbers = stream.header["layers"] or list(range(exact.config["num_hidden_layers"]))
    for i, layer in enumerate(numbers):
        coef = rows["coef"][i]
        active = oracle.active(coef, rank, threshold)
        layers.append((layer, active,
                       *oracle.agreeing(exact, layer, coef, rows["ffn"][i], active, cells, norm, scaled)))
    counts = oracle.token_counts(sentences_of(stream), exact.config["vocab_size"])
    words = oracle.active_words(rank, threshold)
    return oracle.composition(layers, counts, rows["position"], words=words, comparable=int(words == "m > 0"),
                              **options)


def every(values, model):
    """The options of values for all tokens: a model of few words, the special ones among them."""
    return [*values(model, "--all-tokens"), "--all-tokens"]


def check(found, wanted):
    for table_, rows in zip(found, wanted, strict=True):
        assert_table(table_, rows)


# ----------------------------------------------------------- against PyTorch

@pytest.mark.release_only
def test_composition_is_pytorchs(bin, model, valid, values, tmp_path):
    """Reference: PyTorch's active memories and top(y^l) at 1,000 positions, and its top
    token of every value.  Which memories agree follows from these and from the coefficients,
    which other tests compare."""
    reference = section5.reference()
    data = section5.activations(bin, model, valid, reference["sentence"][0], reference["position"][0])
    rows = rows_of(streams.read(data))
    assert np.array_equal(rows["sentence"], reference["sentence"][0]) and len(rows["sentence"]) == 1000
    assert np.array_equal(rows["position"], reference["position"][0])
    with gzip.open(section5.REFERENCE / "values.csv.gz", "rt") as lines:
        value_top = np.array([int(row["top"]) for row in csv.DictReader(lines)]).reshape(16, 512)
    words = {word for word in (line.partition("#")[0].strip().lower() for line in
                               (ROOT / "data" / "stop-words.txt").read_text().splitlines()) if word}
    stop_words = {i for word, i in oracle.load_dictionary(model).items() if word.lower() in words}
    assert len(stop_words) > 100
    layers = []
    for layer in range(16):
        active = rows["coef"][layer] > 0
        assert np.abs(active.sum(axis=1) - reference["active"][layer]).max() <= 1
        agree = (active & (value_top[layer] == reference["top_ffn"][layer][:, None])).sum(axis=1)
        layers.append((layer, active, reference["top_ffn"][layer].astype(int), agree))
    counts = oracle.token_counts(sentences_of(streams.read(data)), 21176)
    active, composed = oracle.composition(layers, counts, rows["position"], stop_words)
    found = statistics(bin, model, tmp_path, data, *values(model),
                       "--stop-words", ROOT / "data" / "stop-words.txt")
    check(found, (active, composed))
    assert all(0 < row["zero_agreement"] < 1 and 0 < row["stop_word"] < 1 for row in composed)


# -------------------------------------------------------- against the oracle

@pytest.mark.parametrize("options", [["--positions", "random"], ["--with-bos"], ["--cells", "0"], []],
                         ids=lambda options: "".join(options))
def test_tables_are_the_oracles(bin, random_model, values, tmp_path, options):
    """Oracle: NumPy in float64; several clusters, odd widths, one cell."""
    data = dumped(bin, random_model, *options)
    found = statistics(bin, random_model, tmp_path, data, *values(random_model))
    check(found, expected(random_model, data))


def test_scaled_is_the_oracles(bin, random_model, tmp_path):
    """Oracle: NumPy in float64; m_i v_i projected anew for each prefix."""
    data = dumped(bin, random_model)
    check(statistics(bin, random_model, tmp_path, data, "--scaled"),
          expected(random_model, data, scaled=True))


def test_scaled_differs(bin, small_model, values, tmp_path):
    """Expected by the definition: with an adaptive softmax the length of a vector decides
    between the head and the other clusters, so that the test above tests something."""
    stream = streams.read(dumped(bin, small_model, vocabulary=100))
    data = streams.write(stream.header, [
        {name: value * 16 if name in ("coef", "ffn") else value for name, value in record.items()}
        for record in stream.records])
    wanted = [expected(small_model, data, scaled=scaled) for scaled in (True, False)]
    check(statistics(bin, small_model, tmp_path, data, "--scaled"), wanted[0])
    check(statistics(bin, small_model, tmp_path, data, *values(small_model)), wanted[1])
    assert str(wanted[0]) != str(wanted[1])


@pytest.mark.parametrize("norm", ["none", "gain", "full"])
@pytest.mark.parametrize("scaled", [False, True])
def test_norm_is_the_oracles(bin, normed_model, values, tmp_path, norm, scaled):
    """Oracle: NumPy in float64; the final norm on memories and outputs, none of it by default."""
    data = dumped(bin, normed_model, vocabulary=100)
    options = ["--scaled", "--norm", norm] if scaled else values(normed_model, "--norm", norm)
    found = statistics(bin, normed_model, tmp_path, data, *options)
    check(found, expected(normed_model, data, norm, scaled))


@pytest.mark.parametrize("rank, threshold",
                         [("value", 0.25), ("abs", 0), ("abs", 0.5), ("min", 0), ("min", 0.125)])
def test_rank_and_threshold(bin, small_model, values, tmp_path, rank, threshold):
    """Oracle: NumPy, of coefficients with both signs, as those of gated layers are."""
    stream, random = streams.read(dumped(bin, small_model, vocabulary=100)), np.random.default_rng(2)
    records = [dict(record, coef=random.normal(0, 0.4, record["coef"].shape).astype(np.float32).round(3))
               if "coef" in record else record for record in stream.records]
    data = streams.write(stream.header, records)
    options = ["--rank", rank, "--threshold", threshold]
    found = statistics(bin, small_model, tmp_path, data, *values(small_model, "--bottoms", 1), *options)
    wanted = expected(small_model, data, rank=rank, threshold=threshold)
    check(found, wanted)
    if rank != "value":
        fails(bin, "composition-stats", "-m", small_model, *values(small_model), *options, stdin=data,
              says="project-values --all --bottoms 1 gives them")
    found = statistics(bin, small_model, tmp_path, data, "--scaled", "--rank", rank, "--threshold", threshold)
    check(found, expected(small_model, data, rank=rank, threshold=threshold, scaled=True))


# --------------------------------------------------------------- gated layers

@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A small random model of gated layers."""
    place = tmp_path_factory.mktemp("gated") / "llama"
    fault_inputs.write_llama(place)
    return place


def gated_activations(bin, model, *options, shard="0/1"):
    sentences = random_sentences(60, fault_inputs.VOCABULARY, seed=8, longest=9)
    return pipeline(bin, ["tokenize", "-m", model, "--mode", "lines", "--batch", 60, "--shard", shard],
                    ["forward-dump", "-m", model, "--emit", "coef,ffn", *options], stdin=text(sentences))


def expected_of_gated(model, data, rank="abs", threshold=0.0, relative=None):
    """Oracle: NumPy, of the definitions; the head is a plain softmax, so that -v_i promotes what v_i makes
    least probable."""
    weights = oracle.load_safetensors(model / "model.safetensors")
    stream, head, layers = streams.read(data), weights["lm_head.weight"], []
    rows, follow = rows_of(stream), oracle.candidates(model, fault_inputs.VOCABULARY)
    for layer, (coef, ffn) in enumerate(zip(rows["coef"], rows["ffn"])):
        logits = head @ weights[f"model.layers.{layer}.mlp.down_proj.weight"]
        own = np.where(follow, ffn @ head.T, -np.inf).argmax(axis=1)
        active = oracle.active(coef, rank, threshold, relative)
        token = np.where(coef < 0, np.where(follow[:, None], logits, np.inf).argmin(axis=0),
                         np.where(follow[:, None], logits, -np.inf).argmax(axis=0))
        layers.append((layer, active, own, (active & (token == own[:, None])).sum(axis=1)))
    return oracle.composition(layers, oracle.token_counts(sentences_of(stream), fault_inputs.VOCABULARY),
                              rows["position"], words=oracle.active_words(rank, threshold, relative),
                              comparable=0)


@pytest.mark.parametrize("options, meaning", [
    ([], {"relative": 0.1}), (["--relative", 0.5], {"relative": 0.5}), (["--relative", 1], {"relative": 1}),
    (["--rank", "value"], {"rank": "value", "relative": 0.1}),
    (["--rank", "min", "--relative", 0.25], {"rank": "min", "relative": 0.25}),
    (["--threshold", 0.25], {"threshold": 0.25}), (["--rank", "value", "--threshold", 0], {"rank": "value"})],
                         ids=str)
def test_active_memories_of_gated_layers_are_not_those_above_0(bin, gated, values, tmp_path, options,
                                                               meaning):
    """Their sign says nothing: by default active is |m| >= 0.1 max |m|, and the table says so, and that the
    paper's is another."""
    data = gated_activations(bin, gated)
    wanted = expected_of_gated(gated, data, **meaning)
    assert any(0 < row["zero_agreement"] < 1 for row in wanted[1])
    check(statistics(bin, gated, tmp_path, data, *values(gated), *options), wanted)
    check(statistics(bin, gated, tmp_path, data, "--scaled", *options), wanted)


def test_gated_shards_merge_if_active_means_the_same(bin, gated, tmp_path):
    """Two ways to the same bytes; another definition is another stream."""
    whole = statistics(bin, gated, tmp_path, gated_activations(bin, gated), "--scaled")
    for name, options in ("0/2", []), ("1/2", []), ("other", ["--relative", 0.2]), \
            ("above", ["--rank", "value", "--threshold", 0]):
        data = gated_activations(bin, gated, shard=name if "/" in name else "1/2")
        ok(bin, "composition-stats", "-m", gated, "--scaled", *options, "--sums", "-o", tmp_path / name[:1],
           stdin=data)
    merged = ok(bin, "composition-stats", "--merge", "--active", tmp_path / "merged.csv", tmp_path / "0",
                tmp_path / "1")
    assert ((tmp_path / "merged.csv").read_bytes(), merged) == whole
    for other in "oa":
        fails(bin, "composition-stats", "--merge", tmp_path / "0", tmp_path / other,
              says="another model, corpus or options")


def test_the_largest_of_a_layer_is_not_known_of_some_cells(bin, gated, tmp_path):
    data = gated_activations(bin, gated, "--cells", "0-7")
    fails(bin, "composition-stats", "-m", gated, "--scaled", stdin=data,
          says="dump all cells, or give --threshold")
    assert len(table(statistics(bin, gated, tmp_path, data, "--scaled", "--threshold", 0.1)[0])) == 2


def test_values_of_gated_layers_have_what_negative_coefficients_promote(bin, gated, small_model):
    """With --all and unless told otherwise."""
    def bottoms(model, *options):
        return {len(record.get("bottom", []))
                for record in streams.read(ok(bin, "project-values", "-m", model, "--all", *options)).records}

    assert (bottoms(gated), bottoms(gated, "--bottoms", 0), bottoms(gated, "--bottoms", 2),
            bottoms(small_model)) == ({1}, {0}, {2}, {0})


@pytest.mark.parametrize("frequent, short", [(0, 5), (1, 0), (3, 1), (7, 3), (10 ** 6, 65535)])
def test_frequent_and_short(bin, small_model, values, tmp_path, frequent, short):
    """Oracle: plain Python; equally frequent tokens by number, those that do not occur never."""
    data = dumped(bin, small_model, sentences=random_sentences(40, 30, seed=3, longest=9))
    found = statistics(bin, small_model, tmp_path, data, *values(small_model), "--frequent", frequent,
                       "--short", short)
    wanted = expected(small_model, data, frequent=frequent, short=short)
    check(found, wanted)
    assert any(row["zero_agreement"] < 1 for row in wanted[1])


def test_stop_words_by_text(bin, small_model, values, tmp_path):
    """Expected by the manual: letters A to Z folded on both sides, comments and blanks dropped."""
    data = dumped(bin, small_model, vocabulary=100)
    (tmp_path / "words").write_text("# a list\n\n  W4 # the word w4\nw5\nw5\nW6 w7\n<UNK>\nw\n" +
                                    "".join(f"w{i}\n" for i in range(10, 60)), encoding="utf-8")
    stop_words = {3, 4, 5, *range(10, 60)}
    found = statistics(bin, small_model, tmp_path, data, *values(small_model),
                       "--stop-words", tmp_path / "words")
    wanted = expected(small_model, data, stop_words=stop_words)
    check(found, wanted)
    assert any(0 < row["stop_word"] < 1 for row in wanted[1])


def test_layers_of_a_selection(bin, small_model, values, tmp_path):
    """Two ways to the same rows: some layers, and these of all."""
    options = values(small_model)
    whole = statistics(bin, small_model, tmp_path, dumped(bin, small_model, vocabulary=100), *options)
    some = statistics(bin, small_model, tmp_path, dumped(bin, small_model, "--layers", "1,3", vocabulary=100),
                      *options)
    for all_rows, rows in zip(whole, some):
        assert table(rows) == [table(all_rows)[0], table(all_rows)[2]]


def test_values_of_other_tokens_are_refused(bin, small_model, values, tmp_path):
    """Values' tokens and the layers' are to be of the same tokens, or agreement means nothing."""
    data = dumped(bin, small_model, vocabulary=100)
    for making, using, counts in (["--all-tokens"], [], (100, 97)), ([], ["--all-tokens"], (97, 100)):
        fails(bin, "composition-stats", "-m", small_model, *values(small_model, *making), *using, stdin=data,
              says="those of %d tokens, here they are those of %d" % counts)
    found = statistics(bin, small_model, tmp_path, data, *every(values, small_model))
    assert found != statistics(bin, small_model, tmp_path, data, *values(small_model))


def test_values_from_before_candidates_are_of_all_tokens(bin, small_model, values, tmp_path):
    data = dumped(bin, small_model, vocabulary=100)
    options = every(values, small_model)
    wanted = statistics(bin, small_model, tmp_path, data, *options)
    made = streams.read(options[1])
    header = {name: value for name, value in made.header.items() if name != "candidates"}
    options[1].write_bytes(streams.write(header, made.records))
    assert statistics(bin, small_model, tmp_path, data, *options) == wanted
    fails(bin, "composition-stats", "-m", small_model, *options[:2], stdin=data, says="those of 100 tokens")


# -------------------------------------------------------------- worked by hand

VOCABULARY, D_MODEL, CELLS = 6, 4, 4


@pytest.fixture
def hand_model(tmp_path):
    return make_hand_model(tmp_path / "hand")


def make_hand_model(directory, layers=1):
    """A model whose word i < 4 has unit vector i, words 4 and 5 minus unit vectors 0 and 1;
    value i of the first layer is unit vector i, twice.  A plain softmax: top(h) is the largest
    of h_0 .. h_3, -h_0, -h_1."""
    config = random_models.write_model(directory, layers=layers, d_model=D_MODEL, d_ff=CELLS, heads=1,
                                       vocabulary=VOCABULARY, cutoffs=(), factor=1)
    config = {name: value for name, value in config.items() if "adaptive" not in name}
    (directory / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    set_tensors(directory, "embeddings", {
        "decoder.embed_tokens.weight": np.concatenate([np.eye(4), -np.eye(4)[:2]]),
        "decoder.layers.0.fc2.weight": 2 * np.eye(4)})
    return directory


def set_tensors(directory, without, changes):
    """Rewrites a model: without the tensors whose names have that in them, and with changes."""
    tensors = oracle.load_safetensors(directory / "model.safetensors", np.float32)
    tensors = {name: tensor for name, tensor in tensors.items() if without not in name}
    random_models.write_tensors(directory / "model.safetensors", {**tensors, **changes})


def by_hand(bin, model, rows, lengths, tok):
    """An activations stream with these rows: (sentence, position, coef, ffn)."""
    real = streams.read(pipeline(bin, ["tokenize", "-m", model],
                                 ["forward-dump", "-m", model, "--emit", "coef,ffn"], stdin=b"w4\n"))
    sentence, position, coef, ffn = zip(*rows) if rows else ([], [], [], [])
    return streams.write(real.header, [
        {"id": 0, "len": lengths, "tok": tok, "row_sentence": sentence, "row_position": position},
        {"layer": 0, "coef": coef, "ffn": ffn}])


def test_by_hand(bin, hand_model, values, tmp_path):
    """Expected by hand."""
    rows = [
        (0, 0, [9, 9, 9, 9], [9, 0, 0, 0]),       # position 0: does not count
        (0, 1, [1, 0, 0, 0], [3, 1, 0, 0]),       # word 0; memory 0 is active: agrees
        (0, 2, [1, 2, 0, 3], [0, 0, 1, 0]),       # word 2; its memory is not active: zero agreement
        (0, 3, [0, 0, 0, 0], [0, 0, 0, 1]),       # nothing is active: zero agreement
        (1, 1, [0, 5, 0, 0], [1, 1, 0, 0]),       # words 0 and 1 are equal, the lower counts: zero agreement
        (1, 2, [0, 0.5, 1, 1], [-9, 1, 0, 0]),    # word 4, no memory's: zero agreement
        (1, 3, [0, 0.25, 1, 1], [0, 2, 1, 0]),    # word 1: memory 1 agrees
        (1, 4, [-1, 0, 0, 7], [0, 0, 0, 2]),      # word 3: memory 3 agrees
    ]
    # of 7 prefixes 3 agree: at word 0 (prefix of 1 token), word 1 (3 tokens), word 3 (4 tokens).
    # Tokens of the text: 4 twice, 5 once, 3 four times, 0 twice: the two most frequent are 3 and 0.
    data = by_hand(bin, hand_model, rows, [4, 5], [4, 3, 0, 3, 3, 0, 5, 4, 3])
    (tmp_path / "words").write_text("<pad>\n")  # word 1
    active, composed = statistics(bin, hand_model, tmp_path, data, *every(values, hand_model),
                                  "--frequent", 2, "--short", 4, "--stop-words", tmp_path / "words")
    # active memories: 1, 3, 0, 1, 3, 3, 1; sorted 0 1 1 1 3 3 3: mean 12/28, quartiles 1, 1, 3 of 4
    assert intervals.without(table(active)) == [
        {"layer": "1", "prefixes": "7", "mean": "0.428571429", "p25": "0.25", "p50": "0.25", "p75": "0.75",
         "active": "m > 0", "comparable": "1"}]
    assert intervals.without(table(composed)) == [
        {"layer": "1", "prefixes": "7", "zero_agreement": "0.571428571", "stop_word": "0.333333333",
         "frequent": "0.666666667", "short_prefix": "0.666666667", "memories": "1", "agreeing": "3",
         "p25": "1", "p50": "1", "p75": "1"}]


def test_no_prefix_by_hand(bin, hand_model, values, tmp_path):
    """Expected by the manual: without prefixes nothing is defined."""
    for rows in [], [(0, 0, [1] * 4, [1] * 4)]:
        data = by_hand(bin, hand_model, rows, [1], [4])
        active, composed = statistics(bin, hand_model, tmp_path, data, *every(values, hand_model))
        assert active.endswith(b'\n1,0,,,,,"m > 0",1,,\n') and composed.endswith(b"\n1,0,,,,,,0,,,,,,,,,,,\n")


def test_several_memories_by_hand(bin, hand_model, values, tmp_path):
    """Expected by hand: all memories with the same value agree, and are counted."""
    set_tensors(hand_model, "fc2.weight",
                {"decoder.layers.0.fc2.weight": [[1, 2, 3, 0], [0, 0, 0, 1], [0] * 4, [0] * 4]})
    rows = [(0, 1, [1, 1, 1, 1], [1, 0, 0, 0]), (0, 2, [1, 0, 1, 1], [1, 0, 0, 0]),
            (0, 3, [1, 0, 1, 1], [0, 0, 1, 0])]
    data = by_hand(bin, hand_model, rows, [4], [4, 4, 4, 4])
    composed = statistics(bin, hand_model, tmp_path, data, *every(values, hand_model))[1]
    assert intervals.without(table(composed)) == [
        {"layer": "1", "prefixes": "3", "zero_agreement": "0.333333333", "stop_word": "", "frequent": "0",
         "short_prefix": "1", "memories": "2.5", "agreeing": "2", "p25": "2.25", "p50": "2.5", "p75": "2.75"}]


# ---------------------------------------------------------------- identities

def test_output_is_the_sum_of_its_memories(bin, random_model):
    """y^l = sum of m_i v_i, plus the bias: what the tables of memories rest on."""
    exact = oracle.load_model(random_model)
    rows = rows_of(streams.read(dumped(bin, random_model)))
    for layer, (coef, ffn) in enumerate(zip(rows["coef"], rows["ffn"])):
        memories = coef.astype(np.float64) @ oracle.value_vectors(exact, layer)
        bias = exact.tensors[f"decoder.layers.{layer}.fc2.bias"]
        assert np.abs(memories + bias - ffn).max() < 1e-4 * np.abs(ffn).max()


def test_plain_softmax_makes_scaling_vain(bin, hand_model, values, tmp_path):
    """With a plain softmax top(m_i v_i) is top(v_i) for m_i > 0."""
    random = np.random.default_rng(5)
    rows = [(0, j, random.normal(0, 1, 4).astype(np.float32), random.normal(0, 1, 4)) for j in range(1, 60)]
    data = by_hand(bin, hand_model, rows, [60], [4] * 60)
    assert statistics(bin, hand_model, tmp_path, data, "--scaled", "--all-tokens") \
        == statistics(bin, hand_model, tmp_path, data, *every(values, hand_model))
