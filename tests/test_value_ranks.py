"""value-ranks against NumPy: the distributions of all values, of the shipped model with its
adaptive softmax, and of a byte-level model whose words are its outputs."""

import json
import re

import numpy as np
import pytest

import oracle
import random_model
import streams
from helpers import fails, ok, run, table

COLUMNS = ["layer", "cell", "token", "id", "rank", "probability"]
NEAR = 1e-4  # what 32-bit arithmetic may change in a logarithm


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory):
    """(directory, texts, values, words): a small GPT-2 whose output is its embedding; each third word has the
    vector of the one before it, so that the two are equally probable everywhere."""
    directory, random = tmp_path_factory.mktemp("gpt2"), np.random.default_rng(3)
    layers, d, d_ff, vocabulary = 3, 24, 41, 60
    texts = ["!", *"abcdefghij", " ", *(f" {letter}" for letter in "abcdefgh"), "ab", " ab", "abc"]
    texts += [*"klmnopqrstuvwxyz", " k", " kk"]
    texts += [chr(i) for i in range(48, 48 + vocabulary - len(texts))]
    assert len(set(texts)) == vocabulary
    bytes_ = [text.replace(" ", "\u0120") for text in texts]
    (directory / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(bytes_)}))
    merges = [f"\u0120 {text[1]}" for text in texts if len(text) == 2 and text[0] == " "]
    merges += ["a b", "\u0120a b", "ab c", "\u0120k k"]
    (directory / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    special = {name: "!" for name in ("bos_token", "eos_token", "unk_token")}
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", **special}))
    (directory / "config.json").write_text(json.dumps({
        "model_type": "gpt2", "vocab_size": vocabulary, "n_embd": d, "n_layer": layers, "n_head": 4,
        "n_inner": d_ff, "n_positions": 32, "n_ctx": 32, "activation_function": "gelu_new", "bos_token_id": 0,
        "eos_token_id": 0, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True}))

    def normal(*shape):
        return random.normal(0, 0.5, shape).astype(np.float32)

    words = normal(vocabulary, d)
    words[2::3] = words[1:-1:3]
    tensors = {"wte.weight": words, "wpe.weight": normal(32, d), "ln_f.weight": normal(d),
               "ln_f.bias": normal(d)}
    for layer in range(layers):
        shapes = {"ln_1.weight": (d,), "ln_1.bias": (d,), "ln_2.weight": (d,), "ln_2.bias": (d,),
                  "attn.c_attn.weight": (d, 3 * d), "attn.c_attn.bias": (3 * d,),
                  "attn.c_proj.weight": (d, d), "attn.c_proj.bias": (d,), "mlp.c_fc.weight": (d, d_ff),
                  "mlp.c_fc.bias": (d_ff,), "mlp.c_proj.weight": (d_ff, d), "mlp.c_proj.bias": (d,)}
        tensors |= {f"h.{layer}.{name}": normal(*shape) for name, shape in shapes.items()}
    random_model.write_tensors(directory / "model.safetensors",
                               {f"transformer.{name}": value for name, value in tensors.items()})
    values = [tensors[f"h.{layer}.mlp.c_proj.weight"].astype(np.float64) for layer in range(layers)]
    return directory, texts, values, words.astype(np.float64), tensors["ln_f.weight"].astype(np.float64)


def read(data):
    rows = table(data)
    assert all(list(row) == COLUMNS for row in rows)
    return rows


def keys(rows):
    return [(int(row["layer"]), int(row["cell"]), int(row["id"])) for row in rows]


def check(rows, log_p, texts, can=True):
    """log_p: {layer from 1: values x vocabulary}; the rank as far as the logarithms tell, and equal words by
    number, among the tokens that can follow."""
    for row in rows:
        own, token = log_p[int(row["layer"])][int(row["cell"])], int(row["id"])
        assert row["token"] == texts(token)
        assert float(row["probability"]) == pytest.approx(np.exp(own[token]), rel=1e-3)
        equal = own == own[token]
        first = 1 + np.count_nonzero(
            ((own > own[token] + NEAR) & ~equal | equal & (np.arange(len(own)) < token)) & can)
        assert first <= int(row["rank"]) \
            <= first + np.count_nonzero((abs(own - own[token]) <= NEAR) & ~equal & can)


def best_first(rows):
    return sorted(rows, key=lambda row: (int(row["rank"]), -float(row["probability"]), int(row["layer"]),
                                         int(row["cell"])))


def test_the_shipped_model(bin, model):
    """Words of each cluster, in every value of two layers and, best first, of all."""
    loaded, words = oracle.load_model(model), \
        [line.rsplit(" ", 1)[0] for line in (model / "dict.txt").read_text().splitlines()]
    texts = (["<s>", "<pad>", "</s>", "<unk>"] + words).__getitem__
    asked = [texts.__self__.index("with"), 2, 1999, 2000, 7999, 8000, 21175]
    options = ["--token", "with", "--ids", "2,1999-2000,7999,8000,21175"]
    rows = read(ok(bin, "value-ranks", "-m", model, *options, "--layers", "3,16"))
    assert keys(rows) == [(layer, cell, token) for layer in (3, 16) for cell in range(512) for token in asked]
    check(rows, {layer: oracle.log_probs(loaded, oracle.value_vectors(loaded, layer - 1))
                 for layer in (3, 16)}, texts, loaded.candidates)

    everything = read(ok(bin, "value-ranks", "-m", model, *options))
    assert [row for row in everything if row["layer"] in ("3", "16")] == rows \
        and len(everything) == 16 * 512 * len(asked)
    top = read(ok(bin, "value-ranks", "-m", model, *options, "--top", 7))
    assert top == [row for token in asked
                   for row in best_first(row for row in everything if int(row["id"]) == token)[:7]]
    expected = oracle.log_probs(loaded, oracle.value_vectors(loaded, int(top[0]["layer"]) - 1))
    check(top[:1], {int(top[0]["layer"]): expected}, texts, loaded.candidates)


@pytest.mark.parametrize("norm", ["none", "gain"])
def test_a_byte_level_model_with_tied_words(bin, byte_model, norm):
    """Equal words too: the lower number comes first."""
    directory, texts, values, words, gain = byte_model
    rows = read(ok(bin, "value-ranks", "-m", directory, "--ids", "0-59", "--norm", norm, "--all-tokens"))
    assert keys(rows) == [(layer + 1, cell, token) for layer in range(3) for cell in range(41)
                          for token in range(60)]
    log_p = {i + 1: oracle.log_softmax((value * gain if norm == "gain" else value) @ words.T)
             for i, value in enumerate(values)}
    for rows_of_layer in log_p.values():
        rows_of_layer[:, 2::3] = rows_of_layer[:, 1:-1:3]  # NumPy may round equal products differently
    check(rows, log_p, texts.__getitem__)
    for value in range(0, len(rows), 60):  # each place once, and equal words in a row
        ranks = [int(row["rank"]) for row in rows[value:value + 60]]
        assert sorted(ranks) == list(range(1, 61)) and all(ranks[i] == ranks[i - 1] + 1
                                                           for i in range(2, 60, 3))


def test_the_same_as_project_values(bin, small_model):
    """To the last digit: the place in its list of all tokens, and the probability."""
    rows = read(ok(bin, "value-ranks", "-m", small_model, "--ids", "0-99", "--all-tokens"))
    values = streams.read(ok(bin, "project-values", "-m", small_model, "--all", "-k", 100,
                             "--all-tokens")).records
    wanted = [(f"{rank}", f"{p:.9g}") for value in values
              for rank, p in sorted_by_token(value)]
    assert [(row["rank"], row["probability"]) for row in rows] == wanted
    rows = read(ok(bin, "value-ranks", "-m", small_model, "--ids", "3-99"))
    values = streams.read(ok(bin, "project-values", "-m", small_model, "--all", "-k", 97)).records
    assert [(row["rank"], row["probability"]) for row in rows] == [
        (f"{rank}", f"{p:.9g}") for value in values for rank, p in sorted_by_token(value)]


def sorted_by_token(value):
    order = np.argsort(value["top"])
    return [(place + 1, value["top_p"][place]) for place in order]


def test_ties_by_layer_and_cell(bin, byte_model, tmp_path):
    """All values equal: only layer and cell are left to go by."""
    directory, *_ = byte_model
    for name in "vocab.json", "merges.txt", "tokenizer_config.json", "config.json":
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    tensors = oracle.load_safetensors(directory / "model.safetensors", np.float32)
    for layer in range(3):
        tensors[f"transformer.h.{layer}.mlp.c_proj.weight"][:] \
            = tensors["transformer.h.0.mlp.c_proj.weight"][0]
    random_model.write_tensors(tmp_path / "model.safetensors", tensors)
    for top in 1, 40, 41, 60, 122, 123, 1000:
        rows = read(ok(bin, "value-ranks", "-m", tmp_path, "--ids", 7, "--top", top, "--threads", 2))
        assert keys(rows) == [(i // 41 + 1, i % 41, 7) for i in range(min(top, 123))]


def test_threads_do_not_matter(bin, model, tmp_path):
    for options in ["--top", "9"], ["--layers", "4"]:
        one = ok(bin, "value-ranks", "-m", model, "--token", "with", "--ids", "20000", *options,
                 "--threads", 1)
        assert one == ok(bin, "value-ranks", "-m", model, "--token", "with", "--ids", "20000", *options,
                         "--threads", 3)
        ok(bin, "value-ranks", "-m", model, "--token", "with", "--ids", "20000", *options,
           "-o", tmp_path / "table")
        assert (tmp_path / "table").read_bytes() == one


def test_texts_of_tokens(bin, byte_model, small_model):
    directory, texts, *_ = byte_model
    for token in range(60):
        (row,) = read(ok(bin, "value-ranks", "-m", directory, "--token", texts[token], "--top", 1))
        assert (row["token"], row["id"]) == (texts[token], str(token))
    asked = read(ok(bin, "value-ranks", "-m", directory, "--token", " ab", "--token", "ab", "--top", 1,
                    "--layers", 2))
    assert [row["token"] for row in asked] == [" ab", "ab"]
    kk, ab = texts.index(" kk"), texts.index("ab")
    for name, text, says in [
            (directory, "abab",
             f"--token 'abab' is not one token of the model: it splits into 'ab' ({ab}), 'ab' ({ab})"),
            (directory, "kk", f"; ' kk', with a blank before it, is token {kk}"),
            (directory, "", "'' is not one token"),
            (directory, " i", f"splits into ' ' ({texts.index(' ')}), 'i' ({texts.index('i')}); 'i', without "
             f"a blank before it, is token {texts.index('i')}"),
            (directory, "\udcff", "--token takes UTF-8"),
            (small_model, "w5 nothing", "it splits into 'w5' (5), '<unk>' (3)"),
            (small_model, " w5", "'w5', without a blank before it, is token 5")]:
        message = fails(bin, "value-ranks", "-m", name, "--token", text, status=2, says=says)
        assert ("blank before" in message) == ("blank before" in says)


def test_a_token_that_no_text_has(bin, byte_model, tmp_path):
    """The model's vocabulary may be larger than the tokenizer's: these tokens are called by their numbers."""
    directory, texts, *_ = byte_model
    for name in "merges.txt", "tokenizer_config.json", "config.json", "model.safetensors":
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    vocabulary = json.loads((directory / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps({text: i for text, i in vocabulary.items() if i < 58}))
    for option in ["--ids", "59"], ["--token", "<token 59>"]:
        (row,) = read(ok(bin, "value-ranks", "-m", tmp_path, *option, "--top", 1))
        assert (row["token"], row["id"]) == ("<token 59>", "59")


def test_wrong_usage(bin, small_model, tmp_path):
    for options, says in [
            (["--ids", "5"], "--model DIR is needed"),
            (["-m", small_model], "--token TEXT or --ids LIST is needed"),
            (["-m", small_model, "--ids", "100"],
             "--ids takes a list such as 0-3,7 of numbers from 0 to 99, not '100'"),
            (["-m", small_model, "--ids", "5", "--layers", "4"],
             "--layers takes a list such as 1-3,7 of numbers from 1 to 3"),
            (["-m", small_model, "--ids", "5", "--norm", "full"], "has no final norm"),
            (["-m", small_model, "--ids", "5", "--norm", "x"],
             "--norm does not know 'x'; it takes: none, gain, full"),
            (["-m", small_model, "--ids", "5", "file"], "it reads the model alone")]:
        fails(bin, "value-ranks", *options, "-o", tmp_path / "out", status=2, says=says)
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be_written(bin, small_model):
    for options in [], ["--top", "2"]:
        done = run(bin, "/bin/sh", "-c", '"$@" >/dev/full', "sh", f"{bin}/value-ranks", "-m", small_model,
                   "--ids", "5", *options)
        assert done.returncode == 1 and done.stderr.startswith(b"value-ranks: standard output: ")


# ------------------------------------------------------------ as edits

def edit_lines(data):
    """{(layer, cell): (what it becomes, the comment as JSON's words)}, in order."""
    lines = {}
    for line in data.decode().splitlines():
        place, becomes, comment = re.fullmatch(r"(\d+:\d+)=(\S+)  # (.*)", line).groups()
        lines[tuple(map(int, place.split(":")))] = becomes, comment
    return lines


@pytest.mark.parametrize("value", ["5", "*3", "+0.5", "-2e-3", "*-1"])
def test_best_values_as_edits_are_those_of_the_table(bin, byte_model, value):
    """A value that is among the best of several tokens is one line, and its comment names them all."""
    directory, *_ = byte_model
    options = ["-m", directory, "--token", " a", "--token", "ab", "--ids", "5,6", "--top", 12]
    wanted = {}
    for row in table(ok(bin, "value-ranks", *options)):
        wanted.setdefault((int(row["layer"]), int(row["cell"])), []).append(
            f'"{row["token"]}" rank {row["rank"]}')
    found = edit_lines(ok(bin, "value-ranks", *options, "--as-edits", value))
    assert found == {place: (value, ", ".join(wanted[place])) for place in sorted(wanted)}
    assert list(found) == sorted(wanted) and len(found) < 48


def test_edits_are_read_by_the_tools_that_edit(bin, byte_model, tmp_path):
    directory, *_ = byte_model
    edits = tmp_path / "edits"
    ok(bin, "value-ranks", "-m", directory, "--token", " a", "--top", 9, "--as-edits", "*0", "-o", edits)
    listed = ",".join(line.split(" ")[0] for line in edits.read_text().splitlines())
    tokens = ok(bin, "tokenize", "-m", directory, stdin=b"ab c\n")
    assert ok(bin, "forward-dump", "-m", directory, "--edits", edits, stdin=tokens) \
        == ok(bin, "forward-dump", "-m", directory, "--edit", listed, stdin=tokens)
    assert ok(bin, "generate", "-m", directory, "--tokens", 9, "--edits", edits, "ab") \
        == ok(bin, "generate", "-m", directory, "--tokens", 9, "--edit", listed, "ab")


@pytest.mark.parametrize("options, says", [
    (["--as-edits", "5"], "--as-edits goes with --top"),
    *((["--top", "3", "--as-edits", value], "what a coefficient becomes")
      for value in ("", "x", "*", " 5", "5 ", "1e99", "nan", "3:7=0", "=5"))])
def test_edits_that_are_none(bin, byte_model, options, says):
    fails(bin, "value-ranks", "-m", byte_model[0], "--ids", "5", *options, status=2, says=says)
