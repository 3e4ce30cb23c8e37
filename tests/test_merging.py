"""Merges of shards: what every --merge makes of a shard that is missing, given twice, or of
another text.  Which batches a stream covers is worked out here from the batches' numbers."""

import itertools
import random

import pytest

import random_model
import streams
from helpers import fails, ok, pipeline, random_sentences, run, text

TOOLS = ["topk-keys", "composition-stats", "refinement-stats"]
SENTENCES = text(random_sentences(60, 12, seed=3, longest=9))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("merging") / "model"
    random_model.write_model(place, layers=2, d_model=8, d_ff=4, heads=2, vocabulary=12, cutoffs=(5, 8),
                             factor=2)
    return place


def tokenized(bin, model, *options, data=SENTENCES):
    return ok(bin, "tokenize", "-m", model, "--batch", 16, *options, stdin=data)


def stages(tool, model, top=1):
    """From tokens to what the tool merges."""
    return {"topk-keys": [["forward-dump", "-m", model], ["topk-keys", "-t", top]],
            "composition-stats": [["forward-dump", "-m", model, "--emit", "coef,ffn"],
                                  ["composition-stats", "-m", model, "--scaled", "--sums"]],
            "refinement-stats": [["forward-dump", "-m", model, "--emit", "resid,ffn"],
                                 ["refinement-stats", "-m", model, "--sums"]]}[tool]


def shard(bin, tool, model, *options, data=SENTENCES, top=1):
    return pipeline(bin, *stages(tool, model, top), stdin=tokenized(bin, model, *options, data=data))


def merging(tool):
    """argv of a merge to a stream."""
    return [tool, "--merge", *([] if tool == "topk-keys" else ["--sums"])]


@pytest.fixture(params=TOOLS)
def tool(request):
    return request.param


@pytest.fixture(scope="module")
def thirds(bin, model, tmp_path_factory):
    """{tool: (one run's stream, paths of three shards' streams)}"""
    place = tmp_path_factory.mktemp("thirds")
    made = {}
    for tool in TOOLS:
        paths = [place / f"{tool}-{i}" for i in range(3)]
        for i, path in enumerate(paths):
            path.write_bytes(shard(bin, tool, model, "--shard", f"{i}/3"))
        made[tool] = shard(bin, tool, model), paths
    return made


# --------------------------------------------------------- what trailers say

def test_a_stream_says_which_batches_it_has(bin, model):
    """Recomputation: batches of a shard or piece are found in the whole run by their number."""
    whole = streams.read(tokenized(bin, model))
    number = {record["id"]: i for i, record in enumerate(whole.records)}
    assert len(number) == len(whole.records) > 20
    edge = whole.records[7]["id"]
    for options in ([], ["--shard", "0/1"], ["--shard", "2/3"], ["--shard", "0/40"], ["--shard", "39/40"],
                    ["--to", edge],
                    ["--from", edge], ["--from", edge + 1, "--to", 50, "--shard", "1/4"],
                    ["--from", 1, "--to", 2]):
        stream = streams.read(tokenized(bin, model, *options))
        assert streams.covered(stream.trailer) == [number[record["id"]] for record in stream.records], options
        assert stream.trailer["batches"] == len(whole.records) and len(stream.trailer["covers"]) <= 1
        assert stream.trailer["text"] == whole.trailer["text"], options
    assert whole.trailer["covers"] == [[0, len(whole.records), 1]]


def test_another_text_has_another_hash(bin, model):
    """Other words, other lengths, other sentences of the same words, other samples; not another file with the
    same."""
    lines = SENTENCES.splitlines(keepends=True)
    texts = [SENTENCES, SENTENCES[:-3] + b"9\n", b"".join(lines[:-1]), b"".join(lines[::-1]),
             SENTENCES.replace(b"\n", b" ", 1), SENTENCES.replace(b" ", b"\n", 1)]
    hashes = [streams.read(tokenized(bin, model, *options, data=data)).trailer["text"]
              for data, options in [*((data, []) for data in texts), (SENTENCES, ["--limit", 59]),
                                    (SENTENCES, ["--sample", 30]),
                                    (SENTENCES, ["--sample", 30, "--seed", 2])]]
    assert hashes[6] == hashes[2] and len(set(hashes)) == len(hashes) - 1  # the first 59 lines, twice
    again = tokenized(bin, model, data=SENTENCES.replace(b"\n", b"  \n\n"))
    assert streams.read(again).trailer["text"] == hashes[0]


def test_every_stage_passes_on_what_is_covered(bin, model, tmp_path):
    tokens = tokenized(bin, model, "--shard", "1/3")
    rows = ok(bin, "forward-dump", "-m", model, "--emit", "max,coef,resid,ffn", stdin=tokens)
    triggers = ok(bin, "topk-keys", stdin=rows)
    made = [rows, triggers, ok(bin, "project-values", "-m", model, "-k", 1, stdin=triggers),
            ok(bin, "composition-stats", "-m", model, "--scaled", "--sums", stdin=rows),
            ok(bin, "refinement-stats", "-m", model, "--sums", stdin=rows)]
    expected = {name: streams.read(tokens).trailer[name] for name in streams.COVERAGE}
    for data in made:
        found = streams.read(data).trailer
        assert {name: found[name] for name in streams.COVERAGE} == expected
    values = ok(bin, "project-values", "-m", model, "--all", "-k", 9)
    assert not set(streams.COVERAGE) & set(streams.read(values).trailer)  # not of a corpus
    changed = ok(bin, "perturb-triggers", stdin=triggers)  # which are a corpus of their own
    expected = {name: streams.read(changed).trailer[name] for name in streams.COVERAGE}
    assert expected["text"] != streams.read(tokens).trailer["text"]
    found = streams.read(ok(bin, "forward-dump", "-m", model, "--emit", "key", stdin=changed)).trailer
    assert {name: found[name] for name in streams.COVERAGE} == expected


# -------------------------------------------------------------------- merges

def test_a_missing_shard_is_noticed(bin, tool, thirds, tmp_path):
    whole, paths = thirds[tool]
    total = streams.read(whole).trailer["batches"]
    for i, path in enumerate(paths):
        others = [other for other in paths if other != path]
        message = fails(bin, *merging(tool), *others, "-o", tmp_path / "out",
                        says="are in none of the inputs")
        missing = list(range(total))[i::3]
        assert f"{len(missing)} of the corpus' {total} batches" in message
        assert ": " + ", ".join(map(str, missing[:3])) + f" ...: shard {i}/3 is missing; --partial" in message
    fails(bin, *merging(tool), paths[0], "-o", tmp_path / "out", says="in none of the inputs")
    assert not list(tmp_path.iterdir())


@pytest.mark.release_only
def test_parts_merge_in_any_order_and_grouping(bin, tool, thirds, tmp_path):
    """Two ways to the same bytes: one run; all shards; merges of merges, which are checked again."""
    whole, paths = thirds[tool]
    for order in itertools.permutations(paths):
        assert ok(bin, *merging(tool), *order) == whole
        ok(bin, *merging(tool), "--partial", "-o", tmp_path / "half", *order[:2])
        ok(bin, *merging(tool), "--partial", "-o", tmp_path / "again", tmp_path / "half")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "half").read_bytes()
        assert ok(bin, *merging(tool), tmp_path / "half", order[2]) == whole
        fails(bin, *merging(tool), tmp_path / "half", says="in none of the inputs")
        fails(bin, *merging(tool), tmp_path / "half", order[1], says="overlap")
    assert ok(bin, *merging(tool), "--partial", *paths) == whole  # nothing is missing
    (tmp_path / "whole").write_bytes(whole)
    assert ok(bin, *merging(tool), tmp_path / "whole") == whole


@pytest.mark.release_only
def test_pieces_and_shards_of_several_divisions_merge(bin, tool, model, tmp_path):
    """Two ways to the same bytes: one run; the first sentences in one piece, the others in shards of three
    and of two."""
    divisions = [["--to", 20], *(["--from", 20, "--to", 40, "--shard", f"{i}/3"] for i in range(3)),
                 *(["--from", 40, "--shard", f"{i}/2"] for i in range(2))]
    paths = [tmp_path / f"{i}" for i in range(len(divisions))]
    for path, division in zip(paths, divisions):
        path.write_bytes(shard(bin, tool, model, *division))
    whole = shard(bin, tool, model)
    assert ok(bin, *merging(tool), *paths) == whole
    for left_out in range(len(paths)):
        fails(bin, *merging(tool), *paths[:left_out], *paths[left_out + 1:], says="in none of the inputs")
    some = ok(bin, *merging(tool), "--partial", *paths[4:0:-1])
    (tmp_path / "a").write_bytes(ok(bin, *merging(tool), "--partial", paths[3], paths[1]))
    (tmp_path / "b").write_bytes(ok(bin, *merging(tool), "--partial", paths[4], paths[2]))
    assert ok(bin, *merging(tool), "--partial", tmp_path / "b", tmp_path / "a") == some


@pytest.mark.release_only
def test_shards_without_a_batch_merge(bin, tool, model, tmp_path):
    """More shards than batches."""
    few = b"".join(SENTENCES.splitlines(keepends=True)[:5])
    paths = [tmp_path / f"{i}" for i in range(9)]
    for i, path in enumerate(paths):
        path.write_bytes(shard(bin, tool, model, "--shard", f"{i}/9", data=few))
    assert streams.read(paths[8]).trailer["covers"] == []
    assert ok(bin, *merging(tool), *paths) == shard(bin, tool, model, data=few)


def test_overlap_is_noticed(bin, tool, model, thirds, tmp_path):
    """Also with one trigger a key, which may be the same in both, and between shards of different
    divisions."""
    paths = thirds[tool][1]
    def refused(batch, first, *others):
        message = fails(bin, *merging(tool), "--partial", first, *others, "-o", tmp_path / "out",
                        says="overlap")
        assert f"{others[-1]}: " in message
        if tool == "composition-stats":  # the others meet a sentence twice before they have read all
            assert f"batch {batch} is in {first} as well: the shards overlap" in message
        else:
            assert f" is in {first} as well: the shards overlap" in message

    half = tmp_path / "half"
    half.write_bytes(shard(bin, tool, model, "--shard", "1/2"))
    refused(1, paths[1], paths[0], paths[2], paths[1])
    refused(3, paths[0], half)
    refused(5, half, paths[2])
    half.write_bytes(thirds[tool][0])
    fails(bin, *merging(tool), half, half, says="overlap")
    assert [path.name for path in tmp_path.iterdir()] == ["half"]


def test_overlap_is_noticed_where_no_key_has_a_trigger(bin, model, tmp_path):
    words = b"w4\nw5\nw6\n" * 20  # sentences of one word have no prefix
    for i in range(2):
        (tmp_path / f"{i}").write_bytes(shard(bin, "topk-keys", model, "--shard", f"{i}/2", data=words))
    assert not any(len(record["coef"]) for record in streams.read(tmp_path / "0").records[:-1])
    fails(bin, "topk-keys", "--merge", tmp_path / "0", tmp_path / "1", tmp_path / "0", says="overlap")
    assert ok(bin, "topk-keys", "--merge", tmp_path / "1",
              tmp_path / "0") == shard(bin, "topk-keys", model, data=words)


def test_a_shard_of_another_text_is_noticed(bin, tool, model, thirds, tmp_path):
    """With the same name; of as many batches, and of more."""
    paths = thirds[tool][1]
    for label, data in ("same", SENTENCES.replace(b"w4 ", b"w5 ", 1)), ("more", SENTENCES * 2), \
            ("edited", SENTENCES + b"w7\n"):
        other = tmp_path / label
        other.write_bytes(shard(bin, tool, model, "--shard", "1/3", data=data))
        message = fails(bin, *merging(tool), paths[0], other, paths[2], says="of another text")
        assert f"{other}: " in message and f"than that of {paths[0]}" in message


def changed_trailer(data, **members):
    """members: None takes one away."""
    objects = [item.value for item in streams.items(data)]
    trailer = {name: value for name, value in {**objects[-1], **members}.items() if value is not None}
    return streams.write(objects[0], objects[1:-1], trailer)


def test_an_input_that_does_not_say_what_it_covers_is_refused(bin, tool, thirds, tmp_path):
    """As one is that a stage of one's own made."""
    whole = thirds[tool][0]
    for name in streams.COVERAGE:
        (tmp_path / "own").write_bytes(changed_trailer(whole, **{name: None}))
        message = fails(bin, *merging(tool), "--partial", tmp_path / "own",
                        says="does not say what of the corpus it covers")
        assert "batches, covers and text" in message


WRONG = [0, "", {}, [0], [[]], [[0, 1]], [[0, 1, 1, 1]], [[0, 0, 1]], [[1, 0, 1]], [[-1, 1, 1]], [[0, 1, 0]],
         [[0, 1, -1]],
         [["0", 1, 1]], [[0, 1.5, 1]], [[0, 10 ** 6, 1]], [[0, 1 << 62, 1]], [[0, 1, None]]]


def test_false_coverage(bin, tool, thirds, tmp_path):
    whole = thirds[tool][0]
    for covers in WRONG:
        (tmp_path / "wrong").write_bytes(changed_trailer(whole, covers=covers))
        fails(bin, *merging(tool), "--partial", tmp_path / "wrong", says=f"{tmp_path / 'wrong'}: ")
    for members, says in [({"covers": [[0, 3, 1], [4, 9, 2], [2, 3, 1]]}, "overlap"),
                          ({"batches": -1}, "[first, end, step]"),
                          ({"batches": "7"}, "does not say"), ({"text": 7}, "does not say"),
                          ({"batches": 0}, "[first, end, step]"),
                          ({"batches": 1 << 62, "covers": [[0, (1 << 62) - 1, 1 << 61]]},
                           ": 1, 2, 3 ...: a shard"),
                          ({"batches": 1 << 62, "covers": [[0, (1 << 62) - 1, 1]]},
                           "1 of the corpus' 4611686018427387904 batches")]:
        (tmp_path / "wrong").write_bytes(changed_trailer(whole, **members))
        fails(bin, *merging(tool), tmp_path / "wrong", says=says)


# ------------------------------------------------------------- no sentences

@pytest.fixture(scope="module")
def empty(bin, model):
    """{what reads it: (arguments, the stream of a shard that has no batch)}; tools that write streams pass it
    on."""
    tokens = tokenized(bin, model, "--shard", "999/1000")
    rows = ok(bin, "forward-dump", "-m", model, "--emit", "max,coef,resid,ffn", stdin=tokens)
    triggers = ok(bin, "topk-keys", stdin=rows)
    counted = pipeline(bin, ["forward-dump", "-m", model, "--emit", "max,magnitudes"], ["topk-keys"],
                       stdin=tokens)
    values = ok(bin, "project-values", "-m", model, "-k", 9, stdin=triggers)
    sums = {tool: ok(bin, tool, *arguments, "--sums", stdin=rows) for tool, arguments in
            [("composition-stats", ["-m", model, "--scaled"]), ("refinement-stats", ["-m", model])]}
    return {"writers": {"forward-dump": (["-m", model], tokens), "topk-keys": ([], rows),
                        "project-values": (["-m", model, "-k", 9], triggers),
                        "topk-keys --merge": (["-", "--partial"], triggers),
                        "composition-stats --sums": (["-m", model, "--scaled"], rows),
                        "composition-stats --merge": (["--sums", "--partial", "-"],
                                                      sums["composition-stats"]),
                        "refinement-stats --sums": (["-m", model], rows),
                        "refinement-stats --merge": (["--sums", "--partial", "-"], sums["refinement-stats"])},
            "others": {"agreement-stats": ([], values), "shallow-stats": ([], triggers),
                       "coefficient-stats": ([], counted),
                       "annotation-sheet": (["-m", model], values), "perturb-triggers": ([], triggers),
                       "report-pages": (["-m", model, "-o", "pages"], values),
                       "composition-stats": (["-m", model, "--scaled"], rows),
                       "refinement-stats": (["-m", model], rows),
                       "composition-stats --merge": (["--partial", "-"], sums["composition-stats"]),
                       "refinement-stats --merge": (["--partial", "-"], sums["refinement-stats"])}}


def test_a_shard_without_a_batch_goes_through_but_gives_no_table(bin, empty, tmp_path):
    for tool, (arguments, data) in empty["writers"].items():
        found = streams.read(ok(bin, *tool.split(), *arguments, stdin=data)).trailer
        assert (found["sentences"], found["covers"]) == (0, []) and found["batches"] > 0, tool
    for tool, (arguments, data) in empty["others"].items():
        fails(bin, *tool.split(), *arguments, stdin=data, cwd=tmp_path, says=": there is no sentence in it")
    assert not list(tmp_path.iterdir())


def test_a_corpus_without_a_sentence_is_refused_at_every_stage(bin, model, empty, tmp_path):
    """Of a stage of one's own, that dropped everything; tokenize itself refuses it."""
    fails(bin, "tokenize", "-m", model, stdin=b"\n \n", says=": there is no sentence in it")
    for tool, (arguments, data) in [*empty["writers"].items(), *empty["others"].items()]:
        own = changed_trailer(data, batches=None, covers=None, text=None)
        fails(bin, *tool.split(), *arguments, stdin=own, cwd=tmp_path, says=": there is no sentence in it")
        assert b'"sentences":0' in ok(bin, "stream-cat", stdin=own)
    assert not list(tmp_path.iterdir())


def test_changed_prefixes_of_no_trigger_are_refused(bin, model):
    triggers = shard(bin, "topk-keys", model, data=b"w4\nw5\n")  # no sentence has a prefix
    fails(bin, "perturb-triggers", stdin=triggers, says="standard input: no key in it has a trigger")
    changed = ok(bin, "perturb-triggers", stdin=shard(bin, "topk-keys", model))
    objects = [item.value for item in streams.items(changed)]
    none = streams.write(objects[0], [])
    fails(bin, "forward-dump", "-m", model, "--emit", "key", stdin=none, says=": there is no sentence in it")
    objects[0].update(kind="activations", layers=[], cells=None)
    fails(bin, "perturbation-stats", stdin=streams.write(objects[0], []), says=": there is no sentence in it")


def test_from_behind_the_end_and_an_empty_range_are_errors(bin, model, tmp_path):
    """60 sentences."""
    for first, behind in (5, 2), (5, 5), (0, 0):
        message = fails(bin, "tokenize", "-m", model, "--from", first, "--to", behind, "-o", tmp_path / "out",
                        stdin=SENTENCES, status=2)
        assert f"--from {first} --to {behind}: no sentence lies between" in message
    for options in ["--from", 60], ["--from", 61], ["--from", 1 << 63], ["--from", 60, "--sample", 5], \
            ["--from", 20, "--limit", 20]:
        fails(bin, "tokenize", "-m", model, *options, "-o", tmp_path / "out", stdin=SENTENCES,
              says=f"--from {options[1]} is behind its end: it has {20 if '--limit' in options else 60} "
              "sentences")
    assert not list(tmp_path.iterdir())
    assert streams.read(tokenized(bin, model, "--from", 59)).trailer["sentences"] <= 1
    assert streams.read(tokenized(bin, model, "--from", 19, "--limit", 20)).trailer["sentences"] <= 1


# ------------------------------------------------------------- large numbers

def test_counts_that_overflow(bin, tool, thirds, tmp_path):
    """Counts of trailers: 2^48 is the largest one of an input, and of all together."""
    paths, most = thirds[tool][1], 1 << 48
    large = tmp_path / "large"
    for name in streams.COUNTS:
        first = streams.read(paths[0]).trailer[name] + streams.read(paths[2]).trailer[name]
        large.write_bytes(changed_trailer(paths[1].read_bytes(), **{name: most - first}))
        assert streams.read(ok(bin, *merging(tool), paths[0], large, paths[2])).trailer[name] == most
        large.write_bytes(changed_trailer(paths[1].read_bytes(), **{name: most - first + 1}))
        fails(bin, *merging(tool), paths[0], large, paths[2], says="2^48")
        for number in most + 1, (1 << 63) - 1:
            large.write_bytes(changed_trailer(paths[1].read_bytes(), **{name: number}))
            fails(bin, *merging(tool), paths[0], large, paths[2], says=f"{name} is not a count")


def with_number(path, name, number):
    """The stream with the last element of the first array of this name, or the member, changed."""
    objects = [item.value for item in streams.items(path)]
    record = next(record for record in objects if name in record)
    if isinstance(record[name], bytes):
        record[name] = record[name][:-8] + number.to_bytes(8, "little")
    else:
        record[name] = number
    return streams.write(objects[0], objects[1:-1], objects[-1])


@pytest.mark.parametrize("tool, name", [("topk-keys", "token_counts"), ("composition-stats", "token_counts"),
                                        ("composition-stats", "active_count")])
def test_sums_that_overflow(bin, thirds, tmp_path, tool, name):
    """Of arrays' elements: as those of trailers."""
    paths, large = thirds[tool][1], tmp_path / "large"
    large.write_bytes(with_number(paths[1], name, (1 << 48) + 1))
    fails(bin, *merging(tool), paths[0], large, paths[2], says=f"{large}: record ")
    if name == "token_counts":
        large.write_bytes(with_number(paths[1], name, 1 << 48))
        fails(bin, *merging(tool), paths[0], large, paths[2], says="more than 2^48")


def test_exact_sums_that_overflow(bin, thirds, tmp_path):
    """2^352 is more than floats can add up to, and 2^32 of such sums would wrap around."""
    paths, large = thirds["refinement-stats"][1], tmp_path / "large"
    large.write_bytes(with_number(paths[1], "surprise_sum", 1 << 32))
    fails(bin, *merging("refinement-stats"), paths[0], large, paths[2], says="'surprise_sum' is larger than")


def test_coverage_of_many_parts(bin, thirds, tmp_path):
    """As many as there may be, in any form that says the same; and one more."""
    whole = thirds["topk-keys"][0]
    parts = [[3 * i, 3 * i + 2, 7] for i in range(4096)]
    random.Random(1).shuffle(parts)
    (tmp_path / "many").write_bytes(changed_trailer(whole, batches=20000, covers=parts))
    merged = ok(bin, "topk-keys", "--merge", "--partial", tmp_path / "many")
    assert streams.read(merged).trailer["covers"] == [[3 * i, 3 * i + 1, 1] for i in range(4096)]
    (tmp_path / "more").write_bytes(changed_trailer(whole, batches=20000, covers=[*parts, [1, 2, 1]]))
    fails(bin, "topk-keys", "--merge", "--partial", tmp_path / "more", says="more than 4096 parts")


def test_partial_goes_with_merge(bin, tool, model):
    options = [] if tool == "topk-keys" else ["-m", model]
    assert run(bin, tool, *options, *(["--scaled"] if tool == "composition-stats" else []),
               "--partial", "x").returncode == 2


def test_tables_of_some_shards_need_partial_too(bin, model, thirds, tmp_path):
    for tool in TOOLS[1:]:
        paths = thirds[tool][1]
        fails(bin, tool, "--merge", paths[0], paths[1], "-o", tmp_path / "out", says="shard 2/3 is missing")
        table = ok(bin, tool, "--merge", "--partial", paths[0], paths[1])
        assert table.count(b"\n") == 3
    assert not list(tmp_path.iterdir())
