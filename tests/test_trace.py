"""trace-prompts and the prompts that it reads: tokens as they were typed, every number of the tables against
the NumPy oracle and plain NumPy, cases against refinement-stats, and the page in a real browser.
test_families.py has models of other families, computed by transformers."""

import json
import re

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import WebDriverWait

import browser as browsers
import oracle
import streams
import test_sheet
from helpers import (assert_close, batches_of, fails, ok, pipeline, random_sentences, rows_of, sentences_of,
                     table, text)
from test_sheet import data_of, words  # noqa: F401, a fixture

LAYERS, CELLS, TOPS = 3, 37, 4
PROMPTS = random_sentences(12, 100, seed=3, longest=9)
EMIT = ["--emit", "resid,ffn,coef"]


def traced(bin, model, place, *options, prompts=PROMPTS, tokenize=(), dump=()):
    """The tables of layers and memories."""
    layers = pipeline(bin, ["tokenize", "-m", model, "--prompt", *tokenize],
                      ["forward-dump", "-m", model, *EMIT, *dump],
                      ["trace-prompts", "-m", model, "-k", TOPS, "--memories-table", place / "memories",
                       *options], stdin=text(prompts))
    return table(layers), table(place / "memories")


# ------------------------------------------------------------------- prompts

def prompts_of(bin, model, data, *options):
    stream = streams.read(ok(bin, "tokenize", "-m", model, "--prompt", *options, stdin=data))
    assert stream.header["prompts"] is True and stream.header["version"] == 2
    sentences = sentences_of(stream)
    assert all(sentence[-1] == 0 for sentence in sentences)
    assert stream.trailer["tokens"] == sum(map(len, sentences))
    return [sentence[:-1] for sentence in sentences]


def test_prompts_are_lines_as_they_are(bin, smollm2):
    """Against the tokens of each text by itself, white space included, which a sentence's ends lose."""
    def tokens(line):
        return prompts_of(bin, smollm2, line, "--whole")[0]

    lines = [b"The capital of France is", b" The capital of France is ", b"Two. Sentences! In one", b"\tx  y"]
    found = prompts_of(bin, smollm2, b"\n".join(lines))
    assert found == [tokens(line) for line in lines]
    assert found[0] == [504, 3575, 282, 4649, 314]  # as the tokenizers library has it
    assert found[1] != found[0] and found[1][0] != found[0][0]
    assert prompts_of(bin, smollm2, b"a b\r\n\nc\n") == [tokens(b"a b"), tokens(b"c")]


def test_all_of_a_text_is_one_prompt(bin, smollm2):
    newline, = prompts_of(bin, smollm2, b"\n\n", "--whole")
    whole, = prompts_of(bin, smollm2, b"one\n\ntwo\n", "--whole")
    assert len(newline) == 1 and whole[1:-1] not in ([], None)
    shown = pipeline(bin, ["tokenize", "-m", smollm2, "--prompt", "--whole"],
                     ["stream-cat", "-m", smollm2, "--format", "json"], stdin=b"one\n\ntwo\n")
    assert json.loads(shown)["sentences"][0]["tok"] == "one\n\ntwo"


def test_unknown_words_do_not_count_the_placeholder(bin, small_model):
    stream = streams.read(ok(bin, "tokenize", "-m", small_model, "--prompt", stdin=b"w5 x w6\n"))
    assert stream.trailer["unknown"] == 1 and stream.trailer["tokens"] == 4


def test_length_of_prompts(bin, small_model):
    prompts = text([[5] * 8])
    assert prompts_of(bin, small_model, prompts, "--max-length", 8) == [[5] * 8]
    fails(bin, "tokenize", "-m", small_model, "--prompt", "--max-length", 7, stdin=prompts,
          says="a sentence of 8 tokens, more than --max-length 7; raise it, or say --long skip")
    for options, says in [(["--max-length", 65535], "at most 65534 tokens"), (["--mode", "raw"], "--mode"),
                          (["--long", "truncate"], "--long truncate")]:
        fails(bin, "tokenize", "-m", small_model, "--prompt", *options, status=2, says=says)
    fails(bin, "tokenize", "-m", small_model, "--whole", status=2, says="--whole goes with --prompt")


@pytest.fixture(scope="module")
def dumped(bin, small_model):
    return pipeline(bin, ["tokenize", "-m", small_model, "--prompt"],
                    ["forward-dump", "-m", small_model, "--emit", "max,resid,ffn,coef"], stdin=text(PROMPTS))


def test_others_refuse_prompts(bin, small_model, dumped, tmp_path):
    """Each would take the placeholder for a next token."""
    says = "a stream of prompts, behind which no token is known"
    tokens = ok(bin, "tokenize", "-m", small_model, "--prompt", stdin=text(PROMPTS))
    (tmp_path / "dumped").write_bytes(dumped)
    for tool, *options in [["topk-keys"], ["refinement-stats", "-m", small_model],
                           ["composition-stats", "-m", small_model, "--scaled"],
                           ["intervention-stats", "-m", small_model, "--edited", tmp_path / "dumped"]]:
        fails(bin, tool, *options, stdin=dumped, says=says)
    fails(bin, "forward-dump", "-m", small_model, "--emit", "prediction", stdin=tokens, says=says)
    sentences = pipeline(bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model],
                         ["topk-keys"], stdin=text(PROMPTS))
    (tmp_path / "triggers").write_bytes(sentences)
    fails(bin, "shallow-stats", "--corpus", "-", tmp_path / "triggers", stdin=tokens, says=says)
    stream = streams.read(tokens)
    for changed in {"version": 1}, {"version": 3}, {"prompts": False}:
        fails(bin, "forward-dump", "-m", small_model, stdin=streams.write(
            {**stream.header, **changed}, stream.records),
            says="version 3" if changed == {"version": 3} else "prompts must be true in version 2")


def test_prompts_are_called_so(bin, small_model):
    """In the header, of several batches, too."""
    whole = ok(bin, "tokenize", "-m", small_model, "--prompt", "--batch", 9, stdin=text(PROMPTS))
    assert json.loads(ok(bin, "stream-cat", stdin=whole).splitlines()[0])["prompts"] is True


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n", b"  \t \n \n"])
def test_a_text_without_a_prompt_is_refused(bin, small_model, data):
    fails(bin, "tokenize", "-m", small_model, "--prompt", stdin=data, says="there is no sentence in it")


def test_prompts_of_spaces_are_prompts_where_spaces_are_tokens(bin, smollm2, small_model):
    assert prompts_of(bin, small_model, b"w5\n   \nw6\n") == [[5], [6]]
    first, spaces, last = prompts_of(bin, smollm2, b"a\n   \nb\n")
    assert spaces and len(first) == len(last) == 1


def test_special_tokens_that_are_typed_are_tokens(bin, smollm2):
    """As the tokenizers library has them by default: a chat can be written out."""
    turn, = prompts_of(bin, smollm2, b"<|im_start|>user\nhi<|im_end|>\n", "--whole")
    assert [turn[0], turn[-1]] == [1, 2] and len(turn) == 5
    plain, = prompts_of(bin, smollm2, b"<|im_start |>")
    assert 1 not in plain


def test_text_from_right_to_left_comes_back(bin, smollm2):
    hebrew = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"
    for words_ in hebrew, "\u0645\u0631\u062d\u0628\u0627 123 \u202eabc\u202c":
        shown = pipeline(bin, ["tokenize", "-m", smollm2, "--prompt"],
                         ["stream-cat", "-m", smollm2, "--format", "json"], stdin=f"{words_}\n".encode())
        assert json.loads(shown)["sentences"][0]["tok"] == words_


# -------------------------------------------------------------------- tables

def direction(exact, output, token):
    """The final norm of oracle.layer_norm with mean and variance of output, as what it does to e."""
    word = oracle.output_embedding(exact, token)
    if not exact.config["final_norm"]:
        return word
    gain = exact.tensors["decoder.layer_norm.weight"]
    return lambda x: ((x - x.mean()) * gain / np.sqrt(output.var() + exact.config["layer_norm_eps"])) @ word


def added(how, x):
    return how(x) if callable(how) else x @ how


def name(token):
    return {2: "</s>", 3: "<unk>"}.get(token, f"w{token}")


def check_layers(rows, exact, prompts, norm, positions):
    """Every row against the oracle's forward pass."""
    rows = iter(rows)
    for number, prompt in enumerate(prompts):
        found = oracle.forward(exact, prompt + [0])
        for position in positions(prompt):
            output = found.out[-1, position]
            final = int(oracle.tops(exact, output[None])[0])
            how = direction(exact, output, final)
            for layer in range(LAYERS):
                r, y = found.resid[layer, position], found.ffn[layer, position]
                log_p = [oracle.log_probs(exact, oracle.apply_norm(exact, x[None], n))[0]
                         for x, n in ((r, "full"), (y, norm), (r + y, "full"))]
                best = [oracle.top(lp, TOPS, exact.candidates) for lp in log_p]
                a, b = best[2][0] == best[0][0], best[2][0] == best[1][0]
                for i in range(TOPS):
                    row = next(rows)
                    assert (int(row["prompt"]), int(row["position"]), int(row["layer"]), int(row["rank"])) \
                        == (number, position, layer + 1, i + 1)
                    assert row["token"] == name(prompt[position - 1])
                    for column, lp, tokens in zip(("residual", "ffn", "output"), log_p, best):
                        assert row[column] == name(int(tokens[i]))
                        assert float(row["p_" + column]) == pytest.approx(np.exp(lp[tokens[i]]), rel=1e-3)
                    assert row["case"] == {(1, 0): "residual", (0, 1): "ffn", (1, 1): "agreement",
                                           (0, 0): "composition"}[a, b]
                    assert row["final"] == name(final)
                    assert float(row["ffn_logit"]) == pytest.approx(added(how, y), rel=1e-3, abs=1e-4)
    assert next(rows, None) is None


def last(prompt):
    return [len(prompt)]


def every(prompt):
    return range(1, len(prompt) + 1)


@pytest.mark.parametrize("norm", ["none", "gain", "full"])
@pytest.mark.parametrize("which", ["last", "all"])
def test_layers(bin, normed_model, tmp_path, norm, which):
    """A model with LayerNorm at the end and an adaptive softmax."""
    rows, _ = traced(bin, normed_model, tmp_path, "--norm", norm, "--positions", which)
    check_layers(rows, oracle.load_model(normed_model), PROMPTS, norm, {"last": last, "all": every}[which])


def test_layers_without_a_final_norm(bin, small_model, tmp_path):
    rows, _ = traced(bin, small_model, tmp_path)
    check_layers(rows, oracle.load_model(small_model), PROMPTS, "none", last)


def test_layers_without_bos(bin, small_model, tmp_path):
    exact = oracle.load_model(small_model)
    exact = exact._replace(config={**exact.config, "bos_token_id": None})
    for which, positions in ("last", last), ("all", every):
        rows, _ = traced(bin, small_model, tmp_path, "--positions", which, tokenize=["--bos", "none"])
        check_layers(rows, exact, PROMPTS, "none", positions)


@pytest.mark.parametrize("kind", ["small", "normed"])
def test_memories(bin, small_model, normed_model, tmp_path, kind):
    """Which they are, and each number, against plain NumPy; and that all of them and the bias are the block's
    output: coefficients of 64-bit arithmetic times the model's values are y^l, and contributions to the logit
    add up to the block's."""
    model = {"small": small_model, "normed": normed_model}[kind]
    layers, memories = traced(bin, model, tmp_path, "--memories", CELLS, "--positions", "all")
    exact = oracle.load_model(model)
    logits = {(row["prompt"], row["position"], row["layer"]): float(row["ffn_logit"]) for row in layers}
    cells = {}
    for row in memories:
        cells.setdefault((row["prompt"], row["position"], row["layer"]), []).append(row)
    for number, prompt in enumerate(PROMPTS):
        found = oracle.forward(exact, prompt + [0])
        for position in every(prompt):
            how = direction(exact, found.out[-1, position],
                            int(oracle.tops(exact, found.out[-1, position][None])[0]))
            for layer in range(LAYERS):
                key = str(number), str(position), str(layer + 1)
                check_memories(exact, cells.get(key, []), layer, found.coef[layer, position], how)
                bias = exact.tensors[f"decoder.layers.{layer}.fc2.bias"]
                values = oracle.value_vectors(exact, layer)
                assert_close(found.coef[layer, position] @ values + bias, found.ffn[layer, position])
                total = sum(float(row["logit"]) for row in cells.get(key, [])) + added(how, bias)
                assert total == pytest.approx(logits[key], rel=1e-3, abs=1e-3)


def test_all_parts_make_the_logit(bin, normed_model, tmp_path):
    """The table's blocks, and NumPy's embedding, attention of each layer and the norm's bias, add up to the
    logit; and the same parts are the residual of every layer."""
    exact = oracle.load_model(normed_model)
    layers, _ = traced(bin, normed_model, tmp_path)
    for number, prompt in enumerate(PROMPTS):
        rows = [row for row in layers if row["prompt"] == str(number) and row["rank"] == "1"]
        found = oracle.forward(exact, prompt + [0])
        output, ids = found.out[-1, -1], [exact.config["bos_token_id"], *prompt]
        total = oracle.embed(exact, ids) + oracle.positions(
            len(ids), exact.config["hidden_size"], exact.config["position_offset"])
        token = int(oracle.tops(exact, output[None])[0])
        how, others = direction(exact, output, token), total[-1].copy()
        for layer in range(LAYERS):
            prefix = f"decoder.layers.{layer}.self_attn"
            normed = oracle.layer_norm(total, exact.tensors[f"{prefix}_layer_norm.weight"],
                                       exact.tensors[f"{prefix}_layer_norm.bias"],
                                       exact.config["layer_norm_eps"])
            attention = oracle.attention(exact, f"{prefix}.", normed)
            assert_close(total + attention, found.resid[layer])
            total, others = total + attention + found.ffn[layer], others + attention[-1]
        word = oracle.output_embedding(exact, token)
        parts = added(how, others) + exact.tensors["decoder.layer_norm.bias"] @ word
        logit = oracle.apply_norm(exact, output[None])[0] @ word
        assert parts + sum(float(row["ffn_logit"]) for row in rows) == pytest.approx(logit, rel=1e-3)


def float32(text):
    return np.float32(float(text)) if text else None


@pytest.mark.parametrize("dump", [[], ["--edit", "2:3-9=*2"]], ids=["plain", "edited"])
def test_the_stream_has_the_tables(bin, small_model, tmp_path, dump):
    """Every number and every token, row by row; its header tells model, edits and options; whatever the
    batches are."""
    stream = tmp_path / "stream"
    layers, memories = traced(bin, small_model, tmp_path, "--memories", 6, "--positions", "all", "--stream",
                              stream, tokenize=["--batch", 30], dump=dump)
    found = streams.read(stream)
    assert found.header["kind"] == "trace" and found.header["prompts"] is True
    assert (found.header["positions"], found.header["norm"]) == ("all", "none")
    assert ("edits" in found.header) == bool(dump)
    assert found.header["history"][-1]["options"].items() >= {
        "positions": "all", "tops": TOPS, "norm": "none", "memories": 6, "all_tokens": False}.items()
    assert [stage["tool"] for stage in found.header["history"]][1:] == ["forward-dump", "trace-prompts"]
    number, rank = iter_layers(found), 0
    for row, (key, layer, r) in zip(layers[::TOPS], number, strict=True):
        assert (row["prompt"], row["position"], row["layer"], row["final"]) == (*key[:3], name(key[3]))
        assert float32(row["ffn_logit"]) == pytest.approx(layer["ffn_logit"][r])
        for i, each in enumerate(layers[rank:rank + TOPS]):
            for of in "residual", "ffn", "output":
                assert each[of] == name(layer[f"{of}_top"][r, i])
                assert float32(each[f"p_{of}"]) == pytest.approx(layer[f"{of}_p"][r, i])
        rank += TOPS
    rows = iter(memories)
    for key, layer, r in iter_layers(found):
        for i in range(layer["memory_count"][r]):
            row = next(rows)
            assert (row["prompt"], row["position"], row["layer"]) == key[:3] and int(row["rank"]) == i + 1
            assert int(row["cell"]) == layer["memory_cell"][r, i]
            for column in "coefficient", "size", "share", "logit":
                of = column.replace("coefficient", "coef")
                assert float32(row[column]) == pytest.approx(layer[f"memory_{of}"][r, i])
            value = layer["value_cell"].tolist().index(int(row["cell"]))
            ends = [[name(token) for token in layer[f"value_{end}"][value]] for end in ("top", "bottom")]
            assert [json.loads(row["promotes"]), json.loads(row["demotes"])] \
                == (ends if float(row["coefficient"]) > 0 else ends[::-1])
        assert not layer["memory_coef"][r, layer["memory_count"][r]:].any()
    assert next(rows, None) is None


def iter_layers(found):
    """((prompt, position, layer, final), the layer's record, its row), in the order of the tables."""
    for batch, layers, _ in batches_of(found):
        for r, (s, position, final) in enumerate(zip(*(batch[name].tolist() for name in
                                                       ("row_sentence", "row_position", "final")))):
            for layer in sorted(layers):
                yield (str(batch["id"] + s), str(position), str(layer + 1), final), layers[layer], r


def test_the_stream_is_what_it_is_without_memories_and_with_other_threads(bin, small_model, tmp_path, dumped):
    """Without coefficients there are none in it; tables and page change no byte of it."""
    bare = pipeline(bin, ["tokenize", "-m", small_model, "--prompt"],
                    ["forward-dump", "-m", small_model, "--emit", "resid,ffn"], stdin=text(PROMPTS))
    ok(bin, "trace-prompts", "-m", small_model, "--stream", tmp_path / "bare", stdin=bare)
    assert not any("memory" in array for array in streams.read(tmp_path / "bare").header["arrays"])
    one, other = tmp_path / "one", tmp_path / "other"
    ok(bin, "trace-prompts", "-m", small_model, "--positions", "all", "--stream", one, stdin=dumped)
    ok(bin, "trace-prompts", "-m", small_model, "--positions", "all", "--stream", other, "--threads", 3,
       "--page", tmp_path / "page", "--memories-table", tmp_path / "table", stdin=dumped)
    assert one.read_bytes() == other.read_bytes()
    assert json.loads(ok(bin, "stream-cat", "--header", one))["kind"] == "trace"
    fails(bin, "topk-keys", one, says="kind")


def check_memories(exact, rows, layer, coef, how):
    values = oracle.value_vectors(exact, layer)
    sizes = np.abs(coef) * np.linalg.norm(values, axis=1)
    order = [cell for cell in np.argsort(-sizes, kind="stable") if sizes[cell] > 0]
    assert [int(row["cell"]) for row in rows] == order
    for i, row in enumerate(rows):
        cell = order[i]
        assert int(row["rank"]) == i + 1
        assert float(row["coefficient"]) == pytest.approx(coef[cell], rel=1e-3, abs=1e-5)
        assert float(row["size"]) == pytest.approx(sizes[cell], rel=1e-3, abs=1e-5)
        assert float(row["share"]) == pytest.approx(sizes[cell] / sizes.sum(), rel=1e-3, abs=1e-5)
        assert float(row["logit"]) == pytest.approx(added(how, coef[cell] * values[cell]), rel=1e-3, abs=1e-4)
        log_p = oracle.log_probs(exact, values[cell][None])[0]
        best = oracle.top(log_p, TOPS, exact.candidates)
        assert json.loads(row["promotes"]) == [name(int(token)) for token in best]
        assert json.loads(row["triggers"]) == []


def test_cases_are_those_of_refinement_stats(bin, normed_model, tmp_path):
    """At the same prefixes, given to refinement-stats as sentences with a next token."""
    for norm in "none", "full":
        rows, _ = traced(bin, normed_model, tmp_path, "--positions", "all", "--norm", norm)
        rows = [row for row in rows if row["rank"] == "1"]
        pipeline(bin, ["tokenize", "-m", normed_model],
                 ["forward-dump", "-m", normed_model, "--emit", "resid,ffn"],
                 ["refinement-stats", "-m", normed_model, "--norm", norm, "--cases", tmp_path / "cases", "-o",
                  tmp_path / "refinement"], stdin=text([prompt + [7] for prompt in PROMPTS]))
        for expected in table(tmp_path / "cases"):
            here = [row["case"] for row in rows if row["layer"] == expected["layer"]]
            assert len(here) == int(expected["prefixes"])
            for case in "residual", "ffn", "agreement", "composition":
                assert here.count(case) / len(here) == pytest.approx(float(expected[case]), abs=1e-9)


def test_threads_change_nothing(bin, normed_model, tmp_path):
    def found(threads):
        place = tmp_path / f"{threads}"
        place.mkdir()
        return traced(bin, normed_model, place, "--positions", "all", "--threads", threads)

    assert found(1) == found(2)


def test_triggers(bin, small_model, tmp_path):
    """The last 12 tokens of the best three, by the triggers' own stream."""
    corpus = random_sentences(60, 100, seed=4, longest=30)
    data = pipeline(bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model],
                    ["topk-keys", "-t", 5], stdin=text(corpus))
    (tmp_path / "triggers").write_bytes(data)
    _, rows = traced(bin, small_model, tmp_path, "--triggers", tmp_path / "triggers")
    keys = {(record["layer"], record["cell"]): record for record in streams.read(data).records
            if "layer" in record}
    assert any("…" in row["triggers"] for row in rows)
    for row in rows:
        record = keys[int(row["layer"]) - 1, int(row["cell"])]
        prefixes = np.split(record["prefix"], np.cumsum(record["position"])[:-1])[:3]
        assert json.loads(row["triggers"]) == [
            "…" * (len(prefix) > 12) + " ".join(name(int(t)) for t in prefix[-12:]) for prefix in prefixes]


def test_triggers_of_one_list_of_several(bin, small_model, dumped, tmp_path):
    """Those of the list that is named, as a stream of that list alone has them; none is taken unasked."""
    tokens = ok(bin, "tokenize", "-m", small_model, stdin=text(random_sentences(60, 100, seed=4, longest=30)))
    for ranks in "value", "value,abs":
        data = pipeline(bin, ["forward-dump", "-m", small_model, "--rank", ranks],
                        ["topk-keys", "-t", 5, "--rank", ranks], stdin=tokens)
        (tmp_path / ranks).write_bytes(data)
    _, alone = traced(bin, small_model, tmp_path, "--triggers", tmp_path / "value")
    _, chosen = traced(bin, small_model, tmp_path, "--triggers", tmp_path / "value,abs", "--list", "value")
    assert chosen == alone
    memories = ["--memories-table", tmp_path / "m", "--triggers", tmp_path / "value,abs"]
    fails(bin, "trace-prompts", "-m", small_model, *memories, stdin=dumped, says="--list")
    fails(bin, "trace-prompts", "-m", small_model, "--list", "value", stdin=dumped, status=2,
          says="--list goes with --triggers")


def test_what_is_refused(bin, small_model, dumped, tmp_path):
    trace = "trace-prompts", "-m", small_model
    sentences = pipeline(bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model, *EMIT],
                         stdin=text(PROMPTS))
    fails(bin, *trace, stdin=sentences, says="no prompts: tokenize --prompt makes these")

    def dump(*options):
        return pipeline(bin, ["tokenize", "-m", small_model, "--prompt"],
                        ["forward-dump", "-m", small_model, *options], stdin=text(PROMPTS))

    memories = ["--memories-table", tmp_path / "m"]
    fails(bin, *trace, stdin=dump(*EMIT, "--positions", "random"), says="only random positions")
    fails(bin, *trace, stdin=dump(*EMIT, "--layers", "1-2"), says="2 of 3 layers")
    fails(bin, *trace, stdin=dump("--emit", "resid"), says="lacks ffn")
    fails(bin, *trace, stdin=dump("--emit", "max"), says="there are no rows")
    fails(bin, *trace, *memories, stdin=dump("--emit", "resid,ffn"), says="lacks coef")
    fails(bin, *trace, *memories, stdin=dump(*EMIT, "--cells", "1-5"), says="only some cells")
    ok(bin, *trace, stdin=dump("--emit", "resid,ffn"))
    fails(bin, *trace, "--page", tmp_path / "page", stdin=dumped, status=2, says="--positions all")
    fails(bin, *trace, "--triggers", tmp_path / "t", stdin=dumped, status=2, says="--memories-table")
    fails(bin, *trace, "-k", 99, stdin=dumped, status=2, says="that can follow")
    many = pipeline(bin, ["tokenize", "-m", small_model, "--prompt"],
                    ["forward-dump", "-m", small_model, *EMIT], stdin=text([[5] * 101] * 10))
    fails(bin, *trace, "--positions", "all", "--page", tmp_path / "page", stdin=many,
          says="more than 1000 positions")


def test_the_capital_of_france(bin, smollm2):
    """A golden answer of the real model, which every program that runs it gives."""
    layers = table(pipeline(bin, ["tokenize", "-m", smollm2, "--prompt"],
                            ["forward-dump", "-m", smollm2, "--emit", "resid,ffn"],
                            ["trace-prompts", "-m", smollm2, "-k", 1], stdin=b"The capital of France is\n"))
    assert len(layers) == 30 and layers[-1]["output"] == " Paris" and layers[-1]["final"] == " Paris"


@pytest.mark.release_only
def test_two_hundred_prompts_are_each_as_alone(bin, small_model, tmp_path):
    """Several batches, some with a prompt of one token."""
    prompts = random_sentences(200, 100, seed=11, longest=7)
    assert sum(len(prompt) == 1 for prompt in prompts) > 10
    numbers = {"ffn_logit", "coefficient", "size", "share", "logit", "p_residual", "p_ffn", "p_output"}
    layers, memories = traced(bin, small_model, tmp_path, "--memories", 3, prompts=prompts,
                              tokenize=["--batch", 64])
    assert [row["prompt"] for row in layers[::LAYERS * TOPS]] == [str(i) for i in range(200)]
    for i in range(0, 200, 40):
        alone = traced(bin, small_model, tmp_path, "--memories", 3, prompts=prompts[i:i + 1])
        for found, one in zip((layers, memories), alone):
            found = [row for row in found if row["prompt"] == str(i)]
            assert len(found) == len(one) > 0
            for row, expected in zip(found, one):
                for column, number in expected.items():
                    if column in numbers:
                        assert float(row[column]) == pytest.approx(float(number), rel=1e-3, abs=1e-5)
                    elif column != "prompt":
                        assert row[column] == number


def test_triggers_of_other_edits_are_refused(bin, small_model, tmp_path, dumped):
    """They are of another model than the one that is traced; so are thresholds of keys."""
    edit = ["--edit", "1:3=0"]
    tokens = ok(bin, "tokenize", "-m", small_model, stdin=text(PROMPTS))
    edited = pipeline(bin, ["tokenize", "-m", small_model, "--prompt"],
                      ["forward-dump", "-m", small_model, *EMIT, *edit], stdin=text(PROMPTS))
    rows = {side: ok(bin, "forward-dump", "-m", small_model, "--emit", "coef,ffn", *options, stdin=tokens)
            for side, options in (("plain", []), ("edited", edit))}
    for side, options in ("plain", []), ("edited", edit):
        (tmp_path / side).write_bytes(pipeline(
            bin, ["forward-dump", "-m", small_model, "--emit", "max,magnitudes", *options], ["topk-keys"],
            stdin=tokens))
    for of, side, data in ("plain", "edited", edited), ("edited", "plain", dumped):
        trace = "trace-prompts", "-m", small_model, "--memories-table", tmp_path / "table", "--triggers"
        stats = "composition-stats", "-m", small_model, "--scaled", "--percentile", 50, "--thresholds"
        fails(bin, *trace, tmp_path / of, stdin=data, says="other edits of memories than the triggers")
        ok(bin, *trace, tmp_path / side, stdin=data)
        fails(bin, *stats, tmp_path / of, stdin=rows[side], says="other edits of memories than the triggers")
        ok(bin, *stats, tmp_path / side, stdin=rows[side])


# ---------------------------------------------------------------------- page

@pytest.fixture(scope="module")
def page(bin, words, tmp_path_factory):  # noqa: F811
    """Of a model with hostile words, the signs of whose first layer's coefficients are changed: its path, and
    the tables of layers and memories."""
    place = tmp_path_factory.mktemp("page")
    count = len(test_sheet.HOSTILE)
    prompts = [" ".join(test_sheet.HOSTILE), " ".join(f"w{i}" for i in range(4 + count, 9 + count))]
    layers = pipeline(bin, ["tokenize", "-m", words, "--prompt"],
                      ["forward-dump", "-m", words, *EMIT, "--edit", "1:*=*-1"],
                      ["trace-prompts", "-m", words, "--positions", "all", "--page", place / "page.html",
                       "--memories-table", place / "memories"], stdin="\n".join(prompts).encode())
    return place / "page.html", table(layers), table(place / "memories")


def test_page_has_what_the_tables_have(page):
    path, layers, memories = page
    html = path.read_text()
    data = data_of(html)
    assert html.count("</script>") == 2 and "{{data}}" not in html.split('id="data">')[0]
    assert [number for number, _ in data["prompts"]] == [0, 1]
    wanted, cells = {}, {}
    for row in layers:
        wanted.setdefault((int(row["prompt"]), int(row["position"]), int(row["layer"])), []).append(row)
    for row in memories:
        cells.setdefault((int(row["prompt"]), int(row["position"]), int(row["layer"])), []).append(row)
    seen = set()
    for number, positions in data["prompts"]:
        for position, read, final, here in positions:
            for layer, (case, logit, *lists, found) in enumerate(here, 1):
                rows = wanted[number, position, layer]
                seen.add((number, position, layer))
                assert data["tokens"][str(read)] == rows[0]["token"]
                assert data["tokens"][str(final)] == rows[0]["final"]
                assert ["residual", "ffn", "agreement", "composition"][case] == rows[0]["case"]
                assert logit == pytest.approx(float(rows[0]["ffn_logit"]), rel=1e-3)
                for column, pairs in zip(("residual", "ffn", "output"), lists):
                    assert [data["tokens"][str(token)] for token, _ in pairs] == [r[column] for r in rows]
                    assert [p for _, p in pairs] == pytest.approx([float(r["p_" + column]) for r in rows],
                                                                  rel=1e-3)
                expected = cells[number, position, layer][:5]
                assert [memory[0] for memory in found] == [int(row["cell"]) for row in expected]
                for (cell, coefficient, share, added_logit), row in zip(found, expected):
                    assert [coefficient, share, added_logit] == pytest.approx(
                        [float(row[c]) for c in ("coefficient", "share", "logit")], rel=1e-3)
                    top, bottom, _ = data["values"][f"{layer}.{cell}"]
                    assert (coefficient < 0) == (layer == 1)
                    top, bottom = (top, bottom) if coefficient > 0 else (bottom, top)
                    assert [data["tokens"][str(t)] for t in top] == json.loads(row["promotes"])
                    assert [data["tokens"][str(t)] for t in bottom] == json.loads(row["demotes"])
    assert seen == set(wanted)


@pytest.fixture(scope="module")
def chromium():
    with browsers.browser() as opened:
        yield opened


def selected(chromium):
    cell = chromium.find('td[aria-selected="true"]')
    return int(cell.get_dom_attribute("data-layer")), int(cell.get_dom_attribute("data-column"))


def press(chromium, *keys):
    for key in keys:
        ActionChains(chromium.driver).send_keys(key).perform()


def check_memory(chromium, memories, prompt, layer, position):
    """The first memory of the cell that is shown, as the table has it."""
    rows = [row for row in memories if (int(row["prompt"]), int(row["layer"]), int(row["position"]))
            == (prompt, layer, position)]
    assert len(chromium.find_all("#cell .memory")) == min(len(rows), 5)
    assert f"cell {rows[0]['cell']}," in chromium.find("#cell .memory").text
    for line, column in (2, "promotes"), (3, "demotes"):
        tokens = chromium.find_all(f"#cell .memory:first-child p:nth-child({line}) .token")
        assert [token.get_property("textContent") for token in tokens] == json.loads(rows[0][column])


def test_page_by_keyboard_alone(chromium, page):
    path, layers, memories = page
    chromium.open(path)
    rows = [row for row in layers if row["prompt"] == "0" and row["rank"] == "1"]
    columns, height = max(int(row["position"]) for row in rows), max(int(row["layer"]) for row in rows)
    assert len(chromium.find_all("#grid td")) == columns * height
    assert selected(chromium) == (height - 1, columns - 1)
    press(chromium, Keys.TAB, Keys.TAB)
    assert chromium.script("return document.activeElement.tagName") == "TD"
    press(chromium, Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN,
          Keys.ARROW_UP)
    assert selected(chromium) == (height - 1, columns - 1)
    press(chromium, Keys.ENTER)
    layer, column = selected(chromium)
    assert (layer, column) == (min(1, height - 1), 1)
    row, = [row for row in rows if (int(row["layer"]), int(row["position"])) == (layer + 1, column + 1)]
    assert f"Layer {layer + 1}, position {column + 1}" in chromium.find("#cell h2").text
    assert chromium.find("#cell strong").text == row["case"]
    shown = chromium.find_all("#cell table tbody tr:first-child td.token")
    assert [cell.get_property("textContent") for cell in shown] \
        == [row[name] for name in ("residual", "ffn", "output")]
    check_memory(chromium, memories, 0, layer + 1, column + 1)
    press(chromium, *[Keys.ARROW_DOWN] * layer, Keys.ENTER)
    check_memory(chromium, memories, 0, 1, column + 1)
    press(chromium, *[Keys.ARROW_UP] * layer, Keys.ENTER)
    press(chromium, Keys.END, " ")
    assert selected(chromium) == (layer, columns - 1)
    assert chromium.complaints() == []


def test_hostile_words_stay_words(chromium, page):
    chromium.open(page[0])
    head = [cell.get_property("textContent") for cell in chromium.find_all("#grid thead th")]
    assert head[1:] == test_sheet.HOSTILE
    assert chromium.find_all("#grid b, #grid img, #cell img, #grid script") == []
    chromium.script("document.querySelector('#prompt').value = '1';"
                    "document.querySelector('#prompt').dispatchEvent(new Event('change'))")
    assert chromium.find("#grid thead").text.split() == ["layer"] + [
        f"w{i}" for i in range(4 + len(test_sheet.HOSTILE), 9 + len(test_sheet.HOSTILE))]
    chromium.find("#grid tbody tr:last-child td").click()
    assert selected(chromium) == (0, 0)
    assert chromium.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1400])
def test_page_fits_and_is_readable(chromium, page, width, dark):
    """Nothing but the table's own frame scrolls aside; the text stands out from every ground it can have."""
    chromium.emulate(width, 800, dark)
    chromium.open(page[0])
    assert chromium.script("return document.documentElement.scrollWidth") <= width
    contrast = """
        const light = (color) => { const canvas = document.createElement('canvas').getContext('2d');
            canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255)
                .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const cell = document.querySelector('#grid td');
        return [0, 0.5, 1].map((p) => { cell.style.setProperty('--p', p);
            const style = getComputedStyle(cell), a = light(style.color), b = light(style.backgroundColor);
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); });"""
    assert min(chromium.script(contrast)) >= 4.5


# ---------------------------------------------------- links with the report

PAGES = "pages/<b>&.html", "d\u00e9j\u00e0: vu/x.html", "beside.html", "report/inside.html"


@pytest.fixture(scope="module")
def linked(bin, words, tmp_path_factory):  # noqa: F811
    """A place with a report and pages, in folders whose names an address cannot have as they are."""
    place = tmp_path_factory.mktemp("linked") / "a b#c%3f?"
    for name in "pages", "d\u00e9j\u00e0: vu":
        (place / name).mkdir(parents=True)
    lines = " ".join(test_sheet.HOSTILE).encode() + b"\nw40 w41 w42 w43 w44\n"
    pipeline(bin, ["tokenize", "-m", words], ["forward-dump", "-m", words], ["topk-keys", "-t", 3],
             ["project-values", "-m", words, "-o", place / "triggers"], stdin=lines)
    ok(bin, "report-pages", "-m", words, "-o", place / "report", place / "triggers")
    rows = pipeline(bin, ["tokenize", "-m", words, "--prompt"], ["forward-dump", "-m", words, *EMIT],
                    stdin=lines)
    for name in PAGES:
        page = place / name
        ok(bin, "trace-prompts", "-m", words, "--positions", "all", "--page", page,
           "--report", place / "report", "-o", "/dev/null", stdin=rows)
    return place, rows


def first_link(chromium):
    """The memory that is shown first and its link: (layer, cell, link)."""
    link = chromium.find("#cell .memory a")
    layer, _ = selected(chromium)
    return layer + 1, int(link.text.removeprefix("cell ")), link


@pytest.mark.parametrize("page", PAGES)
def test_a_memory_leads_to_its_page_of_the_report(chromium, linked, page):
    place, _ = linked
    data = data_of((place / page).read_text())
    assert re.fullmatch(r"(\./|(\.\./)+)([\w.~%-]+/)*", data["report"])
    chromium.open(place / page)
    layer, cell, link = first_link(chromium)
    chromium.script("arguments[0].focus()", link)
    press(chromium, Keys.ENTER)
    assert chromium.driver.current_url.endswith(f"/report/index.html#/memory/{layer}/{cell}")
    WebDriverWait(chromium.driver, browsers.PATIENCE).until(
        lambda _: f"Layer {layer}, memory {cell}" in chromium.find("#main").text)
    assert chromium.complaints() == []
    assert all(url.startswith(("file:", "data:")) for url in chromium.requests())


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1400])
def test_a_report_leads_to_its_traces_and_back(bin, chromium, linked, words,  # noqa: F811
                                               tmp_path, width, dark):
    """Also when the report was moved; the name of a page stays a text."""
    place, _ = linked
    ok(bin, "report-pages", "-m", words, "-o", tmp_path / "made", "--trace", place / "pages" / "<b>&.html",
       "--trace", place / "beside.html", place / "triggers")
    (tmp_path / "made").rename(tmp_path / "moved")
    chromium.emulate(width, 800, dark)
    chromium.open(tmp_path / "moved" / "index.html")
    WebDriverWait(chromium.driver, browsers.PATIENCE).until(lambda _: chromium.find_all("ul.traces"))
    assert [item.text for item in chromium.find_all("ul.traces li")] \
        == ["<b>&.html, 2 prompts", "beside.html, 2 prompts"]
    assert chromium.script("return document.documentElement.scrollWidth") <= width
    chromium.find("ul.traces a").click()
    assert chromium.driver.current_url.endswith("/moved/traces/1.html")
    head = [cell.get_property("textContent") for cell in chromium.find_all("#grid thead th")]
    assert head[1:] == test_sheet.HOSTILE
    layer, cell, link = first_link(chromium)
    assert chromium.script("return document.documentElement.scrollWidth") <= width
    link.click()
    assert chromium.driver.current_url.endswith(f"/moved/index.html#/memory/{layer}/{cell}")
    assert chromium.complaints() == []


def test_a_copy_has_the_data_of_its_page_and_no_more(bin, linked, words, tmp_path):  # noqa: F811
    place, _ = linked
    page = place / "beside.html"
    (tmp_path / "evil.html").write_text(page.read_text().replace("<h1>", "<h1><script>intruder()</script>"))
    ok(bin, "report-pages", "-m", words, "-o", tmp_path / "report", "--trace", tmp_path / "evil.html",
       place / "triggers")
    copied = (tmp_path / "report" / "traces" / "1.html").read_text()
    assert "intruder" not in copied
    assert data_of(copied) == {**data_of(page.read_text()), "report": "../"}
    assert copied.split('id="data">')[0] == page.read_text().split('id="data">')[0]


def test_links_that_would_lead_nowhere_are_refused(bin, linked, words, small_model, tmp_path):  # noqa: F811
    place, rows = linked
    (tmp_path / "empty").mkdir()
    trace = "trace-prompts", "-m", words, "--positions", "all"
    fails(bin, *trace, "--report", place / "report", stdin=rows, status=2, says="--page goes with it")
    fails(bin, *trace, "--page", tmp_path / "page", "--report", tmp_path / "empty", stdin=rows,
          says="this is no report")
    other = pipeline(bin, ["tokenize", "-m", small_model, "--prompt"],
                     ["forward-dump", "-m", small_model, *EMIT], stdin=text(PROMPTS))
    fails(bin, "trace-prompts", "-m", small_model, "--positions", "all", "--page", tmp_path / "page",
          "--report", place / "report", stdin=other, says="a report of another model")
    ok(bin, "trace-prompts", "-m", small_model, "--positions", "all", "--page", tmp_path / "other",
       "-o", "/dev/null", stdin=other)
    report = "report-pages", "-m", words, "-o", tmp_path / "report", place / "triggers", "--trace"
    fails(bin, *report, tmp_path / "other", says="a page of another model")
    for name, content in [("none", b""), ("half", (place / "beside.html").read_bytes()[:9000]),
                          ("nul", b"\0" * 99), ("text", b"<script type=\"application/json\" id=\"data\">"
                                                b"{\"prompts\":[],\"tokens\":[],\"values\":{}}</script>")]:
        (tmp_path / name).write_bytes(content)
        fails(bin, *report, tmp_path / name, says="no page of trace-prompts")
    fails(bin, *report, tmp_path / "absent", says="absent")
    assert not (tmp_path / "report").exists() and not (tmp_path / "page").exists()
