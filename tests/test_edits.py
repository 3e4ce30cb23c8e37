"""forward-dump --edit: edited runs against the NumPy oracle with the same edit, edits that change
nothing, and what is refused.  test_families.py compares all families with the reference library."""

import json
import re
import shutil

import numpy as np
import pytest

import fault_inputs
import oracle
import streams
from helpers import (assert_close, batches_of, by_sentence, fails, ok, pipeline, random_sentences,
                     sentences_of, text)
from random_model import write_model, write_tensors

EVERYTHING = "max,coef,resid,ffn,prediction,counts"


@pytest.fixture(scope="module")
def tokens(bin, small_model):
    """25 sentences, some of one token, in batches of 40."""
    return ok(bin, "tokenize", "-m", small_model, "--batch", 40,
              stdin=text(random_sentences(25, 100, seed=8, longest=9)))


def dump(bin, model, tokens, *options):
    return ok(bin, "forward-dump", "-m", model, *options, stdin=tokens)


def records(data):
    """A stream's bytes behind its header, but for the checksum."""
    return data[streams.items(data)[0].end:-4]


# ---------------------------------------------------------------- the oracle

def apply_list(edits):
    """[(layer from 0, cells, function)] -> the oracle's edit."""
    def edit(layer, coef):
        changed = coef.copy()
        for of_layer, cells, function in edits:
            if of_layer == layer:
                changed[:, cells] = function(coef[:, cells])
        return changed
    return edit


def at_last(edit):
    def edit_last(layer, coef):
        return np.concatenate([coef[:-1], edit(layer, coef[-1:])])
    return edit_last


def where(edit, test):
    return lambda layer, coef: np.where(test(coef), edit(layer, coef), coef)


REMOVED = apply_list([(0, slice(3, 4), lambda m: 0 * m), (1, slice(0, 37), lambda m: m / 2)])
MIXED = apply_list([(1, slice(5, 12), lambda m: 2 * m), (1, slice(12, 13), lambda m: m + 1.5),
                    (1, slice(20, 21), lambda m: m - 0.25), (2, slice(30, 33), lambda m: 0 * m - 0.5)])
CASES = {
    "removed": (["--edit", "1:3=0", "--edit", "2:*=*0.5"], REMOVED),
    "list": (["--edit", "2:5-11=*2,2:12=+1.5, 2:20=+-0.25", "--edit", "3:30-32=-0.5"], MIXED),
    "last": (["--edit", "2:5-11=*2,2:12=+1.5,2:20=+-.25,3:30-32=-5e-1", "--edit-at", "last"], at_last(MIXED)),
    "above": (["--edit", "1:3=0,2:*=*0.5", "--edit-where", ">0.7"], where(REMOVED, lambda m: m > 0.7)),
    "at most": (["--edit", "2:5-11=*2,2:12=+1.5,2:20=+-0.25,3:30-32=-0.5", "--edit-where", "m <= 0.5"],
                where(MIXED, lambda m: m <= 0.5)),
    "absolute": (["--edit", "3:*=*-1", "--edit-where", "|m|>=0.25", "--edit-at", "last"],
                 at_last(where(apply_list([(2, slice(0, 37), lambda m: -m)]), lambda m: abs(m) >= 0.25))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("chosen", ["small_model", "normed_model"])
def test_everything_is_the_oracles(bin, request, chosen, case, tokens):
    """Oracle: NumPy in float64, one sentence at a time, with the same edit."""
    model, (options, edit) = request.getfixturevalue(chosen), CASES[case]
    exact = oracle.load_model(model)
    found = streams.read(dump(bin, model, tokens, "--emit", "max,coef,resid,ffn,prediction", *options))
    sentences = sentences_of(found)
    expected = [oracle.forward(exact, sentence, edit) for sentence in sentences]
    plain = [oracle.forward(exact, sentence) for sentence in sentences]
    assert any(np.abs(a.final - b.final).max() > 0.01 for a, b in zip(expected, plain))
    for name in "coef", "resid", "ffn":
        for array, activations in zip(by_sentence(found, name), expected, strict=True):
            assert_close(array, getattr(activations, name))
    for array, activations in zip(by_sentence(found, "max"), expected, strict=True):
        largest, _ = oracle.sentence_max(activations.coef)
        assert_close(array[np.isfinite(largest)], largest[np.isfinite(largest)])
    for array, activations, sentence in zip(by_sentence(found, "next_logp"), expected, sentences,
                                            strict=True):
        assert_close(array, oracle.log_probs(exact, activations.final)[np.arange(len(sentence)), sentence])


@pytest.mark.parametrize("case", ["removed", "last", "absolute"])
def test_edits_of_sentences_that_are_read_without_bos(bin, small_model, case):
    """Each has a row less, and one of a single token has none: rows of many in a batch are the right ones."""
    options, edit = CASES[case]
    exact = oracle.load_model(small_model)
    exact = exact._replace(config={**exact.config, "bos_token_id": None})
    tokens = ok(bin, "tokenize", "-m", small_model, "--bos", "none", "--batch", 40,
                stdin=text(random_sentences(25, 100, seed=8, longest=9)))
    found = streams.read(dump(bin, small_model, tokens, "--emit", "coef,ffn", *options))
    sentences = sentences_of(found)
    assert min(map(len, sentences)) == 1 and any(len(record.get("len", [])) > 3 for record in found.records)
    for name in "coef", "ffn":
        for array, sentence in zip(by_sentence(found, name), sentences, strict=True):
            if len(sentence) > 1:
                assert_close(array, getattr(oracle.forward(exact, sentence, edit), name)[:, -array.shape[1]:])


@pytest.mark.parametrize("sign, passes", [(">", np.greater), (">=", np.greater_equal), ("<", np.less),
                                          ("<=", np.less_equal)])
def test_thresholds_are_exact(bin, small_model, tokens, sign, passes):
    """Recomputation from the plain model's numbers: of 0, which ReLU gives, and a coefficient that occurs."""
    coef = ["--emit", "coef", "--layers", "1"]
    plain = by_sentence(streams.read(dump(bin, small_model, tokens, *coef)), "coef")
    some = max(array.max() for array in plain[:5])
    assert some > 0 and any((array == 0).any() for array in plain)
    for threshold in np.float32(0), some:
        for form, tested in ("", np.positive), ("|m| ", np.abs):
            found = streams.read(dump(bin, small_model, tokens, *coef, "--edit", "1:*=-7", "--edit-where",
                                      f"{form}{sign}{threshold:.9g}"))
            for array, before in zip(by_sentence(found, "coef"), plain, strict=True):
                expected = np.where(passes(tested(before), threshold), np.float32(-7), before)
                assert np.array_equal(array, expected)


def test_random_models_are_the_oracles(bin, random_model):
    """Oracle: NumPy in float64; other widths, one cell among them, and numbers of layers."""
    exact = oracle.load_model(random_model)
    data = ok(bin, "tokenize", "-m", random_model, "--batch", 16, stdin=text(random_sentences(9, 41, seed=3)))
    layers = exact.config["num_hidden_layers"]
    found = streams.read(
        dump(bin, random_model, data, "--emit", "coef,resid,ffn", "--edit",
             f"1:0=+2,{layers}:*=*.5" if layers > 1 else "1:0=+2"))
    edit = apply_list([(0, slice(0, 1), lambda m: m + 2)]
                      + [(layers - 1, slice(None), lambda m: m / 2)] * (layers > 1))
    for i, sentence in enumerate(sentences_of(found)):
        expected = oracle.forward(exact, sentence, edit)
        for name in "coef", "resid", "ffn":
            assert_close(by_sentence(found, name)[i], getattr(expected, name))


def test_keys_of_an_edited_model(bin, small_model, tmp_path):
    """Oracle: NumPy in float64; of changed prefixes the edited model's coefficient."""
    edit = ["--edit", "1:*=*0.5"]
    data = text(random_sentences(20, 100, seed=9, longest=9))
    changed = pipeline(bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model, *edit],
                       ["topk-keys", "--top", 2], ["perturb-triggers", "--change", "first,none"], stdin=data)
    found = streams.read(dump(bin, small_model, changed, "--emit", "key", *edit))
    exact, halved = oracle.load_model(small_model), apply_list([(0, slice(None), lambda m: m / 2)])
    checked = 0
    for record, after in zip(found.records[::2], found.records[1::2], strict=True):
        ends = np.cumsum(record["len"])
        for s in range(0, len(ends), 9):
            sentence = record["tok"][ends[s] - record["len"][s]:ends[s]].tolist()
            coefs = oracle.forward(exact, sentence, halved).coef[:, -1]
            coef = coefs[record["key_layer"][s], record["key_cell"][s]]
            assert after["key"][s] == pytest.approx(coef, rel=1e-3, abs=1e-4)
            if found.header["changes"][record["key_change"][s]] == "none":
                assert after["key"][s] == pytest.approx(record["key_coef"][s], rel=1e-4)
            checked += 1
    assert checked > 20
    path = tmp_path / "changed"
    path.write_bytes(changed)
    for other in [], ["--edit", "1:*=*0.25"], [*edit, "--edit-at", "last"], [*edit, "--edit-where", ">0"]:
        fails(bin, "forward-dump", "-m", small_model, "--emit", "key", *other, path,
              says="give the same --edit")
    plain = pipeline(bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model],
                     ["topk-keys", "--top", 2], ["perturb-triggers"], stdin=data)
    fails(bin, "forward-dump", "-m", small_model, "--emit", "key", *edit, stdin=plain,
          says="find the triggers with the same --edit")


def test_last_position_with_random_ones(bin, small_model, tokens):
    """Recomputation: at the random position everything is as if it were the sentence's last one; with maxima,
    where sentences are computed whole, too."""
    edit = ["--edit", "2:*=*2", "--edit-at", "last", "--positions", "random"]
    exact, double = oracle.load_model(small_model), apply_list([(1, slice(None), lambda m: 2 * m)])
    for emit in "coef,ffn,prediction", "coef,ffn,prediction,max":
        found = streams.read(dump(bin, small_model, tokens, "--emit", emit, *edit))
        start, checked = 0, 0
        ffn = by_sentence(found, "ffn")
        for batch, _, _ in batches_of(found):
            sentences = np.split(batch["tok"], np.cumsum(batch["len"])[:-1])
            for s, position in zip(batch["row_sentence"].tolist(), batch["row_position"].tolist()):
                sentence = sentences[s][:position + 1].tolist()
                expected = oracle.forward(exact, sentence, at_last(double)).ffn[:, -1:]
                assert_close(ffn[start + s], expected)
                checked += 1
            start += len(sentences)
        assert checked > 15
    every = streams.read(dump(bin, small_model, tokens, *edit))  # maxima alone, at which no row is written
    assert any(not np.array_equal(a, b)
               for a, b in zip(by_sentence(every, "max"),
                               by_sentence(streams.read(dump(bin, small_model, tokens)), "max"), strict=True))


def test_a_sentence_is_the_same_in_every_batch_and_thread(bin, small_model, tokens):
    options = "--emit", EVERYTHING, "--edit", "1:3=0,2:*=*.5", "--edit-at", "last"
    one = dump(bin, small_model, tokens, *options, "--threads", 1)
    assert dump(bin, small_model, tokens, *options, "--threads", 4) == one


# ------------------------------------------------------------- removals by rule

def value_norms(exact, layer):
    return np.sqrt((oracle.value_vectors(exact, layer) ** 2).sum(axis=1))


def remove_top(exact, counts, last=False):
    """The oracle's edit: {layer: how many of each position's greatest contributions}."""
    def edit(layer, coef):
        changed = coef.copy()
        contribution = np.abs(coef) * value_norms(exact, layer)
        for row in range(len(coef) - 1 if last else 0, len(coef)):
            best = np.argsort(-contribution[row], kind="stable")[:counts.get(layer, 0)]
            changed[row, best] = 0
        return changed
    return edit


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("chosen", ["small_model", "normed_model"])
def test_greatest_contributions_are_removed(bin, request, chosen, last, tokens):
    """Oracle: NumPy in float64; of so few memories none contribute equally."""
    model = request.getfixturevalue(chosen)
    exact = oracle.load_model(model)
    found = streams.read(
        dump(bin, model, tokens, "--emit", "coef,resid,ffn,prediction", "--remove", "1:top=3,3:top=37",
             *(["--edit-at", "last"] if last else [])))
    for i, sentence in enumerate(sentences_of(found)):
        expected = oracle.forward(exact, sentence, remove_top(exact, {0: 3, 2: 37}, last))
        for name in "coef", "resid", "ffn":
            assert_close(by_sentence(found, name)[i], getattr(expected, name))
        log_p = oracle.log_probs(exact, expected.final)
        assert_close(by_sentence(found, "next_logp")[i], log_p[np.arange(len(sentence)), sentence])


@pytest.fixture(scope="module")
def values(bin, small_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("values") / "values"
    ok(bin, "project-values", "-m", small_model, "--all", "-k", 1, "-o", path)
    return path


@pytest.mark.parametrize("all_tokens", [False, True])
def test_agreeing_memories_are_removed(bin, small_model, tmp_path, tokens, values, all_tokens):
    """Oracle: NumPy in float64 predicts with the plain model, and projects each value."""
    more, exact = ["--all-tokens"] * all_tokens, oracle.load_model(small_model, all_tokens=all_tokens)
    if all_tokens:
        values = tmp_path / "values"
        ok(bin, "project-values", "-m", small_model, "--all", "-k", 1, "--all-tokens", "-o", values)
    tops = [oracle.tops(exact, oracle.value_vectors(exact, layer), "none") for layer in range(3)]
    found = streams.read(
        dump(bin, small_model, tokens, "--emit", "coef,resid,ffn", "--remove", "1:top=2,2:agreeing=1",
             "--remove", "3:agreeing=37", "--values", values, *more))
    removed = 0
    for i, sentence in enumerate(sentences_of(found)):
        predicted = oracle.tops(exact, oracle.forward(exact, sentence).out[-1])

        def remove(layer, coef):
            if layer == 0:
                return remove_top(exact, {0: 2})(layer, coef)
            changed, contribution = coef.copy(), coef * value_norms(exact, layer)
            for row in range(len(coef)):
                agreeing = np.flatnonzero((tops[layer] == predicted[row]) & (coef[row] != 0))
                changed[row, agreeing[np.argsort(-contribution[row, agreeing])][:1 if layer == 1 else 37]] = 0
            nonlocal removed
            removed += (changed != coef).sum()
            return changed

        expected = oracle.forward(exact, sentence, remove)
        for name in "coef", "resid", "ffn":
            assert_close(by_sentence(found, name)[i], getattr(expected, name))
    assert removed > 10
    assert found.header["edits"]["all_tokens"] == all_tokens and "candidates" not in found.header
    assert found.header["edits"]["norm"] == "none"
    assert found.header["edits"]["removed"][1:] == [[1, "agreeing", 1], [2, "agreeing", 37]]
    options = ["--remove", "2:agreeing=1", "--values", values, *more]
    assert dump(bin, small_model, tokens, *options, "--threads", 1) \
        == dump(bin, small_model, tokens, *options, "--threads", 3)


def test_values_that_do_not_fit(bin, small_model, normed_model, tmp_path, tokens, values):
    agreeing = ["--remove", "2:agreeing=1"]
    for options, says in [(agreeing, "needs --values FILE"),
                          (["--values", values], "--values goes with --remove"),
                          (["--values", values, "--remove", "1:top=1"], "--values goes with --remove"),
                          (["--values", values, "--edit", "1:1=0"], "--values goes with --remove"),
                          (["--remove", "1:top=1", "--all-tokens"], "--all-tokens goes with")]:
        fails(bin, "forward-dump", "-m", small_model, *options, stdin=tokens, status=2, says=says)
    fails(bin, "forward-dump", "-m", small_model, *agreeing, "--values", values, "--all-tokens", stdin=tokens,
          says="give --all-tokens in both places or in none")
    ok(bin, "project-values", "-m", normed_model, "--all", "-k", 1, "-o", tmp_path / "other")
    fails(bin, "forward-dump", "-m", small_model, *agreeing, "--values", tmp_path / "other", stdin=tokens,
          says="made with another model")


def test_of_equal_contributions_the_lower_cells_are_removed(bin, small_model, tmp_path, tokens):
    """By hand: all values of layer 1 are one vector, and all coefficients are 1."""
    for name in "config.json", "dict.txt":
        shutil.copy(small_model / name, tmp_path)
    tensors = oracle.load_safetensors(small_model / "model.safetensors", np.float32)
    tensors["decoder.layers.0.fc2.weight"][:] = tensors["decoder.layers.0.fc2.weight"][:, :1]
    write_tensors(tmp_path / "model.safetensors", tensors)
    found = streams.read(dump(bin, tmp_path, tokens, "--emit", "coef", "--layers", "1", "--edit", "1:*=1",
                              "--remove", "1:top=5"))
    for array in by_sentence(found, "coef"):
        assert (array[0, :, :5] == 0).all() and (array[0, :, 5:] == 1).all()


def test_random_memories_are_removed(bin, small_model, tokens):
    """Recomputation: as many active memories as asked for are 0, no others change, all occur, and the rest
    of the model is the oracle's with the same memories removed."""
    exact = oracle.load_model(small_model)
    options = "--emit", "coef,resid,ffn"
    plain = by_sentence(streams.read(dump(bin, small_model, tokens, *options)), "coef")
    found = streams.read(dump(bin, small_model, tokens, *options, "--remove", "2:random=4"))
    removed = 0
    for i, sentence in enumerate(sentences_of(found)):
        coef = by_sentence(found, "coef")[i]
        assert np.array_equal(coef[0], plain[i][0])
        gone = (coef[1] == 0) & (plain[i][1] != 0)
        assert np.array_equal(coef[1], np.where(gone, 0, plain[i][1]))
        assert np.array_equal(gone.sum(axis=1), np.minimum(4, (plain[i][1] != 0).sum(axis=1)))
        removed = removed + gone.sum(axis=0)
        expected = oracle.forward(exact, sentence, lambda layer, m: np.where((layer == 1) & gone, 0, m))
        for name in "resid", "ffn":
            assert_close(by_sentence(found, name)[i], getattr(expected, name))
    active = sum((array[1] != 0).sum(axis=0) for array in plain)
    assert (removed[active > 40] > 0).all()


def test_random_removals_depend_on_seed_sentence_and_position_only(bin, small_model, tokens):
    remove = "--remove", "*:random=2"
    one = dump(bin, small_model, tokens, "--emit", EVERYTHING, *remove, "--threads", 1)
    assert dump(bin, small_model, tokens, "--emit", EVERYTHING, *remove, "--threads", 3) == one
    other = dump(bin, small_model, tokens, "--emit", EVERYTHING, *remove, "--seed", 2)
    assert records(other) != records(one)
    lines = text(random_sentences(25, 100, seed=8, longest=9))
    parts = []
    coef = ["--emit", "coef", "--layers", "1", "--remove", "1:random=2"]
    whole = by_sentence(streams.read(dump(bin, small_model, tokens, *coef)), "coef")
    for shard in "0/2", "1/2":
        part = ok(bin, "tokenize", "-m", small_model, "--batch", 40, "--shard", shard, stdin=lines)
        stream = streams.read(dump(bin, small_model, part, *coef))
        numbers = [batch["id"] + s for batch, _, _ in batches_of(stream) for s in range(len(batch["len"]))]
        parts += zip(numbers, by_sentence(stream, "coef"))
    assert len(parts) == len(whole)
    for number, array in parts:
        assert np.array_equal(array == 0, whole[number] == 0)
    chosen = streams.read(dump(bin, small_model, tokens, *coef, "--positions", "random", "--edit-at", "last"))
    sentence = 0
    for batch, layers, _ in batches_of(chosen):
        for s, position, row in zip(batch["row_sentence"], batch["row_position"], layers[0]["coef"]):
            assert np.array_equal(row == 0, whole[sentence + s][0, position] == 0)
        sentence += len(batch["len"])


def test_removals_behind_edits(bin, small_model, tokens):
    """By hand: edits come first, so that a memory that is made strong is the one that is removed."""
    found = streams.read(dump(bin, small_model, tokens, "--emit", "coef", "--layers", "1",
                              "--edit", "1:5=1e6,1:6=2e-6", "--remove", "1:top=1"))
    for array in by_sentence(found, "coef"):
        assert (array[0, :, 5] == 0).all() and (array[0, :, 6] == np.float32(2e-6)).all()


def test_header_tells_removals(bin, small_model, tokens):
    header = streams.read(dump(bin, small_model, tokens, "--remove", "3:top=2,1:random=7")).header
    assert header["edits"] == {
        "at": "all", "list": [], "removed": [[0, "random", 7], [2, "top", 2]], "seed": 1}
    header = streams.read(dump(bin, small_model, tokens, "--remove", "*:top=37", "--edit-at", "last")).header
    assert header["edits"] == {
        "at": "last", "list": [], "removed": [[layer, "top", 37] for layer in range(3)]}


def test_bad_removals(bin, small_model, tmp_path):
    for removal, says in {
            "": "is no removal", "1:top": "is no removal", "1=top:3": "is no removal",
            "1:top=": "is no removal", "1:top=x": "is no removal", "1:top=-1": "is no removal",
            "1:top=3 ": "is no removal", "1:best=3": "is no removal", "1:top=3,": "is no removal",
            ":top=3": "is no removal", "**:top=3": "is no removal", "1:to=3": "is no removal",
            "0:top=3": "layers are from 1 to 3", "4:top=3": "layers are from 1 to 3",
            "1:top=0": "cells to remove are from 1 to 37", "1:top=38": "cells to remove",
            "1:top=99999999999999999999": "cells to remove",
            "1:top=1,1:random=1": "layer 1 has a rule already",
            "2:top=1,*:top=1": "layer 2 has a rule already"}.items():
        fails(bin, "forward-dump", "-m", small_model, "--remove", removal, tmp_path / "none", status=2,
              says=says)
    fails(bin, "forward-dump", "-m", small_model, "--remove", "3:top=1", "--layers", "1-2", tmp_path / "none",
          status=2, says="layer 3 is above the last one that is computed, 2")


# ------------------------------------------------------ edits that change nothing

@pytest.mark.release_only
@pytest.mark.parametrize("options", [
    ["--edit", "1:*=*1,2:3-9=+0,3:4=*1"], ["--edit", "1:*=0", "--edit-where", ">1e30"],
    ["--edit", "1:*=0", "--edit-where", "|m|<0"], ["--edit", "1:*=0,2:*=0", "--edit-where", "<=0"]],
    ids=lambda options: options[-1])
@pytest.mark.parametrize("emit", [EVERYTHING, "max", "coef", "resid", "ffn", "prediction", "counts"])
def test_an_edit_to_what_a_coefficient_is_changes_no_byte(bin, small_model, tokens, emit, options):
    """The last one sets coefficients of 0 and -0, which ReLU gives, to 0."""
    for more in [], ["--positions", "random", "--edit-at", "last"]:
        plain = dump(bin, small_model, tokens, "--emit", emit, *more[:2])
        edited = dump(bin, small_model, tokens, "--emit", emit, *options, *more)
        assert records(edited) == records(plain) and edited != plain


def test_minus_zero_stays(bin, small_model, tmp_path, tokens):
    """GELU gives -0 for what is far below 0; multiplied by 1 and added to 0 it is -0, and 0."""
    shutil.copy(small_model / "dict.txt", tmp_path)
    config = json.loads((small_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "activation_function": "gelu"}))
    tensors = oracle.load_safetensors(small_model / "model.safetensors", np.float32)
    write_tensors(tmp_path / "model.safetensors",
                  {name: tensor * (100 if "fc1" in name else 1) for name, tensor in tensors.items()})
    plain = dump(bin, tmp_path, tokens, "--emit", "coef,ffn")
    assert any((np.signbit(array) & (array == 0)).any() for array in by_sentence(streams.read(plain), "coef"))
    for edit in "1:*=*1,2:*=+0", "1:*=+0,3:*=*1":
        assert records(dump(bin, tmp_path, tokens, "--emit", "coef,ffn", "--edit", edit)) == records(plain)


def test_an_edit_of_a_key_to_what_it_is_changes_no_byte(bin, small_model, tokens):
    edit = "--edit", "1:*=*1"
    triggers = [["topk-keys", "--top", 2], ["perturb-triggers"]]
    keyed = [pipeline(bin, ["forward-dump", "-m", small_model, *options], *triggers,
                      ["forward-dump", "-m", small_model, "--emit", "key", *options], stdin=tokens)
             for options in ([], edit)]
    assert records(keyed[0]) == records(keyed[1])


# ------------------------------------------------------------------- headers

def test_header_tells_the_edits(bin, small_model, tokens):
    """Expected by hand: sorted, neighbours joined, layers from 0, ends behind the last cell."""
    given = ["--edit", "3:*=*2,1:5-6=0", "--edit", "1:7=0,1:9=-1.5", "--edit", "1:8=+0.1"]
    header = streams.read(dump(bin, small_model, tokens, *given)).header
    wanted = [[0, 5, 8, "0"], [0, 8, 9, "+0.100000001"], [0, 9, 10, "-1.5"], [2, 0, 37, "*2"]]
    assert header["edits"] == {"at": "all", "list": wanted}
    hashed = header["history"][-1]["options"]["edits"]
    assert re.fullmatch("[0-9a-f]{32}", hashed)
    other = streams.read(dump(bin, small_model, tokens, "--edit",
                              "1:9=-15e-1,3:0-36=*2.0,1:8=+.1,1:5-7=-0")).header
    assert other == header
    for more, member in [("--edit-at", "last"), "at"], [("--edit-where", "|m|>=.5"), "where"]:
        header = streams.read(dump(bin, small_model, tokens, *given, *more)).header
        assert header["edits"][member] == {"at": "last", "where": "|m| >= 0.5"}[member]
        assert header["history"][-1]["options"]["edits"] != hashed
    plain = streams.read(dump(bin, small_model, tokens)).header
    assert "edits" not in plain and "edits" not in plain["history"][-1]["options"]


def test_file_of_edits(bin, small_model, tokens, tmp_path):
    """The same as on the command line, or partly there."""
    path = tmp_path / "edits"
    given = dump(bin, small_model, tokens, "--edit", "1:5=0,2:*=*2,3:1-2=+1,3:9=4")
    for written in ("1:5=0\n2:*=*2\n3:1-2=+1\n3:9=4\n",
                    "# removed\n1:5=0,2:*=*2 # halves\n\n  3:1-2=+1 , 3:9=4",
                    "1:5=0\r\n2:*=*2\r\n\r\n3:1-2=+1,3:9=4\r\n#"):
        path.write_text(written, newline="")
        assert dump(bin, small_model, tokens, "--edits", path) == given
    path.write_text("3:9=4\n2:*=*2\n")
    assert dump(bin, small_model, tokens, "--edit", "1:5=0", "--edits", path, "--edit", "3:1-2=+1") == given


def test_streams_of_edited_and_plain_models_are_not_merged(bin, small_model, tmp_path):
    data, paths = text(random_sentences(30, 100, seed=4, longest=9)), []
    for i, edit in enumerate([[], ["--edit", "1:3=0"], ["--edit", "1:4=0"]]):
        paths.append(tmp_path / f"triggers-{i}")
        paths[-1].write_bytes(pipeline(
            bin, ["tokenize", "-m", small_model, "--shard", f"{i % 2}/2", "--batch", 40],
            ["forward-dump", "-m", small_model, *edit], ["topk-keys", "--top", 3], stdin=data))
    for one, other in (0, 1), (1, 2), (1, 0):
        fails(bin, "topk-keys", "--merge", paths[one], paths[other],
              says="made with another model, corpus or options")


# ------------------------------------------------------------------ refusals

NO_EDITS = ("", ",", "1", "1:2", "1:2=0,", "1=2", ":2=0", "1:=0", "*:2=0", "-1:2=0", "1.0:2=0", "1:2-=0",
            "1:-2=0", "1:5-3=0", "1:2:3=0", "1:2-3-4=0", "1: 2=0", "1:2 =0", "1:**=2", "1:0x2=0")
NO_NUMBERS = ("", "*", "+", "++1", "**2", "*+2", "--1", "x", "nan", "inf", "-inf", "0x10", "1e39", "*1e999",
              "1e-60", "1e", "1 2", "0;1:3=0", "=0")
BAD = {
    **dict.fromkeys(NO_EDITS, "is no edit"), **{f"1:2={number}": "is no number" for number in NO_NUMBERS},
    "0:2=0": "there is no such layer; the model's are 1 to 3", "4:2=0": "there is no such layer",
    "18446744073709551617:2=0": "there is no such layer",
    "1:37=0": "there is no such cell; a layer's are 0 to 36", "1:30-37=0": "there is no such cell",
    "1:18446744073709551616=0": "there is no such cell",
}
TWICE = {
    "1:2=0,1:2=0": "cell 2 of layer 1", "2:*=0,2:36=1": "cell 36 of layer 2",
    "1:0-9=0,1:9-12=*2": "cell 9 of layer 1", "3:5=1,1:5=1,3:5=2": "cell 5 of layer 3",
    "1:0-9=0,1:3=0,1:9=0": "cell 3 of layer 1"}


@pytest.mark.release_only
def test_bad_edits(bin, small_model, tmp_path):
    """Nothing is read: the stream is not there."""
    path = tmp_path / "edits"
    for edit, says in BAD.items():
        fails(bin, "forward-dump", "-m", small_model, "--edit", edit, tmp_path / "none", status=2, says=says)
        if edit:
            path.write_text(f"1:1=0\n# {edit}\n {edit} # bad\n")
            message = fails(bin, "forward-dump", "-m", small_model, "--edits", path, tmp_path / "none",
                            says=says)
            assert f"{path}: line 3: " in message
    for edit, says in TWICE.items():
        fails(bin, "forward-dump", "-m", small_model, "--edit", edit, tmp_path / "none", status=2,
              says=f"{says} is edited twice")
        path.write_text(edit)
        fails(bin, "forward-dump", "-m", small_model, "--edits", path, tmp_path / "none", status=2, says=says)
        path.write_text(edit.split(",")[0])
        rest = edit.split(",", 1)[1]
        fails(bin, "forward-dump", "-m", small_model, "--edits", path, "--edit", rest, tmp_path / "none",
              status=2, says="is edited twice")


def test_bad_conditions_and_options(bin, small_model, tmp_path):
    none = tmp_path / "none"
    for test in ("", "0.5", "=0.5", ">", ">x", ">nan", ">inf", ">1e99", "> 1 2", ">>1", "=>1", "m", "|m|",
                 "|x|>1", "m m>1", ">+1"):
        fails(bin, "forward-dump", "-m", small_model, "--edit", "1:1=0", "--edit-where", test, none, status=2,
              says="--edit-where takes a test of the coefficient")
    for options, says in [(["--edit-where", ">1"], "goes with --edit or --edits"),
                          (["--edit-where", ">1", "--remove", "1:top=1"], "goes with --edit or --edits"),
                          (["--edit-at", "last"], "goes with --edit, --edits or --remove")]:
        fails(bin, "forward-dump", "-m", small_model, *options, none, status=2, says=says)
    fails(bin, "forward-dump", "-m", small_model, "--edit", "1:1=0", "--edit-at", "first", none, status=2,
          says="--edit-at does not know 'first'; it takes: all, last")
    fails(bin, "forward-dump", "-m", small_model, "--edit", "1:1=0,3:1=0", "--layers", "1-2", none, status=2,
          says="layer 3 is above the last one that is computed, 2: its edits would change nothing")
    fails(bin, "forward-dump", "-m", small_model, "--edits", none, none, says="No such file")


def test_predictions_need_all_layers(bin, small_model, tokens):
    """An edit above --layers counts where predictions are wanted."""
    assert dump(bin, small_model, tokens, "--layers", 1, "--emit", "prediction", "--edit", "3:1=0")


def test_hostile_files(bin, small_model, tmp_path):
    path = tmp_path / "edits"
    for data, says in [(b"", "there is no edit in it"), (b"# none\n\n \t\r\n", "there is no edit in it"),
                       (b"1:2=0\n1:3=0\x00\n", "line 2: a NUL byte"), (b"\xff\xfe1:2=0", "line 1: "),
                       (b"1:2=0\n" + b"9" * (1 << 20), "line 2: "),
                       (b"1:2=0," * (1 << 16) + b"1:3=0", "more than 65536 edits"),
                       (b"\x1b[2J\n", "line 1: '?[2J'"), (b"x" * (65 << 20), "longer than 64 MiB")]:
        path.write_bytes(data)
        message = fails(bin, "forward-dump", "-m", small_model, "--edits", path, tmp_path / "none", says=says)
        assert len(message) < 500


def test_many_edits(bin, tmp_path):
    """2,000 of them, one of each cell of a layer: equal to what one range does."""
    write_model(tmp_path / "wide", layers=1, d_model=8, d_ff=2000, heads=2, vocabulary=60, cutoffs=(20,),
                factor=2)
    data = ok(bin, "tokenize", "-m", tmp_path / "wide", stdin=text(random_sentences(5, 60, seed=2)))
    path = tmp_path / "edits"
    path.write_text("".join(f"1:{cell}=*{2 + cell % 2}\n" for cell in range(2000)))
    found = streams.read(dump(bin, tmp_path / "wide", data, "--emit", "coef", "--edits", path))
    plain = streams.read(dump(bin, tmp_path / "wide", data, "--emit", "coef"))
    factors = 2 + np.arange(2000) % 2
    for edited, array in zip(by_sentence(found, "coef"), by_sentence(plain, "coef"), strict=True):
        assert np.array_equal(edited, array * factors.astype(np.float32))
    path.write_text("".join(f"1:{cell}=0\n" for cell in range(2000)))
    one = dump(bin, tmp_path / "wide", data, "--edit", "1:*=0")
    assert dump(bin, tmp_path / "wide", data, "--edits", path) == one


def test_coefficients_that_leave_the_floats(bin, small_model, tokens):
    fails(bin, "forward-dump", "-m", small_model, "--edit", "2:4-9=*3e38", stdin=tokens,
          says="an edited coefficient is no longer a 32-bit float")


def test_sums_of_edited_and_plain_models_are_not_merged(bin, small_model, tmp_path):
    data = text(random_sentences(30, 100, seed=4, longest=9))
    tools = {"refinement-stats": (["--emit", "resid,ffn"], []),
             "composition-stats": (["--emit", "coef,ffn"], ["--scaled"])}
    for tool, (emit, options) in tools.items():
        paths = []
        for i, edit in enumerate([[], ["--edit", "1:3=0"], ["--edit", "1:4=0"]]):
            paths.append(tmp_path / f"{tool}-{i}")
            paths[-1].write_bytes(pipeline(
                bin, ["tokenize", "-m", small_model, "--shard", f"{i % 2}/2", "--batch", 40],
                ["forward-dump", "-m", small_model, *emit, *edit],
                [tool, "-m", small_model, "--sums", *options], stdin=data))
        for one, other in (0, 1), (1, 2), (1, 0):
            fails(bin, tool, "--merge", paths[one], paths[other],
                  says="made with another model, corpus or options")


@pytest.mark.parametrize("emit", ["max", "coef", "resid,ffn", "prediction", "counts", "magnitudes"])
def test_whatever_is_written_is_the_edited_models(bin, small_model, tokens, emit):
    """The same edit of all positions shows in each array; none is that of the plain model."""
    edited, plain = (streams.read(dump(bin, small_model, tokens, "--emit", emit, *options)).records
                     for options in (["--edit", "1:*=*3"], []))
    names = {name for record in plain for name in record if name not in (
        "id", "len", "tok", "layer", "row_sentence", "row_position", "argmax", "path")}
    for name in names:
        pairs = [(a[name], b[name]) for a, b in zip(edited, plain, strict=True) if name in b]
        assert any(not np.array_equal(a, b) for a, b in pairs), name


@pytest.mark.release_only
def test_contributions_of_a_gated_layer_add_up(bin, tmp_path):
    """Each memory alone, by an edit that removes all others: these outputs add up to the block's, up to
    32-bit rounding, 1e-4 of the largest number. The model has no biases in the block."""
    fault_inputs.write_llama(tmp_path / "model")
    tokens = ok(bin, "tokenize", "-m", tmp_path / "model",
                stdin=text(random_sentences(3, 60, seed=8, longest=6)))

    def dumped(*options):
        return streams.read(dump(bin, tmp_path / "model", tokens, "--emit", "ffn", "--layers", "1", *options))

    def ffn(*edit):
        return np.concatenate([array[0] for array in by_sentence(dumped(*edit), "ffn")]).astype(float)

    cells, parts = dumped().header["model"]["d_ff"], []
    for cell in range(cells):
        others = ",".join(f"1:{a}-{b}=0" for a, b in ((0, cell - 1), (cell + 1, cells - 1)) if a <= b)
        parts.append(ffn("--edit", others))
    assert_close(sum(parts), ffn())
