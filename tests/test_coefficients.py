"""What triggers tell of a key's coefficients: those along each trigger's prefix, and how often which occur
in the corpus.  Recomputed, exactly, from all coefficients of the same run."""

import json

import numpy as np
import pytest

import fault_inputs
import oracle
import streams
import ffkv  # streams finds it
from helpers import by_sentence, fails, ok, pipeline, random_sentences, text

SENTENCES = random_sentences(260, 100, seed=7) + random_sentences(140, 6, seed=8, longest=5)
TOKENIZE = ["--batch", 16]


@pytest.fixture(scope="module")
def tokens(bin, small_model):
    """Of more than 128 batches, so that all epochs of leaders.c have some."""
    data = ok(bin, "tokenize", "-m", small_model, *TOKENIZE, stdin=text(SENTENCES))
    assert len(streams.read(data).records) > 200
    return data


@pytest.fixture(scope="module")
def coefs(bin, small_model, tokens):
    return by_sentence(streams.read(ok(bin, "forward-dump", "-m", small_model, "--emit", "coef",
                                       stdin=tokens)), "coef")


def dump(bin, model, data, *options, paths=25, emit="max,counts"):
    return ok(bin, "forward-dump", "-m", model, "--emit", emit, *(["--paths", paths] if paths else []),
              *options, stdin=data)


def histogram_of(record):
    counts = np.zeros(97, int)
    counts[record["coefs_bin"]] = record["coefs_count"]
    return counts


def assert_recomputed(data, coefs, first=1, rank=lambda values: values):
    """The stream's triggers are in order of rank, and have what coefs have."""
    stream = streams.read(data)
    counted = oracle.corpus_counts(coefs, first)
    for record in stream.records[:-1]:
        key = record["layer"], record["cell"]
        items = list(zip(record["coef"].tolist(), record["sentence"].tolist(), record["position"].tolist()))
        assert all(coefs[s][key[0], p, key[1]] == c and rank(c) > 0 for c, s, p in items)
        expected = oracle.prefix_coefficients(coefs, {key: items})[key]
        assert record["prefix_coef"].tolist() == expected.tolist() and len(expected) == len(record["prefix"])
        assert histogram_of(record).tolist() == counted[key].tolist(), key
    return stream


@pytest.mark.parametrize("top", [1, 5, 40])
def test_coefficients_of_triggers_are_recomputed(bin, small_model, tokens, coefs, top):
    """And all else is as without them."""
    found = ok(bin, "topk-keys", "-t", top, stdin=dump(bin, small_model, tokens, paths=top))
    stream = assert_recomputed(found, coefs)
    bare = streams.read(pipeline(bin, ["forward-dump", "-m", small_model], ["topk-keys", "-t", top],
                                 stdin=tokens))
    assert len(stream.records) == len(bare.records)
    for record, wanted in zip(stream.records, bare.records):
        assert record.keys() - wanted.keys() <= {"prefix_coef", "coefs_bin", "coefs_count"}
        for name, value in wanted.items():
            assert np.array_equal(record[name], value), name
    assert any(len(record.get("coef", ())) == top for record in stream.records)


@pytest.mark.parametrize("options, rank", [([], lambda value: value), (["--rank", "abs"], abs),
                                           (["--rank", "min"], lambda value: -value)])
@pytest.mark.parametrize("first", [0, 1])
def test_coefficients_of_both_signs(bin, tmp_path, options, rank, first):
    """A gated layer's, with the empty prefix and without."""
    model = tmp_path / "llama"
    fault_inputs.write_llama(model)
    data = ok(bin, "tokenize", "-m", model, *TOKENIZE, stdin=text(SENTENCES))
    bos = [] if first else ["--with-bos"]
    coefs = by_sentence(streams.read(ok(bin, "forward-dump", "-m", model, "--emit", "coef", stdin=data)),
                        "coef")
    found = ok(bin, "topk-keys", "-t", 9, *options, stdin=dump(bin, model, data, *options, *bos, paths=9))
    stream = assert_recomputed(found, coefs, first, rank)
    assert any((record["prefix_coef"] < 0).any() and (record["prefix_coef"] > 0).any()
               for record in stream.records[:-1])


def test_few_sentences_have_a_path(bin, small_model, tokens):
    """Those that may be among the best, of which there are fewer the longer the corpus is."""
    def share(batches):
        layers = [record for record in batches if "path" in record]
        return sum(len(record["path"]) for record in layers) / sum((record["max"] > 0).sum()
                                                                   for record in layers)

    records = streams.read(dump(bin, small_model, tokens, paths=3)).records[:-3]
    assert share(records[:4]) == 1 and 0 < share(records[len(records) // 2:]) < 0.1


@pytest.mark.parametrize("options", [[], ["--cells", "3,30-36", "--layers", "1,3"]])
def test_threads_leave_paths_and_counts_as_they_are(bin, small_model, tokens, options):
    one, several = (dump(bin, small_model, tokens, "--threads", threads, *options, paths=4)
                    for threads in (1, 7))
    assert one == several


@pytest.fixture(scope="module")
def thirds(bin, small_model, tmp_path_factory):
    """One run's triggers, and paths of three shards'."""
    place = tmp_path_factory.mktemp("thirds")

    def triggers(name, *options):
        data = pipeline(bin, ["tokenize", "-m", small_model, *TOKENIZE, *options],
                        ["forward-dump", "-m", small_model, "--emit", "max,counts", "--paths", 6],
                        ["topk-keys", "-t", 6], stdin=text(SENTENCES))
        (place / name).write_bytes(data)
        return place / name

    return triggers("whole"), [triggers(str(i), "--shard", f"{i}/3") for i in range(3)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_merged_shards_are_one_run(bin, thirds, order, tmp_path):
    """Byte for byte, in any order, also in two steps."""
    whole, parts = thirds[0].read_bytes(), [thirds[1][i] for i in order]
    assert ok(bin, "topk-keys", "--merge", *parts) == whole
    ok(bin, "topk-keys", "--merge", "--partial", *parts[:2], "-o", tmp_path / "two")
    assert ok(bin, "topk-keys", "--merge", parts[2], tmp_path / "two") == whole


def test_selected_keys_are_a_part_of_the_whole_result(bin, small_model, tokens):
    data = dump(bin, small_model, tokens, paths=5)
    whole = {(r["layer"], r["cell"]): r
             for r in streams.read(ok(bin, "topk-keys", "-t", 5, stdin=data)).records[:-1]}
    some = streams.read(ok(bin, "topk-keys", "-t", 5, "--layers", "1,3", "--cells", "4,9-20", "--sample", 3,
                           stdin=data))
    assert len(some.records) == 7
    for record in some.records[:-1]:
        wanted = whole[record["layer"], record["cell"]]
        assert record.keys() == wanted.keys()
        assert all(np.array_equal(record[name], wanted[name]) for name in record)


def test_stream_cat_selects_what_forward_dump_would(bin, small_model, tokens):
    """Two ways to the same paths and counts of a few cells."""
    def lines(data, *options):
        return [json.loads(line) for line in ok(bin, "stream-cat", *options, stdin=data).splitlines()]

    chosen = ["--cells", "3,30-36"]
    whole, some = dump(bin, small_model, tokens, paths=2), dump(bin, small_model, tokens, *chosen, paths=2)
    selected, expected = lines(whole, *chosen)[1:-1], lines(some)[1:-1]
    assert any(record.get("path") for record in expected)
    assert selected == expected


def test_values_and_merges_keep_what_triggers_tell(bin, small_model, thirds):
    whole = streams.read(thirds[0])
    projected = streams.read(ok(bin, "project-values", "-m", small_model, thirds[0]))
    for record, wanted in zip(projected.records, whole.records):
        assert all(np.array_equal(record[name], wanted[name]) for name in wanted)
    changed = streams.read(ok(bin, "perturb-triggers", thirds[0])).header
    assert "prefix_coef" not in changed["arrays"] and "coefs_bin" not in changed["arrays"] \
        and "paths" not in changed


def test_streams_without_them_stay_as_they_were(bin, small_model, tokens):
    header = streams.read(pipeline(bin, ["forward-dump", "-m", small_model], ["topk-keys"],
                                   stdin=tokens)).header
    assert "prefix_coef" not in header["arrays"] and "coefs_bin" not in header["arrays"]
    # of other prefixes than those that paths lead to
    for options in (["--rank", "min"], ["--prefixes", "every"]):
        data = dump(bin, small_model, tokens, emit="max,coef,counts", paths=3)
        stream = streams.read(ok(bin, "topk-keys", "-t", 9, *options, stdin=data))
        assert "prefix_coef" not in stream.header["arrays"] and "coefs_bin" in stream.header["arrays"]


def test_more_triggers_than_paths_are_refused(bin, small_model, tokens):
    data = dump(bin, small_model, tokens, paths=3)
    fails(bin, "topk-keys", "-t", 4, stdin=data, says="--top 4 needs forward-dump --paths 4, or more")
    fails(bin, "forward-dump", "-m", small_model, "--emit", "coef", "--paths", 3, stdin=tokens, status=2,
          says="--paths goes with --emit max")


# ------------------------------------------------------------ in Python

def test_python_has_them_beside_the_triggers(thirds):
    """The module's views, from the record's arrays."""
    records = streams.read(thirds[0]).records[:-1]
    for record in records[::10]:
        assert ffkv.coefficient_counts(record).tolist() == histogram_of(record).tolist()
        found = ffkv.triggers(record)
        assert [len(trigger.prefix_coefficients) for trigger in found] == record["position"].tolist()
        assert all(trigger.prefix_coefficients[-1] == trigger.coefficient for trigger in found)
    assert list(ffkv.COEFFICIENT_EDGES[49:]) == oracle.COEFFICIENT_EDGES
    assert [-edge for edge in ffkv.COEFFICIENT_EDGES[47::-1]] == oracle.COEFFICIENT_EDGES
    rows = ffkv.frame(thirds[0], by="trigger")
    assert [len(row) for row in rows["prefix_coef"]] == [len(row) for row in rows["prefix"]]
    assert len(ffkv.frame(thirds[0]).loc[0, "prefix_coef"]) == len(records[0]["coef"])


# ------------------------------------------------------------ hostile streams

def changed(data, name, change, header=(), number=0):
    """The stream with another value in record number of those that have name."""
    stream = streams.read(data)
    records = [dict(record) for record in stream.records]
    record = [record for record in records if name in record and len(record[name])][number]
    record[name] = change(np.array(record[name]))
    return streams.write({**stream.header, **dict(header)}, records, stream.trailer)


@pytest.mark.parametrize("name, change, says", [
    ("path", lambda path: path[:-1], "'path_coef' has"),
    ("path", lambda path: np.r_[path[:1], path[:1], path[2:]], "'path' does not rise"),
    ("path", lambda path: np.r_[path[:-1], 10 ** 6], "'path' does not rise"),
    ("path_coef", lambda values: values[:-1], "'path_coef' has"),
    ("path_coef", lambda values: values * 2, "path 0 does not end with the 'max' that it leads to"),
    ("coef_counts", lambda counts: counts[:-1], "'coef_counts' has"),
    ("coef_counts", lambda counts: counts + 1, "'coef_counts' of cell 0 add up to"),
    ("coef_counts", lambda counts: np.full_like(counts, 2 ** 63), "'coef_counts' of cell 0 add up to"),
])
def test_damaged_activations_are_refused(bin, small_model, tokens, name, change, says):
    data = changed(dump(bin, small_model, tokens), name, change)
    fails(bin, "topk-keys", "-t", 2, stdin=data, says=says)
    with pytest.raises(streams.StreamError):
        streams.read(data)


def test_missing_and_misplaced_counts_and_paths_are_refused(bin, small_model, tokens):
    stream = streams.read(dump(bin, small_model, tokens, paths=2))
    header, records, trailer = stream

    def check(says, records, header=header):
        fails(bin, "topk-keys", "-t", 2, stdin=streams.write(header, records, trailer), says=says)

    check("'coef_counts' of 2 layers, the header promises 3", records[:-1])
    check("'coef_counts' of layer 3 are out of order", [*records[:-2], records[-1]])
    check("a batch behind 'coef_counts'", [*records, {"id": 10 ** 6, "len": [1], "tok": [5]}])
    check("'coef_counts' of cell 0 add up to", [*records[:4], *records[-3:]])
    bare = [{name: value for name, value in record.items() if name not in ("path", "path_coef")}
            for record in records]
    check("the record has no 'path'", bare)
    empty = [{**record, "path": [], "path_coef": []} if "path" in record else record for record in records]
    fails(bin, "topk-keys", "-t", 2, stdin=streams.write(header, empty, trailer),
          says="has a trigger without its path")
    for wrong in -1, "3", None, 2 ** 30:
        check("the header's paths is not a number", records, {**header, "paths": wrong})


@pytest.mark.parametrize("name, change, says", [
    ("prefix_coef", lambda values: values[:-1], "'prefix_coef' has"),
    ("prefix_coef", lambda values: values * 2, "does not end with its trigger's"),
    ("prefix_coef", lambda values: np.r_[np.inf, values[1:]], "is not finite"),
    ("coefs_bin", lambda bins: bins[::-1], "the bins of 'coefs' do not rise"),
    ("coefs_bin", lambda bins: bins + 97, "the bins of 'coefs' do not rise or are too large"),
    ("coefs_count", lambda counts: counts[:-1], "'coefs_count' has"),
    ("coefs_count", lambda counts: counts + 1, "coefficients and"),
    ("coefs_count", lambda counts: np.r_[0, counts[1:]], "'coefs' has a count of 0"),
])
def test_damaged_triggers_are_refused(bin, thirds, name, change, says):
    data = changed(thirds[0].read_bytes(), name, change, number=7)
    for tool in ["shallow-stats"], ["topk-keys", "--merge"]:
        fails(bin, *tool, *(["-"] if len(tool) > 1 else []), stdin=data, says=says)
    with pytest.raises(streams.StreamError):
        streams.read(data)
