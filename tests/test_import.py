"""import-model: fairseq's checkpoints become model directories, with the tensors
bit for bit, and the settings as they are; what is damaged or hostile becomes
nothing."""

import collections
import json
import pathlib
import pickle
import struct
import subprocess
import time
import zipfile

import numpy as np
import pytest

import environments
import oracle
import streams
import torch_files
from damage import MEMORY, SECONDS, bounded, complaint, in_parallel
from helpers import assert_close, by_sentence, fails, ok, run
from torch_files import Storage, Tensor

TINY = pathlib.Path(__file__).parent / "fairseq-tiny"
SAVED = ("legacy.pt", "zip.pt", "zip-cfg.pt")
FILES = ["XXH128SUMS", "config.json", "dict.txt", "model.safetensors"]
DROPPED = ("_float_tensor", "version")
EMBEDDED, TAIL = "decoder.embed_tokens.embeddings.", "decoder.adaptive_softmax.tail."
HEAD = "decoder.adaptive_softmax.head."

BASE = {  # settings as fairseq saves them, the arithmetic's part
    "arch": "transformer_lm_wiki103", "decoder_embed_dim": 16, "decoder_input_dim": 16,
    "decoder_output_dim": 16, "decoder_ffn_embed_dim": 24, "decoder_layers": 2, "decoder_attention_heads": 4,
    "adaptive_input": True, "adaptive_input_cutoff": "20,40", "adaptive_input_factor": 4.0,
    "adaptive_softmax_cutoff": "20,40", "adaptive_softmax_factor": 4.0, "tie_adaptive_weights": True,
    "tie_adaptive_proj": True, "activation_fn": "relu", "no_decoder_final_norm": True,
    "decoder_learned_pos": False, "add_bos_token": False, "dropout": 0.3}


# ------------------------------------------------------------- checkpoints made here

def shapes(settings, vocabulary=60):
    """What a fairseq model with these settings has, after its own source: {name: shape}, and
    {name of a tied one: the one it is}."""
    d, ff, get = settings["decoder_embed_dim"], settings["decoder_ffn_embed_dim"], settings.get
    found, tied = {}, {}

    def bands(kind):
        cutoffs = [int(word) for word in get(f"adaptive_{kind}_cutoff").split(",")] + [vocabulary]
        sizes = [b - a for a, b in zip([0, *cutoffs], cutoffs)]
        return [(size, int(d // get(f"adaptive_{kind}_factor") ** i)) for i, size in enumerate(sizes)]

    if get("adaptive_input"):
        for i, (size, width) in enumerate(bands("input")):
            found[f"{EMBEDDED}{i}.0.weight"], found[f"{EMBEDDED}{i}.1.weight"] = (size, width), (d, width)
    else:
        found["decoder.embed_tokens.weight"] = (vocabulary, d)
    if get("decoder_learned_pos"):
        found["decoder.embed_positions.weight"] = (34, d)
    for layer in range(settings["decoder_layers"]):
        prefix = f"decoder.layers.{layer}."
        for name in "q", "k", "v", "out":
            found[f"{prefix}self_attn.{name}_proj.weight"], \
                found[f"{prefix}self_attn.{name}_proj.bias"] = (d, d), (d,)
        for name in "self_attn_layer_norm", "final_layer_norm":
            found[f"{prefix}{name}.weight"] = found[f"{prefix}{name}.bias"] = (d,)
        found[f"{prefix}fc1.weight"], found[f"{prefix}fc1.bias"] = (ff, d), (ff,)
        found[f"{prefix}fc2.weight"], found[f"{prefix}fc2.bias"] = (d, ff), (d,)
    if not get("no_decoder_final_norm"):
        found["decoder.layer_norm.weight"] = found["decoder.layer_norm.bias"] = (d,)
    if get("adaptive_softmax_cutoff"):
        (words, _), *tails = bands("softmax")
        if get("tie_adaptive_weights"):
            tied[HEAD + "word_proj.weight"] = f"{EMBEDDED}0.0.weight"
            found[HEAD + "class_proj.weight"] = (len(tails), d)
        else:
            found[HEAD + "weight"] = (words + len(tails), d)
        for i, (size, width) in enumerate(tails):
            if get("tie_adaptive_weights"):
                tied[f"{TAIL}{i}.2.weight"] = f"{EMBEDDED}{i + 1}.0.weight"
            else:
                found[f"{TAIL}{i}.2.weight"] = (size, width)
            if get("tie_adaptive_weights") and get("tie_adaptive_proj"):
                tied[f"{TAIL}{i}.0.weight"] = f"{EMBEDDED}{i + 1}.1.weight"
            else:
                found[f"{TAIL}{i}.0.weight"] = (width, d)
    elif get("share_decoder_input_output_embed"):
        tied["decoder.output_projection.weight"] = "decoder.embed_tokens.weight"
    else:
        found["decoder.output_projection.weight"] = (vocabulary, d)
    return found, tied


class Made:
    """A checkpoint: settings, tensors (tied ones share their storage), and the arrays that are wanted of
    it."""

    def __init__(self, dtype="F32", make=Tensor, vocabulary=60, without=(), **changes):
        self.settings = {name: value for name, value in {**BASE, **changes}.items() if value is not ...}
        found, tied = shapes(self.settings, vocabulary)
        random = np.random.default_rng(11)
        self.arrays = {name: (random.normal(size=shape) * 0.3).astype({"F16": "<f2"}.get(dtype, "<f4"))
                       for name, shape in found.items()}
        self.dtype = dtype
        self.tensors = {name: (make if array.ndim == 2 else Tensor)(array, dtype)
                        for name, array in self.arrays.items()}
        for name, original in tied.items():
            self.tensors[name] = self.tensors[original]
        self.tensors["decoder.version"] = Tensor(np.array([3.0]), dtype)
        self.tensors["decoder.embed_positions._float_tensor"] = Tensor(np.array([1.0]), dtype)
        if self.settings.get("adaptive_softmax_cutoff"):
            self.tensors["decoder.adaptive_softmax.version"] = Tensor(np.array([1]), "I64")
        for name in without:
            del self.tensors[name]

    def save(self, form="zip", settings="args", protocol=2, **more):
        return torch_files.save(torch_files.checkpoint(self.settings, self.tensors, settings, **more), form,
                                protocol)


def dictionary(path, words=56):
    path.write_text("".join(f"w{i} 1\n" for i in range(words)))
    return path


def import_(bin, checkpoint, place, dictionary=TINY / "dict.txt"):
    """Imports bytes or a path; the directory, which must hold its three files and nothing else."""
    if isinstance(checkpoint, bytes):
        path = pathlib.Path(f"{place}.pt")
        path.write_bytes(checkpoint)
        checkpoint = path
    assert ok(bin, "import-model", "-d", dictionary, "-o", place, checkpoint) == b""
    assert sorted(path.name for path in place.iterdir()) == FILES
    assert (place / "dict.txt").read_bytes() == dictionary.read_bytes()
    return place


def raw_tensors(path):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    assert length % 8 == 0
    header = json.loads(data[8:8 + length])
    return {name: (entry["dtype"], entry["shape"],
                   data[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


def config_of(place):
    return json.loads((place / "config.json").read_text())


# ------------------------------------------------------- checkpoints that torch saved

@pytest.fixture(scope="module")
def tiny(bin, tmp_path_factory):
    """{checkpoint: its directory}."""
    place = tmp_path_factory.mktemp("tiny")
    return {name: import_(bin, TINY / name, place / name[:-3]) for name in SAVED}


def test_all_forms_give_the_same(tiny):
    for name in FILES:
        assert len({(place / name).read_bytes() for place in tiny.values()}) == 1, name


def test_tensors_bit_for_bit(tiny):
    """Reference: PyTorch's tensors; the tied ones are there once."""
    found, saved = raw_tensors(tiny["zip.pt"] / "model.safetensors"), \
        raw_tensors(TINY / "tensors.safetensors")
    _, tied = shapes({**BASE, "decoder_ffn_embed_dim": 48})
    assert {name: tensor for name, tensor in saved.items()
            if not name.endswith(DROPPED) and name not in tied} == found
    for name, original in tied.items():
        assert saved[name] == saved[original]


def test_settings(tiny, model):
    """The keys, in order, are the shipped model's."""
    shipped, found = config_of(model), config_of(tiny["zip.pt"])
    assert list(found) == list(shipped)
    assert found == {**shipped, "vocab_size": 60, "hidden_size": 16, "intermediate_size": 48,
                     "num_hidden_layers": 2, "num_attention_heads": 4, "embed_scale": 4.0,
                     "adaptive_input_cutoffs": [20, 40], "adaptive_softmax_cutoffs": [20, 40],
                     "torch_dtype": "float32"}


@pytest.fixture(scope="module")
def expected():
    values = json.loads((TINY / "expected.json").read_text())
    return {name: np.array(value) for name, value in values.items()}


def tokens_stream(bin, model, sentences):
    """A stream of batches of one sentence, of any tokens."""
    header = streams.read(ok(bin, "tokenize", "-m", model, stdin=b"w1\n")).header
    return streams.write(header, [{"id": i, "len": [len(tokens)], "tok": tokens}
                                  for i, tokens in enumerate(sentences)])


def test_layer_is_fairseqs(bin, tiny, expected):
    """Reference: fairseq's arithmetic in PyTorch; its layer 1, which is our layer 2."""
    sentence = [*expected["input"][1:].tolist(), 4]
    data = tokens_stream(bin, tiny["zip.pt"], [sentence])
    found = streams.read(ok(bin, "forward-dump", "-m", tiny["zip.pt"], "--emit", "coef,resid,ffn",
                            "--layers", 2, stdin=data))
    assert_close(by_sentence(found, "coef")[0][0], np.maximum(expected["fc1_layer1_preactivation"], 0))
    assert_close(by_sentence(found, "resid")[0][0], expected["residual_layer1"])
    assert_close(by_sentence(found, "ffn")[0][0], expected["ffn_layer1"])


def test_distributions_are_fairseqs(bin, tiny, expected):
    """Reference: as above; each word's log-probability as next token of each prefix."""
    read, log_p = expected["input"].tolist(), expected["log_probs"]
    assert read[0] == 2
    sentences = [[*read[1:place + 1], word] for place in range(len(read)) for word in range(60)]
    data = tokens_stream(bin, tiny["legacy.pt"], sentences)
    found = streams.read(ok(bin, "forward-dump", "-m", tiny["legacy.pt"], "--emit", "prediction",
                            "--all-tokens", stdin=data))
    last = np.array([rows[-1] for rows in by_sentence(found, "next_logp")]).reshape(len(read), 60)
    assert_close(last, log_p)
    tops = np.array([rows[-1] for rows in by_sentence(found, "top")]).reshape(len(read), 60)
    assert (tops == log_p.argmax(axis=1)[:, None]).all()


# ----------------------------------------------- checkpoints that torch saves for the test

SAVED_NOW = ["old-tied", "zip-tied", "zip-half", "old-untied", "zip-norm", "old-plain", "zip-shared"]


@pytest.fixture(scope="session")
def saved_now(tmp_path_factory):
    """The folder that fairseq_reference.py fills."""
    folder = tmp_path_factory.mktemp("fairseq")
    environments.run(environments.python(*environments.TRANSFORMERS),
                     pathlib.Path(__file__).with_name("fairseq_reference.py"), folder)
    return folder


@pytest.mark.parametrize("name", SAVED_NOW)
def test_what_torch_saves_computes_what_torch_computes(bin, saved_now, tmp_path, name):
    """Reference: torch.save in both serializations, torch's own modules for the numbers."""
    assert zipfile.is_zipfile(saved_now / f"{name}.pt") == name.startswith("zip")
    place = import_(bin, saved_now / f"{name}.pt", tmp_path / "model", dictionary(tmp_path / "dict.txt"))
    arrays = np.load(saved_now / f"{name}.npz")
    sentences = [arrays[key].tolist() for key in sorted(arrays) if key.startswith("tokens")]
    found = streams.read(ok(bin, "forward-dump", "-m", place, "--emit", "coef,resid,ffn,prediction",
                            "--all-tokens", stdin=tokens_stream(bin, place, sentences)))
    for i, tokens in enumerate(sentences):
        for key in ("resid", "coef", "ffn"):
            assert_close(by_sentence(found, key)[i], arrays[f"{key}{i}"])
        log_p = arrays[f"log_p{i}"]
        assert_close(by_sentence(found, "next_logp")[i], log_p[np.arange(len(tokens)), tokens])
        assert_close(by_sentence(found, "top_logp")[i], log_p.max(axis=1))
        assert (by_sentence(found, "top")[i] == log_p.argmax(axis=1)).all()


# ---------------------------------------------------------------------- variants

NO_ADAPTIVE = {"adaptive_input": False, "adaptive_input_cutoff": ..., "adaptive_softmax_cutoff": None,
               "tie_adaptive_weights": False, "tie_adaptive_proj": False}
PLAIN_KEYS = {"adaptive_input_cutoffs": None, "adaptive_input_factor": None, "adaptive_softmax_cutoffs": None,
              "adaptive_softmax_factor": None, "tie_adaptive_weights": False, "tie_adaptive_proj": False}
VARIANTS = {  # settings, what config.json then has
    "tied": ({}, {"tie_adaptive_weights": True, "tie_adaptive_proj": True, "final_norm": False}),
    "own projections": ({"tie_adaptive_proj": False},
                        {"tie_adaptive_weights": True, "tie_adaptive_proj": False}),
    "own words": ({"tie_adaptive_weights": False, "adaptive_softmax_cutoff": "10,30,50",
                   "adaptive_softmax_factor": 2},
                  {"tie_adaptive_weights": False, "tie_adaptive_proj": False,
                   "adaptive_softmax_cutoffs": [10, 30, 50], "adaptive_softmax_factor": 2,
                   "adaptive_input_cutoffs": [20, 40], "adaptive_input_factor": 4}),
    "final norm": ({"no_decoder_final_norm": False}, {"final_norm": True}),
    "final norm, own projections": ({"no_decoder_final_norm": False, "tie_adaptive_proj": False},
                                    {"final_norm": True, "tie_adaptive_proj": False}),
    "other factor": ({"tie_adaptive_weights": False, "adaptive_softmax_factor": 2},
                     {"adaptive_input_factor": 4, "adaptive_softmax_factor": 2}),
    "norm after the blocks": ({"decoder_normalize_before": False},
                              {"normalize_before": False, "final_norm": False}),
    "plain": (NO_ADAPTIVE, {**PLAIN_KEYS, "tie_word_embeddings": False}),
    "plain, shared": ({**NO_ADAPTIVE, "share_decoder_input_output_embed": True},
                      {**PLAIN_KEYS, "tie_word_embeddings": True}),
    "learned positions": ({"decoder_learned_pos": True},
                          {"position_embedding": "learned", "position_offset": 2}),
    "no positions": ({"no_token_positional_embeddings": True}, {"position_embedding": "none"}),
    "GELU": ({"activation_fn": "gelu"}, {"activation_function": "gelu"}),
    "GELU by tanh": ({"activation_fn": "gelu_accurate"}, {"activation_function": "gelu_new"}),
    "not scaled": ({"no_scale_embedding": True}, {"embed_scale": 1.0}),
    "BOS of its own": ({"add_bos_token": True}, {"bos_token_id": 0, "eos_token_id": 2}),
}
REFUSED_BY_THE_LOADER = {  # what is imported as it is, but has arithmetic that the suite does not know
    "own words": "'adaptive_softmax_cutoffs' must be those of the input",
    "norm after the blocks": "'normalize_before' is false; this program knows only true",
    "learned positions": "'position_embedding' is \"learned\"; this program knows only \"sinusoidal\"",
    "no positions": "'position_embedding' is \"none\"; this program knows only \"sinusoidal\"",
    "other factor": "'adaptive_softmax_factor' must be that of the input"}


def check_arrays(place, made):
    found = raw_tensors(place / "model.safetensors")
    wanted = {name: (made.dtype, list(array.shape), Storage(array, made.dtype).data)
              for name, array in made.arrays.items()}
    assert found == wanted


@pytest.mark.parametrize("form", ["zip", "old"])
@pytest.mark.parametrize("name", VARIANTS)
def test_variant(bin, tmp_path, name, form):
    """Each tensor once, under its name; the settings as they are, in both argument forms."""
    changes, wanted = VARIANTS[name]
    made = Made(**changes)
    written = []
    for settings in "args", "cfg":
        place = import_(bin, made.save(form, settings), tmp_path / settings)
        check_arrays(place, made)
        assert {**config_of(place), **wanted} == config_of(place)
        written.append([(place / file).read_bytes() for file in FILES])
    assert written[0] == written[1]


@pytest.mark.parametrize("name", VARIANTS)
def test_loader_takes_it_or_says_why_not(bin, tmp_path, name):
    """A setting of which the suite does not know the arithmetic is refused by its key, not passed over."""
    place = import_(bin, Made(**VARIANTS[name][0]).save(), tmp_path / "model")
    if name in REFUSED_BY_THE_LOADER:
        for tool in (["project-values", "--all"], ["tokenize"], ["forward-dump"]):
            fails(bin, *tool, "-m", place, stdin=b"w1\n",
                  says=f"{place}/config.json: {REFUSED_BY_THE_LOADER[name]}")
        return
    data = ok(bin, "tokenize", "-m", place, stdin=b"w1 w30 w50 w12\n")
    found = streams.read(ok(bin, "forward-dump", "-m", place, "--emit", "prediction",
                            "--all-tokens", stdin=data))
    assert found.header["tokenizer"]["bos"] == VARIANTS[name][1].get("bos_token_id", 2)
    if "plain" not in name and "GELU" not in name:  # those are compared with torch, above
        exact = oracle.load_model(place)
        log_p = oracle.log_probs(exact, oracle.forward(exact, [5, 34, 54, 16]).final)
        assert_close(by_sentence(found, "top_logp")[0], log_p.max(axis=1))


def untied(name):
    """The small checkpoint's model with copies of what it ties: {tensor: array}, and the settings."""
    tensors = oracle.load_safetensors(TINY / "tensors.safetensors", np.float32)
    settings = {**BASE, "decoder_ffn_embed_dim": 48, **VARIANTS[name][0]}
    for i in 1, 2:
        tensors[f"{TAIL}{i - 1}.0.weight"] = np.ascontiguousarray(tensors[f"{EMBEDDED}{i}.1.weight"].T)
    if name == "own words":
        settings.update(adaptive_softmax_cutoff="20,40", adaptive_softmax_factor=4)
        tensors[HEAD + "weight"] = np.concatenate(
            [tensors.pop(HEAD + "word_proj.weight"), tensors.pop(HEAD + "class_proj.weight")])
    return settings, tensors


@pytest.mark.parametrize("name", ["own projections", "own words"])
def test_untied_copies_are_the_tied_model(bin, tmp_path, tiny, expected, name):
    """Reference: fairseq's arithmetic in PyTorch, of the model whose tied tensors were copied. The suite's
    own numbers as well, as soon as its loader takes such models."""
    settings, tensors = untied(name)
    saved = torch_files.save(torch_files.checkpoint(settings,
                                                    {key: Tensor(array) for key, array in tensors.items()}))
    place, sentence = import_(bin, saved, tmp_path / "model"), [*expected["input"][1:].tolist(), 4]
    exact = oracle.load_model(place)
    assert_close(oracle.log_probs(exact, oracle.forward(exact, sentence).final), expected["log_probs"])
    done = run(bin, "forward-dump", "-m", place, "--emit", "prediction", "--all-tokens",
               stdin=tokens_stream(bin, tiny["zip.pt"], [sentence]))
    if done.returncode == 0:
        assert_close(by_sentence(streams.read(done.stdout), "top_logp")[0], expected["log_probs"].max(axis=1))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("form", ["zip", "old"])
def test_types_and_views(bin, tmp_path, dtype, form):
    """16-bit storages, and matrices that are stored transposed within a larger storage: the same tensors,
    which the forward pass reads."""
    plain, turned = Made(dtype), Made(dtype, torch_files.transposed)
    places = [import_(bin, made.save(form), tmp_path / name)
              for name, made in (("plain", plain), ("turned", turned))]
    for place in places:
        check_arrays(place, plain)
        assert config_of(place)["torch_dtype"] == {"F32": "float32", "F16": "float16",
                                                   "BF16": "bfloat16"}[dtype]
    data = ok(bin, "tokenize", "-m", places[0], stdin=b"w1 w30 w50\n")
    found = streams.read(ok(bin, "forward-dump", "-m", places[1], "--emit", "coef,prediction",
                            "--all-tokens", stdin=data))
    exact = oracle.load_model(places[0])
    activations = oracle.forward(exact, [5, 34, 54])
    assert_close(by_sentence(found, "coef")[0], activations.coef)
    assert_close(by_sentence(found, "top_logp")[0], oracle.log_probs(exact, activations.final).max(axis=1))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("form", ["zip", "old"])
def test_protocols(bin, tmp_path, protocol, form):
    made = Made()
    check_arrays(import_(bin, made.save(form, protocol=protocol), tmp_path / "model"), made)


def test_names_and_settings_of_old_versions(bin, tmp_path):
    """One tensor for queries, keys and values; norms by number; ties by their opposite; no final norm before
    version 3."""
    made = Made(no_decoder_final_norm=..., tie_adaptive_proj=..., no_tie_adaptive_proj=False)
    del made.arrays["decoder.layer_norm.weight"], made.arrays["decoder.layer_norm.bias"]
    made.tensors = {name: tensor
                    for name, tensor in made.tensors.items() if "decoder.layer_norm." not in name}
    made.tensors["decoder.version"] = Tensor(np.array([2.0]))
    made.tensors["decoder.embed_positions.weights"] = Tensor(np.zeros((9, 16)))
    for i in 1, 2:
        name = f"{TAIL}{i - 1}.0.weight"
        made.arrays.pop(name, None)
        made.tensors[name] = made.tensors[f"{EMBEDDED}{i}.1.weight"]
    for prefix in "decoder.layers.0.", "decoder.layers.1.":
        for kind in "weight", "bias":
            parts = [made.arrays[f"{prefix}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            for part in "qkv":
                del made.tensors[f"{prefix}self_attn.{part}_proj.{kind}"]
            made.tensors[f"{prefix}self_attn.in_proj_{kind}"] = Tensor(np.concatenate(parts))
            for number, norm in (0, "self_attn_layer_norm"), (2, "final_layer_norm"):
                made.tensors[f"{prefix}layer_norms.{number}.{kind}"] = made.tensors.pop(
                    f"{prefix}{norm}.{kind}")
    place = import_(bin, made.save("old"), tmp_path / "model")
    check_arrays(place, made)
    assert (config_of(place)["final_norm"], config_of(place)["tie_adaptive_proj"]) == (False, True)


def test_what_else_a_checkpoint_holds(bin, tmp_path):
    """States of the training are passed over: nothing looks into them."""
    made = Made()
    more = {"optimizer_history": [{"num_updates": 5, "lr": [0.25, None]}],
            "extra_state": {"seen": {1, 2}, "b": b"\0\1", "epoch": 2**70, "ratio": 1j,
                            "frozen": frozenset([3]), "loss": np.float64(2.5), "state": np.arange(3)},
            "last_optimizer_state": {"state": {0: {"step": 1, "exp_avg": Tensor(np.arange(6.0), "F64")}}},
            "task_state": collections.OrderedDict(deep=[[[[()]]]])}
    for form in "zip", "old":
        check_arrays(import_(bin, made.save(form, **more), tmp_path / form), made)
    check_arrays(import_(bin, made.save("zip", protocol=4, **more), tmp_path / "protocol-4"), made)


def test_cutoffs_as_lists_and_with_the_vocabulary(bin, tmp_path):
    made = Made()
    for i, cutoffs in enumerate(("20,40,60", "[20, 40]", [20, 40], (20, 40, 60))):
        made.settings.update(adaptive_input_cutoff=cutoffs, adaptive_softmax_cutoff=cutoffs)
        place = import_(bin, made.save(), tmp_path / str(i))
        assert config_of(place)["adaptive_softmax_cutoffs"] == [20, 40]


def test_a_dictionary_of_another_size_is_refused(bin, tmp_path):
    """It is another model's, or was cut: words would have other numbers."""
    made = Made()
    (tmp_path / "model.pt").write_bytes(made.save())
    for words, says in (50, "54 words and special symbols, the model has 60"), \
            (0, "4 words and special symbols"), \
            (57, "more words than the model's vocabulary of 60"):
        path = dictionary(tmp_path / f"{words}.txt", words)
        fails(bin, "import-model", "-d", path, "-o", tmp_path / "model", tmp_path / "model.pt",
              says=f"{path}: {says}"
              if words < 56 else says)
        assert not (tmp_path / "model").exists()


def test_sums_of_the_files_are_what_xxhsum_says(bin, tmp_path):
    """Oracle: Debian's xxhsum, which the list is for."""
    place = import_(bin, Made().save(), tmp_path / "model")
    checked = subprocess.run(["xxhsum", "-c", "XXH128SUMS"], cwd=place, capture_output=True, text=True,
                             check=True)
    assert checked.stdout.splitlines() == [f"{name}: OK" for name in FILES[1:]]


# ---------------------------------------------------------------------- refusals

@pytest.fixture(scope="module")
def dict_txt(tmp_path_factory):
    return dictionary(tmp_path_factory.mktemp("dictionary") / "dict.txt")


def check(bin, dict_txt, directory, cases, memory=MEMORY):
    """cases: (label, the file's bytes, what the message says; None: it may also be taken as it is)."""
    def judge(numbered):
        number, (label, data, says) = numbered
        place = directory / f"{number}"
        place.mkdir()
        (place / "model.pt").write_bytes(data)
        start = time.monotonic()
        argv = bounded(bin, "import-model", "-d", dict_txt, "-o", place / "out", place / "model.pt",
                       memory=memory)
        done = run(bin, *argv, cwd=place)
        if time.monotonic() - start > SECONDS:
            return f"{label}: took more than {SECONDS} seconds"
        left = sorted(path.name for path in place.iterdir())
        if says is None and done.returncode == 0:
            return None if left == ["model.pt", "out"] else f"{label}: {left}"
        wrong = complaint("import-model", place / "model.pt", done, says or "")
        return f"{label}: {wrong}" if wrong else None if left == ["model.pt"] \
            else f"{label}: left behind: {left}"

    found = list(filter(None, in_parallel(judge, enumerate(cases))))
    assert not found, f"{len(found)} of {len(cases)}:\n" + "\n".join(found[:100])


def both_forms(cases):
    """Pickles -> checkpoints."""
    return [(f"{label}, {form.__name__}", form(data), says) for label, data, says in cases
            for form in (torch_files.zip_form, torch_files.old_form)]


class Call:
    """Pickled, it is a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


TOUCH = b"X\x0c\x00\x00\x00touch marker"
ALLOWED = b"ccollections\nOrderedDict\n"


def calls():
    """(label, pickle, message): whatever would run something, each way to ask for it."""
    for module, name in (("os", "system"), ("posix", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
                         ("builtins", "exec"), ("builtins", "getattr"), ("__builtin__", "getattr"),
                         ("torch", "load"),
                         ("operator", "attrgetter"), ("collections", "namedtuple"),
                         ("argparse", "Namespace.__init__"),
                         ("torch._utils", "_rebuild_parameter_with_state"), ("", "")):
        asks = f"'{module}.{name}'"
        names = f"{module}\n{name}\n".encode()
        short = [bytes([0x8C, len(part)]) + part.encode() for part in (module, name)]
        yield f"GLOBAL {asks}", b"\x80\x02c" + names + TOUCH + b"\x85R.", f"GLOBAL asks for {asks}"
        yield f"STACK_GLOBAL {asks}", b"\x80\x04" + b"".join(short) + b"\x93" + TOUCH + b"\x85R.", \
            f"STACK_GLOBAL asks for {asks}"
        yield f"NEWOBJ {asks}", b"\x80\x02c" + names + TOUCH + b"\x85\x81.", f"GLOBAL asks for {asks}"
        yield f"INST {asks}", b"\x80\x02(" + TOUCH + b"i" + names + b".", "opcode INST"
    yield "OBJ", b"\x80\x02(" + ALLOWED + TOUCH + b"o.", "opcode OBJ"
    yield "NEWOBJ_EX", b"\x80\x04" + ALLOWED + b")}\x92.", "opcode NEWOBJ_EX"
    for code, name, size in (0x82, "EXT1", 1), (0x83, "EXT2", 2), (0x84, "EXT4", 4):
        yield name, b"\x80\x02" + bytes([code]) + b"\1" * size + b")R.", f"opcode {name}"
    yield "PERSID", b"\x80\x02Pstorage\n.", "opcode PERSID"
    for text, name in (b"I1\n", "INT"), (b"L1\n", "LONG"), (b"F1\n", "FLOAT"), (b"S'a'\n", "STRING"), \
            (b"Va\n", "UNICODE"), (b"(l", "LIST"), (b"(d", "DICT"), (b"g0\n", "GET"), (b"Np0\n", "PUT"), \
            (b"N2", "DUP"):
        yield name, text + b".", f"opcode {name}"
    yield "bytearray", b"\x80\x04\x96" + bytes(8) + b".", "opcode BYTEARRAY8"
    yield "call of a text", b"\x80\x02" + TOUCH + TOUCH + b"\x85R.", "calls a text"
    yield "call of what a call gave", b"\x80\x02cbuiltins\nset\n)R)R.", "calls set"
    yield "call with a text", b"\x80\x02cbuiltins\nset\n" + TOUCH + b"R.", "with a text"
    yield "module that is a number", b"\x80\x04K\1\x8c\6system\x93.", "by an integer and a text"
    yield "protocol 5", b"\x80\x05N.", "protocol 5"
    yield "protocol 1", b"\x80\x01N.", "protocol 1"
    yield "arguments to OrderedDict", b"\x80\x02" + ALLOWED + b"]\x85R.", "gives arguments to 'OrderedDict'"
    yield "a state for a text", b"\x80\x02" + TOUCH + b"}b.", "gives a dictionary to a text"
    yield "two states", b"\x80\x02cargparse\nNamespace\n)\x81}b}b.", "which has a state"
    yield "real one", pickle.dumps(Call(eval, "print(1)"), 2), "'__builtin__.eval'"
    yield "real one in a checkpoint", pickle.dumps({"args": None, "x": [Call(exec, "import os")]}, 4), \
        "'builtins.exec'"


def test_nothing_is_executed(bin, dict_txt, tmp_path):
    check(bin, dict_txt, tmp_path, both_forms(calls()))
    assert not list(tmp_path.glob("*/marker"))


def bombs():
    """(label, pickle, message): small files that ask for much."""
    million = 1 << 20
    yield "marks", b"(" * million, "nested deeper"
    yield "lists in lists", b"]" * million + b"a" * (million - 1) + b".", "no settings"
    yield "tuples in tuples", b")" + b"\x85" * million + b".", "no settings"
    yield "dictionaries in dictionaries", b"}" + b"K\1}" * million + b"s" * million + b".", "more than"
    yield "values", b"N0" * (3 * million), "more than"
    yield "memo's end", b"\x80\x02Nr\xff\xff\xff\xff.", "too large for a place in the memo"
    yield "memo beyond the file", b"\x80\x02Nr\0\0\1\0.", "too large for a place in the memo"
    yield "memo's nothing", b"\x80\x02j\xff\xff\xff\xff.", "nothing was put"
    yield "memo's holes", b"\x80\x02NNNNNNNNNq\5h\4.", "nothing was put"
    laugh = b"\x80\x02]q\0" + b"".join(
        b"](" + bytes([ord("h"), i]) * 10 + b"eq" + bytes([i + 1]) for i in range(100)) + b"."
    yield "a billion laughs", laugh, "left over"
    yield "itself", b"\x80\x02]q\0h\0a.", "no settings"
    yield "itself as settings", b"\x80\x02}q\0(X\4\0\0\0argsh\0X\5\0\0\0modelh\0u.", \
        "'decoder_layers' is missing"
    yield "one text a million times", b"X\0\0\1\0" + b"a" * 65536 + b"q\0](" + b"h\0" * million + b"e\x86.", \
        "no settings"
    for name, code, size in (("BINUNICODE8", 0x8D, 8), ("BINBYTES8", 0x8E, 8), ("FRAME", 0x95, 8),
                             ("BINUNICODE", ord("X"), 4), ("BINBYTES", ord("B"), 4), ("LONG4", 0x8B, 4),
                             ("BINSTRING", ord("T"), 4), ("SHORT_BINUNICODE", 0x8C, 1), ("LONG1", 0x8A, 1)):
        for number in (255, 127):
            claim = b"\xff" * (size - 1) + bytes([number])
            yield f"{name} {number}", b"\x80\x04" + bytes([code]) + claim + b"short.", f"opcode {name} claims"
    for name, data in (("STOP", b"."), ("TUPLE", b"t."), ("TUPLE3", b"NN\x87."), ("APPENDS", b"e."),
                       ("SETITEMS", b"u."),
                       ("SETITEM", b"}Ns."), ("APPEND", b"]a."), ("REDUCE", b")R."), ("BUILD", b"}b."),
                       ("POP", b"0."),
                       ("POP_MARK", b"1."), ("MEMOIZE", b"\x94."), ("BINPERSID", b"Q."),
                       ("STACK_GLOBAL", b"N\x93."),
                       ("FROZENSET", b"\x91."), ("TUPLE2", b"N(N\x86.")):
        yield f"empty stack, {name}", b"\x80\x04" + data, f"opcode {name}"
    yield "an odd dictionary", b"\x80\x02}(Nu.", "cannot hold"
    yield "a dictionary as a list", b"\x80\x02}(NNe.", "cannot hold"
    yield "a container beyond the mark", b"\x80\x02]((Ne.", "cannot hold"
    yield "two values", b"\x80\x02NN.", "left over"
    yield "an open mark", b"\x80\x02(N.", "left over"
    yield "no opcode", b"\x80\x02\xff.", "0xff is not an opcode"
    yield "no line", b"\x80\x02ccollections", "without the end of its line"


def test_bombs_and_nonsense(bin, dict_txt, tmp_path):
    """Bounded time and memory, whatever is claimed."""
    check(bin, dict_txt, tmp_path, both_forms(bombs()))


@pytest.mark.parametrize("form", ["zip", "old"])
def test_tensors_that_do_not_fit(bin, dict_txt, tmp_path, form):
    made = Made()
    name = "decoder.layers.0.fc1.weight"
    storage = Storage(np.zeros(384))

    def view(**options):
        return torch_files.save(torch_files.checkpoint(
            made.settings,
            {**made.tensors, name: Tensor(storage=options.pop("storage", storage), **options)}), form)

    fits = {"storage": storage, "shape": (24, 16)}
    cases = [
        ("offset", view(**fits, offset=1), f"'{name}' reaches beyond"),
        ("large offset", view(**fits, offset=2**62), f"'{name}' reaches beyond"),
        ("negative offset", view(**fits, offset=-1), f"'{name}' is not made as"),
        ("row's stride", view(**fits, strides=(17, 1)), f"'{name}' reaches beyond"),
        ("column's stride", view(**fits, strides=(16, 2)), f"'{name}' reaches beyond"),
        ("large stride", view(**fits, strides=(2**62, 1)), f"'{name}' reaches beyond"),
        ("strides that wrap", view(**fits, strides=(2**63 - 1, 2**63 - 1)), f"'{name}' reaches beyond"),
        ("negative stride", view(**fits, strides=(-16, 1)), f"'{name}' is not made as"),
        ("strides for another shape", view(**fits, strides=(16, 1, 1)), f"'{name}' is not made as"),
        ("shape", view(storage=storage, shape=(25, 16)), f"'{name}' reaches beyond"),
        ("large shape", view(storage=storage, shape=(2**31, 2**31), strides=(0, 0)),
         f"'{name}' reaches beyond"),
        ("shape that wraps", view(storage=storage, shape=(2**33, 2**33), strides=(0, 0)),
         f"'{name}' reaches beyond"),
        ("negative shape", view(storage=storage, shape=(-24, 16)), f"'{name}' is not made as"),
        ("shape with a real number", view(storage=storage, shape=(24.0, 16)), f"'{name}' is not made as"),
        ("nine dimensions", view(storage=storage, shape=(24, 16) + (1,) * 7), f"'{name}' is not made as"),
        ("no storage", view(storage="0", shape=(24, 16)), f"'{name}' is not made as"),
        ("other shape", view(storage=storage, shape=(16, 24)), f"'{name}' has shape [16, 24]"),
        ("vector", view(storage=storage, shape=(384,)), f"'{name}' has shape [384]"),
        ("empty", view(storage=storage, shape=(0, 16)), f"'{name}' has shape [0, 16]"),
        ("storage shorter than said", view(storage=Storage(np.zeros(383), count=384), shape=(24, 16)),
         "storage '"),
        ("storage longer than said", view(storage=Storage(np.zeros(385), count=384), shape=(24, 16)), ""),
        ("storage of exabytes", view(storage=Storage(np.zeros(384), count=2**60), shape=(24, 16)), "claims"),
        ("storage of a negative size", view(storage=Storage(np.zeros(384), count=-1), shape=(24, 16)),
         "no storage"),
        ("64-bit numbers", view(storage=Storage(np.zeros(384), "F64"), shape=(24, 16)), "is of type F64"),
        ("integers", view(storage=Storage(np.zeros(384), "I32"), shape=(24, 16)), "is of type I32"),
    ]
    check(bin, dict_txt, tmp_path, cases)


def test_tensors_that_lie_over_each_other(bin, dict_txt, tmp_path):
    """A model of 4,096 layers in a file for one."""
    made = Made(decoder_layers=1, decoder_ffn_embed_dim=400)
    made.settings["decoder_layers"] = 500
    for layer in range(1, 500):
        made.tensors.update({name.replace(".0.", f".{layer}.", 1): tensor
                             for name, tensor in made.tensors.items()
                             if name.startswith("decoder.layers.0.")})
    check(bin, dict_txt, tmp_path,
          [(form, made.save(form), "they lie over each other") for form in ("zip", "old")])


def test_settings_that_are_refused(bin, dict_txt, tmp_path):
    cases = []
    for changes, says in (
            ({"decoder_layers": ...}, "'decoder_layers' is missing"),
            ({"decoder_embed_dim": "16"}, "'decoder_embed_dim'"),
            ({"decoder_layers": 3}, "no tensor 'decoder.layers.2.self_attn.q_proj.weight'"),
            ({"decoder_layers": 1}, "'decoder.layers.1."), ({"decoder_layers": 0}, "'decoder_layers'"),
            ({"decoder_layers": 2**40}, "'decoder_layers'"), ({"decoder_layers": -1}, "'decoder_layers'"),
            ({"decoder_ffn_embed_dim": 23}, "has shape [24, 16]"),
            ({"decoder_ffn_embed_dim": 23.5}, "'decoder_ffn"),
            ({"decoder_attention_heads": 3}, "'decoder_attention_heads'"),
            ({"activation_fn": "mish"}, "'mish'"),
            ({"adaptive_input_cutoff": "20,30"},
             "'adaptive_input_cutoff' and 'adaptive_softmax_cutoff' differ"),
            ({"adaptive_softmax_factor": 2}, "'adaptive_softmax_factor' differ"),
            ({"adaptive_input_cutoff": "30,40", "adaptive_softmax_cutoff": "30,40"}, "has shape [20, 16]"),
            ({"adaptive_input_cutoff": "20,61", "adaptive_softmax_cutoff": "20,61"}, "beyond the 60 words"),
            ({"adaptive_input_cutoff": "40,20"}, "numbers that rise"),
            ({"adaptive_input_cutoff": "0,20"}, "that rise"),
            ({"adaptive_input_cutoff": "twenty"}, "numbers that rise"),
            ({"adaptive_input_cutoff": "2" * 99}, "that rise"),
            ({"adaptive_input_cutoff": {"20": 1}}, "numbers that rise"),
            ({"adaptive_input_cutoff": []}, "that rise"),
            ({"adaptive_input_cutoff": list(range(1, 20))}, "numbers that rise"),
            ({"adaptive_input_cutoff": [20, 2**62]}, "numbers that rise"),
            ({"adaptive_input_cutoff": None}, "'adaptive_input_cutoff' is missing"),
            ({"adaptive_input_factor": 0}, "'adaptive_input_factor'"),
            ({"adaptive_input_factor": 1.5}, "_factor'"),
            ({"adaptive_input_factor": 5, "adaptive_softmax_factor": 5}, "ask for [20, 3]"),
            ({"adaptive_input_factor": 17, "adaptive_softmax_factor": 17}, "without dimensions"),
            ({"adaptive_input": False}, "'adaptive_input' is not"),
            ({"adaptive_input": "yes"}, "'adaptive_input' is a text"),
            ({"adaptive_softmax_cutoff": None}, "'adaptive_softmax_cutoff' is not"),
            ({"tie_adaptive_weights": False}, "no tensor 'decoder.adaptive_softmax.head.weight'"),
            ({"no_decoder_final_norm": False}, "no tensor 'decoder.layer_norm.weight'"),
            ({"decoder_input_dim": 8}, "'decoder_input_dim'"),
            ({"decoder_output_dim": 8}, "'decoder_output_dim'"),
            ({"arch": "transformer_iwslt_de_en"}, "'transformer_iwslt_de_en'"),
            ({"base_layers": 1}, "'base_layers'"),
            ({"layernorm_embedding": True}, "'layernorm_embedding'"),
            ({"character_embeddings": True}, "'character_"),
            ({"decoder_layers_to_keep": "0,1"}, "'decoder_layers_to_keep'"),
            ({"scale_heads": True}, "'scale_heads'"),
            ({"decoder_learned_pos": True}, "no tensor 'decoder.embed_positions.weight'")):
        made = Made()
        made.settings = {name: value
                         for name, value in {**made.settings, **changes}.items() if value is not ...}
        cases += [(f"{changes}, {form}", made.save(settings=form), says) for form in ("args", "cfg")]
    check(bin, dict_txt, tmp_path, cases)


def test_trees_that_are_no_checkpoint(bin, dict_txt, tmp_path):
    made = Made()
    other = Tensor(made.arrays[f"{EMBEDDED}1.0.weight"] + 1)
    state = dict(made.tensors)

    def save(tensors, **tree):
        return torch_files.save({**torch_files.checkpoint(made.settings, tensors), **tree})

    cases = [
        ("a number", torch_files.save(5), "no settings"), ("a list", torch_files.save([]), "no settings"),
        ("no settings", save(state, args=None), "no settings"),
        ("settings of another kind", save(state, args=5), "missing"),
        ("groups without the model's", save(state, args=None, cfg={"task": {}}), "no settings"),
        ("no tensors", save(state, model=None), "no dictionary of tensors"),
        ("empty", save(state, model={}), "embedded words"),
        ("a number for a tensor", save({**state, "decoder.x": 5}), "an integer, not a tensor"),
        ("a number for a name", save({**state, 5: other}), "an integer for a tensor's name"),
        ("one too many", save({**state, "decoder.x": other}), "'decoder.x' is none that"),
        ("an encoder", save({**state, "encoder.layers.0.fc1.weight": other}),
         "'encoder.layers.0.fc1.weight'"),
        ("one too few", save({k: v for k, v in state.items() if "1.fc2.bias" not in k}),
         "'decoder.layers.1.fc2.bias'"),
        ("tied words that differ", save({**state, TAIL + "0.2.weight": other}),
         "differ, but the settings tie them"),
        ("tied words of another type",
         save({**state, TAIL + "0.2.weight": Tensor(made.arrays[f"{EMBEDDED}1.0.weight"],
"F16")}), "differ, but the settings tie them"),
        ("one by two names", save({**state, "decoder.layers.0.self_attn.in_proj_bias": Tensor(np.zeros(48))}),
         "'decoder.layers.0.self_attn.q_proj.bias' is there a second time"),
        ("three that cannot be cut",
         save({**state, "decoder.layers.0.self_attn.in_proj_bias": Tensor(np.zeros(47))}),
         "cannot be cut into three"),
    ]
    check(bin, dict_txt, tmp_path, cases)


# ------------------------------------------------------------- files that are damaged

def test_zip_files(bin, dict_txt, tmp_path):
    made = Made()
    data_pkl, storages = torch_files.pickled(torch_files.checkpoint(made.settings, made.tensors))
    data = [storage.data for storage in storages]
    good = torch_files.zip_form(data_pkl, data)
    bad_sum = bytearray(good)
    bad_sum[good.index(data[2])] ^= 1
    cases = [
        ("compressed", torch_files.zip_form(data_pkl, data, compression=zipfile.ZIP_DEFLATED),
         "is compressed"),
        ("big endian", torch_files.zip_form(data_pkl, data, byteorder=b"big"), "not little endian"),
        ("two trees", torch_files.zip_form(data_pkl, data, more=[("more/data.pkl", data_pkl)]),
         "more than one 'data.pkl'"),
        ("no tree", torch_files.zip_form(data_pkl, data).replace(b"data.pkl", b"tree.pkl"),
         "without 'data.pkl'"),
        ("no storages", torch_files.zip_form(data_pkl), "there is no storage '"),
        ("a storage too few", torch_files.zip_form(data_pkl, data[:-9]), "there is no storage '"),
        ("storages cut", torch_files.zip_form(data_pkl, [part[:-1] for part in data]), "its tensors need"),
        ("bytes behind the pickle", torch_files.zip_form(data_pkl + b"N.", data),
         "2 bytes follow the pickle"),
        ("a wrong sum", bytes(bad_sum), "damaged"),
        ("only a beginning", b"PK\3\4" + bytes(100), "zip"),
        ("an empty archive", b"PK\5\6" + bytes(18), "not "),
    ]
    for field, what in ((20, "compressed size"), (24, "size")):  # in the directory's first entry, data.pkl's
        huge = bytearray(good)
        place = good.index(b"PK\1\2")
        struct.pack_into("<I", huge, place + field, 0xFFFFFFF0)
        cases.append((f"huge {what}", bytes(huge), ""))
    both = bytearray(good)
    struct.pack_into("<II", both, good.index(b"PK\1\2") + 20, 0x7FFFFFF0, 0x7FFFFFF0)
    cases.append(("huge", bytes(both), ""))
    check(bin, dict_txt, tmp_path, cases)
    assert import_(bin, torch_files.zip_form(data_pkl, data, prefix="", byteorder=None),
                   tmp_path / "no-folder")


def test_old_files(bin, dict_txt, tmp_path):
    made = Made()
    data_pkl, storages = torch_files.pickled(torch_files.checkpoint(made.settings, made.tensors), old=True)
    data = [(storage.count, storage.data) for storage in storages]
    counts, keys = [count for count, _ in data], [str(key) for key in range(len(data))]

    def old(**options):
        return torch_files.old_form(data_pkl, data, **options)

    check(bin, dict_txt, tmp_path, [
        ("another magic number", old(magic=torch_files.MAGIC_NUMBER + 1), "magic number"),
        ("a small magic number", old(magic=5), "magic number"),
        ("another version", old(version=1002), "version"),
        ("big endian", old(little=False), "little endian"),
        ("a key twice", old(keys=[*keys[:-1], "0"]), "or one twice"),
        ("a key of nobody", old(keys=[*keys[:-1], "x"]), "no tensor names"),
        ("a key too few", old(keys=keys[:-1]), "list of"),
        ("a key too many", old(keys=[*keys, "x"]), "list of storages"),
        ("no keys", old(keys=None or []), "list of storages"),
        ("a number for a key", old(keys=[*keys[:-1], 5]), "no tensor names"),
        ("keys as text", old(keys="012"), "list of"),
        ("another count", old(counts=[counts[0] + 1, *counts[1:]]), "elements"),
        ("a huge count", old(counts=[2**62, *counts[1:]]), "elements"),
        ("a negative count", old(counts=[-1, *counts[1:]]), ""),
        ("more behind it", old() + b"x", "1 bytes follow"),
        ("text", b"not a checkpoint at all\n", "not a checkpoint"),
        ("empty", b"", "too short"), ("three bytes", b"\x80\2N", "too short"),
    ])


@pytest.mark.parametrize("name", SAVED)
def test_cut_anywhere(bin, dict_txt, tmp_path, name):
    data = (TINY / name).read_bytes()
    step = 97 if "release" in bin.name else 997
    places = sorted({*range(0, len(data), step), 1, 2, 3, 4, 5, len(data) - 1, len(data) - 22,
                     len(data) - 23})
    check(bin, dict_txt, tmp_path, [(f"cut at {place}", data[:place], "") for place in places])


@pytest.mark.parametrize("name", SAVED)
def test_flipped_bits(bin, dict_txt, tmp_path, name):
    """Taken or refused, never worse. A zip file's sums tell a change of what is read: taken is then taken as
    it was."""
    data, random = (TINY / name).read_bytes(), np.random.default_rng(3)
    cases = []
    for i in range(400 if "release" in bin.name else 100):
        damaged = bytearray(data)
        damaged[int(random.integers(len(data) if i % 2 else 9000))] ^= 1 << int(random.integers(8))
        cases.append((f"flip {i}", bytes(damaged), None))
    check(bin, dict_txt, tmp_path, cases)
    if name != "legacy.pt":
        good = import_(bin, TINY / name, tmp_path / "good", dict_txt)
        for place in tmp_path.glob("*/out"):
            for file in FILES:
                assert (place / file).read_bytes() == (good / file).read_bytes(), place


def test_dictionaries(bin, tmp_path):
    checkpoint = TINY / "zip.pt"
    for name, text, says in (("large", "".join(f"w{i} 1\n" for i in range(57)), "line 57: more words than"),
                             ("twice", "a 1\na 2\n", "line 2: the word 'a' is here a second time"),
                             ("no count", "a 1\nb\n", "line 2: 'word count' is expected"),
                             ("special", "<pad> 1\n", "line 1: the word '<pad>'")):
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        fails(bin, "import-model", "-d", path, "-o", tmp_path / "out", checkpoint,
              says=f"import-model: {path}: {says}")
    fails(bin, "import-model", "-d", tmp_path / "none", "-o", tmp_path / "out", checkpoint,
          says="none: No such file")
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".txt"]


def test_places(bin, tmp_path):
    """What is there stays; what cannot be made is said."""
    checkpoint, dict_txt = TINY / "zip.pt", TINY / "dict.txt"
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")
    for name in "directory", "directory/", "file", "link":
        fails(bin, "import-model", "-d", dict_txt, "-o", f"{tmp_path}/{name}", checkpoint,
              says=f"{name}: exists")
    fails(bin, "import-model", "-d", dict_txt, "-o", tmp_path / "no" / "where", checkpoint,
          says="where: cannot create")
    fails(bin, "import-model", "-d", dict_txt, "-o", tmp_path / "out", tmp_path, says="not a regular file")
    fails(bin, "import-model", "-d", dict_txt, "-o", tmp_path / "out", tmp_path / "none",
          says="none: No such file")
    fails(bin, "import-model", "-d", dict_txt, "-o", tmp_path / "out", status=2, says="no checkpoint")
    fails(bin, "import-model", "-o", tmp_path / "out", checkpoint, status=2, says="--dictionary")
    fails(bin, "import-model", "-d", dict_txt, checkpoint, status=2, says="--output")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file", "link"]
    assert (tmp_path / "file").read_text() == "kept"
    import_(bin, checkpoint, tmp_path / "out")
    ok(bin, "import-model", "-d", dict_txt, "-o", f"{tmp_path}/slash/", checkpoint)
    assert sorted(path.name for path in (tmp_path / "slash").iterdir()) == FILES


def test_full_disk(bin, tmp_path):
    """Nothing stays of a directory that could not be completed."""
    argv = ["/bin/sh", "-c", 'ulimit -f 8; exec "$0" "$@"', bin / "import-model", "-d", TINY / "dict.txt",
            "-o", tmp_path / "out", TINY / "zip.pt"]
    assert run(bin, *argv).returncode != 0
    assert not list(tmp_path.iterdir())
