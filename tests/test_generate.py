"""generate against forward-dump, whose passes are whole, and against NumPy's distributions; texts that go on,
end and are drawn. The reference library's own generation is compared in test_families.py."""

import json
import shutil
import subprocess

import numpy as np
import pytest

import random_model as random_models
import streams
from helpers import TIMEOUT, by_sentence, command, environment, fails, ok, sentences_of, table

NEAR = 1e-4  # what 32-bit arithmetic may change in a log-probability
EDITS = "1:0-3=*2,1:4=0.5"


def generate(bin, steps, model, *arguments, **options):
    """(text, the rows of --steps)"""
    out = ok(bin, "generate", "-m", model, "--steps", steps, *arguments, **options)
    return out, table(steps)


def predictions(bin, model, words, *options, bos=()):
    """Of one sentence, forward-dump's (top, top_logp, next_logp), and its tokens."""
    tokens = ok(bin, "tokenize", "-m", model, *bos, stdin=words)
    emit = "--emit", "prediction"
    dumped = streams.read(ok(bin, "forward-dump", "-m", model, *emit, *options, stdin=tokens))
    (sentence,) = sentences_of(dumped)
    return (*(by_sentence(dumped, name)[0] for name in ("top", "top_logp", "next_logp")), sentence)


def assert_as_forward_dump(bin, steps, model, tokens, prompt, *options, bos=()):
    """The tokens that were chosen, their probabilities, and the most probable ones, of the text read whole;
    an end token, which is not in the text, has no next one."""
    out, rows = generate(bin, steps, model, "--tokens", tokens, *bos, *options, prompt)
    top, top_logp, next_logp, sentence = predictions(bin, model, out, *options, bos=bos)
    written = [row for row in rows if int(row["id"]) in sentence]
    assert rows[:-1] == written[:len(rows) - 1] and len(written) >= 2
    count = len(written)
    assert [int(row["id"]) for row in written] == sentence[-count:]
    assert [int(row["top"]) for row in written] == top[-count:].tolist()
    for name, wanted in ("log_probability", next_logp), ("top_log_probability", top_logp):
        assert np.abs(np.array([float(row[name]) for row in written]) - wanted[-count:]).max() < NEAR


# ------------------------------------------------------------ a token at a time, and whole

@pytest.mark.parametrize("options", [[], ["--edit", EDITS], ["--edit", "1:*=0", "--edit-where", "<0.2"],
                                     ["--remove", "1:top=3"], ["--remove", "*:random=2", "--seed", 9]],
                         ids=["plain", "edited", "edited-where", "without-top", "without-random"])
def test_a_text_read_token_by_token_is_as_one_read_whole(bin, random_model, tmp_path, options):
    if "one-cell" in str(random_model) and options:
        options = ["--edit", "1:0=*2"] if options[0] == "--edit" else ["--remove", options[1][:-1] + "1"]
    assert_as_forward_dump(bin, tmp_path / "steps", random_model, 30, "w9 w12 w30 other w5", *options)


@pytest.fixture(scope="module")
def endless(small_model, tmp_path_factory):
    """The model without an end of texts."""
    return with_ends(small_model, tmp_path_factory.mktemp("endless") / "model")


@pytest.fixture(scope="module")
def values(bin, endless, tmp_path_factory):
    path = tmp_path_factory.mktemp("values") / "values"
    ok(bin, "project-values", "-m", endless, "--all", "-k", 1, "-o", path)
    return path


@pytest.mark.parametrize("bos", [(), ("--bos", "none"), ("--bos", "w7")], ids=["bos", "no-bos", "other-bos"])
def test_without_memories_that_agree_it_is_as_forward_dump(bin, endless, tmp_path, values, bos):
    """Which memories these are follows from the plain model's prediction at each position."""
    options = ["--remove", "*:agreeing=5", "--values", values]
    assert_as_forward_dump(bin, tmp_path / "steps", endless, 25, "w9 w12 w30 other", *options, bos=bos)
    if not bos:
        plain, without = (generate(bin, tmp_path / "steps", endless, "--tokens", 25, *words, "w9 w12")[1]
                          for words in ([], options))
        assert plain != without


@pytest.mark.parametrize("bos", [(), ("--bos", "none")], ids=["bos", "no-bos"])
@pytest.mark.parametrize("which", ["edited", "top", "agreeing", "random"])
def test_an_edit_of_the_last_position_is_of_each_texts_last(bin, endless, tmp_path, values, which, bos):
    """Every token is what forward-dump predicts behind the text so far, whose last position alone is
    edited."""
    edits = ["--edit", EDITS] if which == "edited" else ["--remove", f"*:{which}=4"]
    edits += ["--values", values] if which == "agreeing" else []
    options = [*edits, "--edit-at", "last"]
    prompt = "w9 w12 w30 other w5"
    everywhere, last = (generate(bin, tmp_path / "steps", endless, "--tokens", 8, *bos, *words, prompt)
                        for words in (edits, options))
    assert everywhere[1] != last[1]
    out = last[0].decode().split()
    assert len(out) == 13 == 5 + len(last[1])
    for i, row in enumerate(last[1]):
        text = " ".join(out[:6 + i]).encode()
        top, top_logp, next_logp, _ = predictions(bin, endless, text, *options, bos=bos)
        assert int(row["top"]) == top[-1]
        assert float(row["top_log_probability"]) == pytest.approx(top_logp[-1], abs=NEAR)
        assert float(row["log_probability"]) == pytest.approx(next_logp[-1], abs=NEAR)


def test_bos_that_is_said(bin, small_model, byte_model):
    """A model's own, said by its text, changes no byte; an empty prompt needs some."""
    own = ok(bin, "generate", "-m", small_model, "w9")
    assert ok(bin, "generate", "-m", small_model, "--bos", "</s>", "w9") == own
    assert ok(bin, "generate", "-m", small_model, "--bos", "w7", "w9") != own
    fails(bin, "generate", "-m", small_model, "--bos", "none", "", says="give a prompt, or --bos")
    fails(bin, "generate", "-m", small_model, "--bos", "no such", "w9", status=2, says="--bos")
    ok(bin, "generate", "-m", byte_model, "--tokens", 63, "--bos", "none", "%4")


@pytest.mark.release_only
@pytest.mark.parametrize("prompt, tokens", [("The jury said that", 15), ("He", 12)])
def test_the_shipped_model(bin, model, tmp_path, prompt, tokens):
    assert_as_forward_dump(bin, tmp_path / "steps", model, tokens, prompt)
    assert_as_forward_dump(bin, tmp_path / "steps", model, tokens, prompt, "--edit", "3:*=*0.9,16:5-90=0")


@pytest.mark.release_only
def test_smollm2(bin, smollm2, tmp_path):
    """Its file names the token that ends a turn, which comes after an answer."""
    assert_as_forward_dump(bin, tmp_path / "steps", smollm2, 20, "The history of the city begins", "--edit",
                           "3:*=*0.9,26:5-90=0")
    asked = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    out, rows = generate(bin, tmp_path / "steps", smollm2, asked)
    assert b"Paris" in out and len(rows) < 50 and rows[-1]["token"] == "<|im_end|>"
    assert out.startswith(asked.encode()) and not out.endswith(b"<|im_end|>\n")


def test_a_model_with_a_final_norm(bin, normed_model, tmp_path):
    assert_as_forward_dump(bin, tmp_path / "steps", normed_model, 20, "w9 w12 w30", "--edit", EDITS)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_do_not_matter(bin, random_model, tmp_path, threads):
    one = generate(bin, tmp_path / "steps", random_model, "--sample", "--threads", 1, "w9 w12")
    assert generate(bin, tmp_path / "steps", random_model, "--sample", "--threads", threads, "w9 w12") == one


# ------------------------------------------------------------ prompts and ends

def test_prompt_is_the_operand_or_standard_input(bin, small_model, tmp_path):
    wanted = generate(bin, tmp_path / "steps", small_model, "w9  w12")
    assert wanted[0].startswith(b"w9  w12 ") and wanted[0].endswith(b"\n") and wanted[0].count(b"\n") == 1
    for prompt in b"w9  w12", b"w9  w12\n":
        assert generate(bin, tmp_path / "steps", small_model, stdin=prompt) == wanted
        assert generate(bin, tmp_path / "steps", small_model, "-", stdin=prompt) == wanted
    empty, rows = generate(bin, tmp_path / "steps", small_model, "")
    assert empty.decode().split() == [row["token"] for row in rows][:len(empty.split())]
    assert not empty.startswith(b" ")


def test_output_is_a_file_when_it_is_complete(bin, small_model, tmp_path):
    wanted = ok(bin, "generate", "-m", small_model, "w9")
    assert ok(bin, "generate", "-m", small_model, "-o", tmp_path / "out", "w9") == b""
    assert (tmp_path / "out").read_bytes() == wanted
    done = subprocess.run(["/bin/sh", "-c", '"$@" >/dev/full', "sh",
                           *command(bin, "generate", "-m", small_model, "w9")],
                          capture_output=True, timeout=TIMEOUT, check=False, env=environment())
    assert done.returncode == 1 and done.stderr.startswith(b"generate: standard output: cannot write")


def test_a_token_is_written_when_it_is_chosen(bin, model):
    """A reader that goes away after the first words ends the tool before its many tokens."""
    argv = command(bin, "generate", "-m", model, "--tokens", 4000, "--sample", "--all-tokens", "The jury")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        process.stdout.read(len("The jury "))
        process.stdout.close()
        assert process.wait(TIMEOUT) in (0, 1) and process.stderr.read() == b""


def with_ends(model, folder, stated=None, generation=None):
    """A copy of the model whose files name these end tokens."""
    shutil.copytree(model, folder)
    config = json.loads((model / "config.json").read_text())
    config.pop("eos_token_id", None)
    if stated is not None:
        config["eos_token_id"] = stated
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_ends(bin, small_model, tmp_path):
    """Where the most probable tokens are known, one of them is made the end."""
    plain = with_ends(small_model, tmp_path / "none")
    out, rows = generate(bin, tmp_path / "steps", plain, "--tokens", 12, "w9 w12")
    ids = [int(row["id"]) for row in rows]
    assert len(rows) == 12 and len(out.split()) == 14
    end = next(token for token in ids if ids.index(token) >= 2)
    first = ids.index(end)
    for i, (stated, generation) in enumerate([(end, None), ([0, end], None), (None, {"eos_token_id": [end]}),
                                              (ids[0], {"eos_token_id": end}), (end, {"eos_token_id": None}),
                                              (end, {})]):
        folder = with_ends(small_model, tmp_path / str(i), stated, generation)
        ended, ended_rows = generate(bin, tmp_path / "steps", folder, "--tokens", 12, "w9 w12")
        assert ended.split() == out.split()[:2 + first], (stated, generation)
        assert ended_rows == rows[:first + 1]


@pytest.mark.parametrize("wrong", [100, -1, "2", [2, 3.5], [[2]], True])
def test_ends_that_are_no_tokens(bin, small_model, tmp_path, wrong):
    folder = with_ends(small_model, tmp_path / "model", generation={"eos_token_id": wrong})
    fails(bin, "generate", "-m", folder, "w9", says="generation_config.json: 'eos_token_id' must be a token")


# ------------------------------------------------------------ bytes

BYTES = [*range(33, 60), 0xc3, 0xa4, 0xa9, 0xe2, 0x82, 0xac, 0xff]


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory):
    """A small GPT-2 whose tokens are single bytes."""
    directory, random = tmp_path_factory.mktemp("bytes"), np.random.default_rng(5)
    d, vocabulary = 16, len(BYTES)
    characters = [chr(byte) if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255 else None
                  for byte in range(256)]
    others = iter(range(256, 512))
    characters = [character or chr(next(others)) for character in characters]
    (directory / "vocab.json").write_text(json.dumps({characters[byte]: i for i, byte in enumerate(BYTES)}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    special = {name: "!" for name in ("bos_token", "eos_token", "unk_token")}
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", **special}))
    (directory / "config.json").write_text(json.dumps({
        "model_type": "gpt2", "vocab_size": vocabulary, "n_embd": d, "n_layer": 2, "n_head": 4, "n_inner": 20,
        "n_positions": 64, "n_ctx": 64, "activation_function": "gelu_new", "bos_token_id": 0,
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True}))

    def normal(*shape):
        return random.normal(0, 0.5, shape).astype(np.float32)

    tensors = {"wte.weight": normal(vocabulary, d), "wpe.weight": normal(64, d), "ln_f.weight": normal(d) / 2,
               "ln_f.bias": normal(d)}
    for layer in range(2):
        shapes = {"ln_1.weight": (d,), "ln_1.bias": (d,), "ln_2.weight": (d,), "ln_2.bias": (d,),
                  "attn.c_attn.weight": (d, 3 * d), "attn.c_attn.bias": (3 * d,),
                  "attn.c_proj.weight": (d, d), "attn.c_proj.bias": (d,), "mlp.c_fc.weight": (d, 20),
                  "mlp.c_fc.bias": (20,), "mlp.c_proj.weight": (20, d), "mlp.c_proj.bias": (d,)}
        tensors |= {f"h.{layer}.{name}": normal(*shape) for name, shape in shapes.items()}
    random_models.write_tensors(directory / "model.safetensors",
                               {f"transformer.{name}": value for name, value in tensors.items()})
    return directory


def test_parts_of_characters_are_written_as_they_are(bin, byte_model, tmp_path):
    out, rows = generate(bin, tmp_path / "steps", byte_model, "--sample", "--temperature", 5, "--tokens", 60,
                         "%4")
    written = bytes(BYTES[int(row["id"])] for row in rows)
    assert out == b"%4" + written + b"\n" and max(written) > 127
    with pytest.raises(UnicodeDecodeError):
        written.decode()


def test_no_more_than_the_model_can_attend_to(bin, byte_model, tmp_path):
    ok(bin, "generate", "-m", byte_model, "--tokens", 62, "%4")  # and BOS, and one that is not read
    fails(bin, "generate", "-m", byte_model, "--tokens", 63, "%4",
          says="the prompt has 2 tokens: with --tokens 63, ")
    config = json.loads((byte_model / "config.json").read_text())
    shutil.copytree(byte_model, tmp_path / "no-bos")
    (tmp_path / "no-bos" / "config.json").write_text(json.dumps({**config, "bos_token_id": None}))
    settings = json.loads((byte_model / "tokenizer_config.json").read_text())
    (tmp_path / "no-bos" / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": None}))
    ok(bin, "generate", "-m", tmp_path / "no-bos", "--tokens", 63, "%4")
    fails(bin, "generate", "-m", tmp_path / "no-bos", "", says="give a prompt")


@pytest.mark.parametrize("prompt, says", [(b"w9\0w12", "a NUL byte"), (b"w9 \xff", "not UTF-8"),
                                          (b"w9 \xed\xa0\x80", "not UTF-8")])
def test_prompts_that_are_no_text(bin, small_model, byte_model, prompt, says):
    """As tokenize refuses them, whatever the tokenizer could make of them."""
    for model in small_model, byte_model:
        assert fails(bin, "generate", "-m", model, stdin=prompt, says=says)
        fails(bin, "tokenize", "-m", model, "--prompt", stdin=prompt, says=says)
    if b"\0" not in prompt:
        fails(bin, "generate", "-m", small_model, prompt.decode(errors="surrogateescape"), says=says)


# ------------------------------------------------------------ drawing

PROMPT = "%4(2"
DRAWS = 400


def distribution(bin, model):
    """p of each token behind the prompt, by forward-dump: a sentence for each as the next one."""
    tokens = ok(bin, "tokenize", "-m", model, stdin=(PROMPT + BYTES_TEXT[0] + "\n").encode())
    whole = streams.read(tokens)
    probabilities = np.zeros(len(BYTES))
    for token in range(len(BYTES)):
        batch = {**whole.records[0], "tok": np.array([*whole.records[0]["tok"][:-1], token], np.uint32)}
        data = streams.write(whole.header, [batch], whole.trailer)
        dumped = streams.read(ok(bin, "forward-dump", "-m", model, "--emit", "prediction", stdin=data))
        probabilities[token] = np.exp(by_sentence(dumped, "next_logp")[0][-1])
    assert abs(probabilities.sum() - 1) < 1e-5
    return probabilities


BYTES_TEXT = [chr(byte) for byte in BYTES if byte < 128]


def bounded(probabilities, temperature=1.0, top_k=0, top_p=1.0):
    """The manual's rules in NumPy."""
    order = np.argsort(-probabilities, kind="stable")
    weights = probabilities**(1 / temperature)
    if top_k:
        order = order[:top_k]
    shares = np.cumsum(weights[order]) / weights[order].sum()
    order = order[:np.searchsorted(shares, top_p) + 1] if top_p < 1 else order
    kept = np.zeros_like(weights)
    kept[order] = weights[order]
    return kept / kept.sum()


@pytest.mark.release_only
@pytest.mark.parametrize("options", [{}, {"temperature": 2.0}, {"temperature": 0.5, "top_k": 6},
                                     {"top_p": 0.7}, {"temperature": 1.5, "top_k": 9, "top_p": 0.8}], ids=str)
def test_draws_have_the_distribution(bin, byte_model, options):
    """Chi-square over the first token of texts of many seeds; the quantile 0.9999 by Wilson and Hilferty."""
    arguments = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]

    def draw(seed):
        out = ok(bin, "generate", "-m", byte_model, "--threads", 1, "--tokens", 1, "--all-tokens", "--sample",
                 "--seed", seed, *arguments, PROMPT)
        return BYTES.index(out[len(PROMPT)])

    expected = bounded(distribution(bin, byte_model), **options) * DRAWS
    found = np.bincount([draw(seed) for seed in range(DRAWS)], minlength=len(BYTES))
    assert found[expected == 0].sum() == 0
    common = expected >= 5
    cells = [*zip(found[common], expected[common])]
    if expected[~common].sum() >= 5:
        cells.append((found[~common].sum(), expected[~common].sum()))
    degrees = len(cells) - 1
    assert degrees >= 2
    statistic = sum((f - e)**2 / e for f, e in cells)
    assert statistic < degrees * (1 - 2 / (9 * degrees) + 3.719 * np.sqrt(2 / (9 * degrees)))**3


def test_the_most_probable_of_one_is_the_greedy_text(bin, small_model):
    greedy = ok(bin, "generate", "-m", small_model, "w9 w12")
    for options in ["--top-k", 1], ["--top-p", 1e-9], ["--temperature", 1e-9]:
        assert ok(bin, "generate", "-m", small_model, "--sample", *options, "w9 w12") == greedy


def test_seeds(bin, small_model):
    texts = [ok(bin, "generate", "-m", small_model, "--sample", "--seed", seed, "w9") for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]
    assert ok(bin, "generate", "-m", small_model, "--sample", "w9") == texts[0]


def test_only_tokens_that_can_follow_are_chosen(bin, small_model, tmp_path):
    """And the end token; with --all-tokens any. Of the small model, 0 to 2 are special, 3 is unknown."""
    hot = ["--sample", "--temperature", 9, "--tokens", 300]
    plain = with_ends(small_model, tmp_path / "model")
    _, rows = generate(bin, tmp_path / "steps", plain, *hot, "w9")
    assert {0, 1, 2}.isdisjoint(int(row["id"]) for row in rows) and len(rows) == 300
    _, rows = generate(bin, tmp_path / "steps", plain, *hot, "--all-tokens", "w9")
    assert {0, 1, 2} & {int(row["id"]) for row in rows}


@pytest.mark.parametrize("arguments, says", [
    (["--temperature", "2"], "go with --sample"), (["--top-k", "3"], "go with --sample"),
    (["--top-p", "0.5"], "go with --sample"), (["--sample", "--temperature", "0"], "must be above 0"),
    (["--sample", "--top-p", "0"], "a share above 0"), (["--sample", "--top-p", "1.5"], "a share above 0"),
    (["--edit", "9:1=0"], "there is no such layer"),
    (["--edit-where", ">1"], "--edit-where goes with --edit"),
    (["a", "b"], "too many operands")])
def test_wrong_usage(bin, small_model, arguments, says):
    fails(bin, "generate", "-m", small_model, *arguments, status=2, says=says)


# ------------------------------------------------------------ memories of a word

@pytest.mark.release_only
def test_memories_of_a_word_set_high_make_the_model_say_it(bin, model, tmp_path):
    """From the word to its memories to a text: by probability, at every position, and by what is written."""
    edits = tmp_path / "edits"
    ok(bin, "value-ranks", "-m", model, "--token", "city", "--top", 10, "--as-edits", 5, "-o", edits)
    prompt = "He lived in the city ."
    *_, plain, sentence = predictions(bin, model, prompt.encode())
    *_, edited, _ = predictions(bin, model, prompt.encode(), "--edits", edits)
    assert edited[4] > plain[4] + 1
    texts = [generate(bin, tmp_path / "steps", model, "--tokens", 30, *options, "He lived in the")[0]
             for options in ([], ["--edits", edits])]
    assert texts[0].split().count(b"city") < texts[1].split().count(b"city")
