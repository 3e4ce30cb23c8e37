"""The tokens that can follow: among them alone the most probable one is looked for and ranks are counted.
Which they are is written out here; the numbers are the NumPy oracle's, and follow from all tokens'
distributions."""

import json

import numpy as np
import pytest

import gguf_format
import oracle
import random_model
import streams
from helpers import fails, ok, pipeline, random_sentences, run, table, text

VOCABULARY = 60
LETTERS = [chr(i) for i in range(48, 48 + 40)]
BYTES = [chr(i) for i in [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)]]


def make_model(directory, vocabulary=VOCABULARY):
    random_model.write_model(directory, layers=2, d_model=16, d_ff=12, heads=2, vocabulary=vocabulary,
                             cutoffs=(7, 30), factor=2)
    return directory


def make_dictionary(directory):
    """Words that only fill it up have no count; such a name with a count is a word, and so is a rare word."""
    words = [f"w{i} {VOCABULARY - i}" for i in range(4, VOCABULARY)]
    words[5:7] = "madeupword0007 5", "madeupword 0"
    words[10:12] = "madeupword0000 0", "madeupword0001 0"
    words[-2:] = "rare 0", "madeupword0002 0"
    (make_model(directory) / "dict.txt").write_text("".join(f"{word}\n" for word in words))
    return [3, *range(4, 14), *range(16, VOCABULARY - 1)]


def tokenizer(tokens, added=(), unknown=None):
    """tokenizer.json; added: [(text, special)], with the ids behind the others'."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    ids = {**vocabulary}
    for content, _ in added:
        ids.setdefault(content, len(ids))
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [
        {"id": ids[content], "content": content, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": special} for content, special in added],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "post_processor": None, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                  "merges": []}}


def make_tokenizer(directory, *arguments, vocabulary=VOCABULARY, settings=None, **options):
    made = tokenizer(*arguments, **options)
    (make_model(directory, vocabulary) / "tokenizer.json").write_text(json.dumps(made))
    if settings:
        (directory / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **settings}))
    (directory / "dict.txt").unlink()


def make_special(directory):
    """Rows of the embedding matrix from 43 on have no token."""
    make_tokenizer(directory, LETTERS, [("<s>", True), ("<tool>", False), ("<pad>", True)])
    return [*range(40), 41]


def make_named(directory):
    """The settings name a token: it is special, whatever tokenizer.json says of it."""
    make_tokenizer(directory, LETTERS, [("<s>", True), ("<tool>", False), ("<x>", False)],
                   settings={"eos_token": "<tool>"})
    return [*range(40), 42]


def make_decoder(directory):
    """Or they list the added tokens."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    make_tokenizer(directory, LETTERS, [("<s>", True), ("<tool>", False)], settings={"added_tokens_decoder": {
        "40": {"content": "<s>", "special": True, **flags},
        "41": {"content": "<tool>", "special": False, **flags},
        "42": {"content": "<y>", "special": True, **flags}}})
    return [*range(40), 41]


def make_unknown(directory):
    """Text of other letters becomes the unknown token, special or not."""
    make_tokenizer(directory, [*LETTERS, "<unk>"], [("<unk>", True), ("<s>", True)], unknown="<unk>")
    return range(41)


def make_never_unknown(directory):
    """Each byte has a token: no text has the unknown one."""
    make_tokenizer(directory, [*BYTES, "<unk>"], [("<unk>", True)], unknown="<unk>", vocabulary=270)
    return range(256)


def make_nothing(directory):
    """No tokenizer: nothing is known of any token."""
    (make_model(directory) / "dict.txt").unlink()
    return range(VOCABULARY)


MAKERS = [make_dictionary, make_special, make_named, make_decoder, make_unknown, make_never_unknown,
          make_nothing]


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__)
def case(request, tmp_path):
    """A model's directory, and which of its tokens can follow."""
    can_follow = request.param(tmp_path / "model")
    vocabulary = json.loads((tmp_path / "model" / "config.json").read_text())["vocab_size"]
    return tmp_path / "model", np.isin(np.arange(vocabulary), list(can_follow))


def ranges(can):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], can, [0]])))
    return edges.reshape(-1, 2).tolist()


def project(bin, model, *options, **given):
    return streams.read(ok(bin, "project-values", "-m", model, *options, **given))


def test_which_tokens_can_follow(bin, case):
    """And all tools go by them: the values' tokens are the oracle's, in the order of all tokens without the
    others, with probabilities of the whole distribution, and so are ranks."""
    model, can = case
    stream, every = project(bin, model, "--all", "-k", can.sum()), \
        project(bin, model, "--all", "-k", len(can), "--all-tokens")
    assert stream.header["candidates"] == ranges(can) and every.header["candidates"] == [[0, len(can)]]
    assert [s.header["history"][-1]["options"]["all_tokens"]
            for s in (stream, every)] == [bool(can.all()), True]
    exact = oracle.load_model(model)._replace(candidates=can)
    for found, whole in zip(stream.records, every.records, strict=True):
        kept = can[whole["top"]]
        assert found["top"].tolist() == whole["top"][kept].tolist() \
            and found["top_p"].tolist() == whole["top_p"][kept].tolist()
        log_p = oracle.log_probs(exact, oracle.value_vectors(exact, found["layer"])[found["cell"]][None])[0]
        assert found["top_p"][0] == pytest.approx(np.exp(log_p[can].max()), rel=1e-4)
        assert whole["top_p"].sum(dtype=float) == pytest.approx(1, abs=1e-5)


def test_ranks_of_tokens_that_cannot_follow(bin, tmp_path):
    """They have the place that they would have: 1 more than those that can and are before them."""
    can = np.isin(np.arange(VOCABULARY), make_dictionary(tmp_path / "model"))
    model = tmp_path / "model"
    rows = table(ok(bin, "value-ranks", "-m", model, "--ids", f"0-{VOCABULARY - 1}"))
    every = project(bin, model, "--all", "-k", VOCABULARY, "--all-tokens").records
    for i, value in enumerate(every):
        mine = rows[i * VOCABULARY:(i + 1) * VOCABULARY]
        before = np.cumsum(can[value["top"]]) - can[value["top"]]
        assert [int(mine[token]["rank"]) for token in value["top"]] == (before + 1).tolist()
    whole = table(ok(bin, "value-ranks", "-m", model, "--ids", f"0-{VOCABULARY - 1}", "--all-tokens"))
    assert [row["probability"] for row in whole] == [row["probability"] for row in rows]


def test_triggers_before_and_behind_tokens_that_cannot_follow(bin, tmp_path):
    """A text may spell them out all the same: their ranks are the oracle's, too."""
    make_dictionary(tmp_path / "model")
    model, exact = tmp_path / "model", oracle.load_model(tmp_path / "model")
    lines = b"w4 <s> w5 madeupword0001\nmadeupword0002 w6 </s> w7 w8\nw9 <unk> rare\n"
    before = pipeline(bin, ["tokenize", "-m", model], ["forward-dump", "-m", model, "--with-bos"],
                      ["topk-keys", "-t", 9], stdin=lines)
    found = project(bin, model, "-k", 5, stdin=before).records
    wanted = list(oracle.project_values(exact, [r for r in streams.read(before).records if "layer" in r],
                                        k=5))
    assert any((r["next"] == 0).any() for r in wanted)
    for record, right in zip(found, wanted):
        assert np.array_equal(record["top"], right["top"])
        assert np.array_equal(record["next_rank"], right["next_rank"]) \
            and np.array_equal(record["last_rank"], right["last_rank"])
        assert record["last_p"] == pytest.approx(right["last_p"], rel=1e-4)


def test_a_model_without_a_tokenizer_has_all_tokens(bin, tmp_path):
    make_nothing(tmp_path / "model")
    model = ["-m", tmp_path / "model", "--all"]
    assert ok(bin, "project-values", *model) == ok(bin, "project-values", *model, "--all-tokens")


# ----------------------------------------------------------------------- GGUF

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = range(1, 6)


def write_gguf(path, types, kind="gpt2", without=()):
    """A Llama of one layer; the words (V, d) and values (cells, d) that it has."""
    random, d, d_ff, count = np.random.default_rng(5), 8, 16, len(types)
    shapes = {"token_embd": (count, d), "output": (count, d), "output_norm": (d,), "blk.0.attn_norm": (d,),
              "blk.0.ffn_norm": (d,), "blk.0.ffn_gate": (d_ff, d), "blk.0.ffn_up": (d_ff, d),
              "blk.0.ffn_down": (d, d_ff),
              **{f"blk.0.attn_{name}": (d, d) for name in ("q", "k", "v", "output")}}
    made = {name: random.normal(0, 1, shape).astype("<f4") for name, shape in shapes.items()}
    numbers = {"embedding_length": d, "block_count": 1, "feed_forward_length": d_ff,
               "attention.head_count": 2, "attention.head_count_kv": 2, "context_length": 64}
    texts = [f"<{i}>" if kind in (CONTROL, UNUSED) else chr(48 + i) for i, kind in enumerate(types)]
    keys = [("general.architecture", "string", "llama"),
            *((f"llama.{key}", "uint32", n) for key, n in numbers.items()),
            ("llama.attention.layer_norm_rms_epsilon", "float32", 1e-5),
            ("tokenizer.ggml.model", "string", kind), ("tokenizer.ggml.pre", "string", "gpt-2"),
            ("tokenizer.ggml.tokens", ("array", "string"), texts),
            ("tokenizer.ggml.merges", ("array", "string"), []),
            ("tokenizer.ggml.token_type", ("array", "int32"), list(types)),
            ("tokenizer.ggml.bos_token_id", "uint32", 2)]
    path.write_bytes(gguf_format.build([key for key in keys if key[0] not in without], [
        (f"{name}.weight", list(array.shape[::-1]), "F32", array.tobytes()) for name, array in made.items()]))
    return made["output"].astype(float), made["blk.0.ffn_down"].T.astype(float)


def test_types_of_a_gguf_files_tokens(bin, tmp_path):
    types = [NORMAL, CONTROL, CONTROL, USER_DEFINED, UNKNOWN, *[NORMAL] * 20, *[UNUSED] * 6, USER_DEFINED]
    can = np.isin(types, [NORMAL, USER_DEFINED])
    words, values = write_gguf(tmp_path / "model.gguf", types)
    for options, mine in ([], can), (["--all-tokens"], np.ones(len(types), bool)):
        stream = project(bin, tmp_path / "model.gguf", "--all", "-k", 3, *options)
        assert stream.header["candidates"] == ranges(mine)
        for record, log_p in zip(stream.records, oracle.log_softmax(values @ words.T), strict=True):
            best = oracle.top(log_p, 3, mine)
            assert record["top"].tolist() == best.tolist()
            assert record["top_p"] == pytest.approx(np.exp(log_p[best]), rel=1e-4)
    write_gguf(tmp_path / "model.gguf", types, without=["tokenizer.ggml.model"])
    assert project(bin, tmp_path / "model.gguf", "--all").header["candidates"] == [[0, len(types)]]


# ------------------------------------------------------------------- refusals

def test_tokenizers_that_do_not_tell(bin, tmp_path):
    """A message says what to do, and that helps."""
    model = tmp_path / "model"

    def check(says, *advice):
        message = fails(bin, "project-values", "-m", model, "--all", says=says)
        assert all(words in message for words in advice)
        assert project(bin, model, "--all", "--all-tokens").records

    make_nothing(model)
    (model / "tokenizer.model").write_bytes(b"\n")
    check("tokenizer.model: this is no model of SentencePiece")
    make_tokenizer(model, ["a"], [("a", True), ("<s>", True)])
    check("no token can follow another", "--all-tokens")
    (model / "tokenizer.json").write_text("{")
    check("tokenizer.json: line 1")
    model = tmp_path / "model.gguf"
    write_gguf(model, [NORMAL] * 20, kind="bert")
    check("tokenizer.ggml.model 'bert' is not known")


def test_more_tokens_than_can_follow(bin, tmp_path):
    count = len(make_dictionary(tmp_path / "model"))
    for option in "--tops", "--bottoms":
        ok(bin, "project-values", "-m", tmp_path / "model", "--all", option, count)
        fails(bin, "project-values", "-m", tmp_path / "model", "--all", option, count + 1, status=2,
              says=f"{option} {count + 1} is more than the {count} tokens that can follow")


def test_all_tokens_where_nothing_is_predicted(bin, tmp_path):
    make_dictionary(tmp_path / "model")
    fails(bin, "forward-dump", "-m", tmp_path / "model", "--all-tokens", stdin=b"", status=2,
          says="--all-tokens goes with --emit prediction")
    for tool in "composition-stats", "refinement-stats":
        fails(bin, tool, "--merge", "--all-tokens", "x", status=2,
              says="--merge keeps what its inputs were made with")


@pytest.fixture
def shards(bin, tmp_path):
    """Two shards' activations."""
    make_dictionary(tmp_path / "model")
    model = tmp_path / "model"
    return model, [pipeline(bin, ["tokenize", "-m", model, "--batch", 40, "--shard", f"{i}/2"],
                            ["forward-dump", "-m", model, "--emit", "coef,resid,ffn,prediction"],
                            stdin=text(random_sentences(40, VOCABULARY, longest=9))) for i in range(2)]


@pytest.mark.parametrize("tool", ["composition-stats", "refinement-stats"])
def test_sums_over_other_tokens_are_not_merged(bin, shards, tmp_path, tool):
    model, activations = shards
    scaled = ["--scaled"] if tool == "composition-stats" else []
    paths = {}
    for i, data in enumerate(activations):
        for options in (), ("--all-tokens",):
            paths[i, options] = tmp_path / f"{i}{options}"
            paths[i, options].write_bytes(ok(bin, tool, "-m", model, *scaled, "--sums", *options, stdin=data))
            header = streams.read(paths[i, options].read_bytes()).header
            assert header["candidates"] == ([[0, VOCABULARY]] if options else [[3, 14], [16, 59]])
            assert header["history"][-1]["options"]["all_tokens"] == bool(options)
    tables = [ok(bin, tool, "--merge", paths[0, options], paths[1, options])
              for options in ((), ("--all-tokens",))]
    assert tables[0] != tables[1]
    for first in (), ("--all-tokens",):
        second = () if first else ("--all-tokens",)
        done = run(bin, tool, "--merge", paths[0, first], paths[1, second])
        assert done.returncode == 1 and b"header" in done.stderr, done.stderr


def test_predictions_are_of_tokens_that_can_follow(bin, shards):
    model, activations = shards
    stream = streams.read(activations[0])
    assert stream.header["candidates"] == [[3, 14], [16, 59]]
    tops = np.concatenate([record["top"] for record in stream.records if "top" in record])
    assert set(tops.tolist()) <= {*range(3, 14), *range(16, 59)}
    plain = streams.read(pipeline(bin, ["tokenize", "-m", model], ["forward-dump", "-m", model],
                                  stdin=b"w4 w5\n"))
    assert "candidates" not in plain.header


def test_threads_do_not_matter(bin, shards):
    model, activations = shards
    for tool, options, data in [("project-values", ["--all", "-k", 1], b""),
                                ("project-values", ["--all", "-k", 9], b""),
                                ("refinement-stats", ["--sums"], activations[0]),
                                ("composition-stats", ["--scaled", "--sums"], activations[0])]:
        one = ok(bin, tool, "-m", model, *options, "--threads", 1, stdin=data)
        assert one == ok(bin, tool, "-m", model, *options, "--threads", 3, stdin=data)
        assert one != ok(bin, tool, "-m", model, *options, "--all-tokens", stdin=data)


# ---------------------------------------------------------- the shipped model

@pytest.mark.release_only
def test_table_2_has_no_special_or_filler_token(bin, model, valid, tmp_path):
    """Most of the shipped model's most confident values promote tokens that no text has."""
    triggers = pipeline(bin, ["tokenize", "-m", model, "--limit", 60], ["forward-dump", "-m", model],
                        ["topk-keys", "-t", 50],
                        stdin=valid.read_bytes())

    def tokens(*options):
        projected = ok(bin, "project-values", "-m", model, *options, stdin=triggers)
        ok(bin, "agreement-stats", "-m", model, "--top-values", tmp_path / "top-values.csv", stdin=projected)
        return [row["token"] for row in table(tmp_path / "top-values.csv")]

    def wrong(found):
        return [token
                for token in found if token in ("<s>", "<pad>", "</s>") or token.startswith("madeupword")]

    assert len(tokens()) == 100 and not wrong(tokens())
    assert wrong(tokens("--all-tokens"))
