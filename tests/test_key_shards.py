"""Tables of keys, made of shards of them: two ways to the same bytes, one run, whose numbers other tests
recompute, and the sums of its shards merged."""

import functools
import itertools
import json

import numpy as np
import pytest

import fault_inputs
import random_model
import streams
from helpers import fails, ok, pipeline, random_sentences, table, text

SENTENCES = text(random_sentences(90, 12, seed=3, longest=9))
TOOLS = ["agreement-stats", "shallow-stats", "coefficient-stats", "value-ranks"]
TABLES = {"agreement-stats": ["--rank", "--confidence", "--top-values"],
          "shallow-stats": ["--keys", "--ngrams"], "coefficient-stats": ["--keys"], "value-ranks": []}
KINDS = {"agreement-stats": "agreement", "shallow-stats": "shallow", "coefficient-stats": "coefficients",
         "value-ranks": "ranks"}


def write_model(place, seed=1, layers=3):
    random_model.write_model(place, layers=layers, d_model=8, d_ff=100, heads=2, vocabulary=12,
                             cutoffs=(5, 8), factor=2, seed=seed)
    return place


class Tool:
    """How a tool makes sums of all keys or of a shard, and its tables."""

    def __init__(self, bin, name, model, place):
        self.bin, self.name, self.model, self.place = bin, name, model, place
        place.mkdir()

    @functools.lru_cache
    def triggers(self, data=SENTENCES, name="text"):
        return pipeline(self.bin, ["tokenize", "-m", self.model, "--batch", 16, "--name", name],
                        ["forward-dump", "-m", self.model, "--emit", "max,magnitudes"],
                        ["topk-keys", "-t", 50], stdin=data)

    @functools.lru_cache
    def keys(self, *shard, **text):
        """The triggers with values, of a shard."""
        if self.name == "value-ranks":
            return b""
        return ok(self.bin, "project-values", "-m", self.model, "-k", 2, *shard, stdin=self.triggers(**text))

    def options(self):
        tokens = self.place / "tokens"
        if not tokens.exists():
            tokens.write_bytes(ok(self.bin, "tokenize", "-m", self.model, stdin=SENTENCES))
        return {"value-ranks": ["-m", self.model, "--ids", "4-6,9"],
                "shallow-stats": ["--corpus", tokens, "--skip-frequent", 2]}.get(self.name, [])

    def sums(self, *shard, options=(), **text):
        of_tool = shard if self.name == "value-ranks" else ()
        return ok(self.bin, self.name, *self.options(), "--sums", *of_tool, *options,
                  stdin=self.keys(*([] if of_tool else shard), **text))

    def write(self, count, name="shard"):
        """Paths of count shards' sums."""
        paths = [self.place / f"{name}-{i}-of-{count}" for i in range(count)]
        for i, path in enumerate(paths):
            path.write_bytes(self.sums("--shard", f"{i}/{count}"))
        return paths

    def tables(self, *arguments, stdin=b"", further=()):
        """What is written: the table on standard output, and those of options."""
        names = {option: self.place / f"{option}.csv" for option in TABLES[self.name]}
        model = ["-m", self.model] if self.name in ("agreement-stats", "shallow-stats") else []
        made = ok(self.bin, self.name, *model, *itertools.chain(*names.items()), *further, *arguments,
                  stdin=stdin)
        return [made, *(path.read_bytes() for path in names.values())]

    def whole(self, further=()):
        return self.tables(*self.options(), stdin=self.keys(), further=further)

    def merge(self, *paths, sums=False):
        return ok(self.bin, self.name, "--merge", *(["--sums"] if sums else []), *paths)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("key-shards") / "model")


@pytest.fixture(scope="module", params=TOOLS)
def tool(request, bin, model, tmp_path_factory):
    return Tool(bin, request.param, model, tmp_path_factory.mktemp(request.param) / "place")


@pytest.fixture(scope="module")
def thirds(tool):
    return tool.write(3)


def test_tables_of_shards_are_not_those_of_one_run(tool, thirds):
    """In any order; of more shards than there are blocks; of one run's sums."""
    whole = tool.whole()
    for order in itertools.permutations(thirds):
        assert tool.tables("--merge", *order) == whole
    assert tool.tables("--merge", *thirds[1:], "-", stdin=thirds[0].read_bytes()) == whole
    (tool.place / "whole").write_bytes(tool.sums())
    assert tool.tables("--merge", tool.place / "whole") == whole
    blocks = streams.read(thirds[0]).trailer["key_blocks"]
    assert blocks == 10  # of 300 keys
    assert tool.tables("--merge", *tool.write(blocks + 2)) == whole


def test_merges_of_merges_give_other_bytes(tool, thirds):
    paths, whole, place = tool.write(7), tool.sums(), tool.place
    for name, parts in ("a", paths[:3]), ("b", paths[3:5]), ("c", paths[5:]):
        ok(tool.bin, tool.name, "--merge", "--sums", "--partial", "-o", place / name, *parts)
    a, b, c = (place / name for name in "abc")
    for order in itertools.permutations([a, b, c]):
        assert tool.merge(*order, sums=True) == whole
    ok(tool.bin, tool.name, "--merge", "--sums", "--partial", "-o", place / "ab", b, a)
    flat = ok(tool.bin, tool.name, "--merge", "--sums", "--partial", *paths[4::-1])
    assert (place / "ab").read_bytes() == flat and tool.merge(c, place / "ab", sums=True) == whole
    fails(tool.bin, tool.name, "--merge", a, c, says="shard 3/7, 4/7 are missing")
    assert tool.merge(*thirds, sums=True) == whole


def test_sums_say_of_other_keys_than_they_have(tool, thirds):
    """Blocks are 32 records of keys, or of values, counted here."""
    whole, shard = (streams.read(data) for data in (tool.sums(), thirds[1]))
    assert whole.header == shard.header and whole.header["kind"] == KINDS[tool.name]
    keys = [(record["layer"], record["cell"]) for record in whole.records if "layer" in record]
    assert len(keys) == 300 and not {"key_blocks", "key_covers", "key_hash"} & set(whole.trailer)
    blocks = [keys[i:i + 32] for i in range(0, 300, 32)]
    assert [(record["layer"], record["cell"]) for record in shard.records if "layer" in record] \
        == [key for block in blocks[1::3] for key in block]
    assert (shard.trailer["key_blocks"], shard.trailer["key_covers"]) == (10, [[1, 8, 3]])


def test_a_missing_or_double_shard_is_not_named(tool, thirds, tmp_path):
    for i in range(3):
        message = fails(tool.bin, tool.name, "--merge", *thirds[:i], *thirds[i + 1:], "-o", tmp_path / "out",
                        says=f"shard {i}/3 is missing")
        assert f" of the keys' 10 blocks are in none of the inputs: {i}, " in message
    message = fails(tool.bin, tool.name, "--merge", *thirds, thirds[1], "-o", tmp_path / "out",
                    says=f" is in {thirds[1]} as well: the shards overlap")
    assert f"{thirds[1]}: " in message
    (tool.place / "all").write_bytes(tool.sums())
    fails(tool.bin, tool.name, "--merge", tool.place / "all", thirds[1], "-o", tmp_path / "out",
          says="overlap")
    half = tool.write(2)[0]
    fails(tool.bin, tool.name, "--merge", thirds[1], thirds[2], half, "-o", tmp_path / "out", says="overlap")
    assert not (tmp_path / "out").exists()
    partial = ok(tool.bin, tool.name, "--merge", "--partial", *thirds[1:])
    assert partial != ok(tool.bin, tool.name, "--merge", *thirds)


def test_sums_of_something_else_are_merged(tool, thirds, tmp_path):
    """Another model, corpus, text, option, kind."""
    other = tmp_path / "other"

    def refused(says, data):
        other.write_bytes(data)
        message = fails(tool.bin, tool.name, "--merge", thirds[0], other, thirds[2], "-o", tmp_path / "out",
                        says=says)
        assert f"{other}: " in message and not (tmp_path / "out").exists()

    of_model = Tool(tool.bin, tool.name, write_model(tmp_path / "model", seed=2), tmp_path / "place")
    refused("its header has another model", of_model.sums("--shard", "1/3"))
    if tool.name == "value-ranks":
        refused("its header has another named_tokens",
                ok(tool.bin, tool.name, "-m", tool.model, "--ids", "4-6", "--sums", "--shard", "1/3"))
        refused("its history has another value-ranks, by all_tokens",
                tool.sums("--shard", "1/3", options=["--all-tokens"]))
        refused("its header has another layers", tool.sums("--shard", "1/3", options=["--layers", "1-2"]))
        return
    refused("its header has another corpus", tool.sums("--shard", "1/3", name="other"))
    refused("a shard of other keys than those of",
            tool.sums("--shard", "1/3", data=SENTENCES.replace(b"w4 ", b"w5 ", 2)))
    if tool.name == "shallow-stats":
        for option, value in ("top", 4), ("skip-frequent", 3), ("least", 2), ("seed", 2):
            refused(f"its history has another shallow-stats, by {option.replace('-', '_')}",
                    tool.sums("--shard", "1/3", options=[f"--{option}", value]))
    another = {"agreement-stats": "shallow-stats"}.get(tool.name, "agreement-stats")
    fails(tool.bin, another, "--merge", thirds[0], says=f"a stream of kind '{KINDS[tool.name]}'")


def test_more_confident_values_than_the_table_has_come_of_several_shards(bin, tmp_path):
    """Equal ones, which the order of keys decides, are about the last row of the table, and in two shards."""
    tool = Tool(bin, "agreement-stats", write_model(tmp_path / "model", layers=2), tmp_path / "place")
    objects = [item.value for item in streams.items(tool.keys())]
    for i, record in enumerate(objects[1:201]):
        top_p = np.frombuffer(record["top_p"], "<f4").copy()
        top_p[0] = np.float32(0.25 + (i % 5 < 2) / 4)  # 80 keys have 0.5: 20 of 120 others are in the table
        record["top_p"] = top_p.tobytes()
    (tmp_path / "keys").write_bytes(streams.write(objects[0], objects[1:-1], objects[-1]))
    whole = tool.tables(stdin=(tmp_path / "keys").read_bytes())
    listed = table(whole[-1])
    assert [(int(row["layer"]), int(row["cell"])) for row in listed] == [
        (i // 100 + 1, i % 100) for i in [i for i in range(200) if i % 5 < 2]
        + [i for i in range(200) if i % 5 >= 2][:20]]
    keys, paths = objects[1:201], []
    for shard in range(2):
        part = [record for i, record in enumerate(keys) if i // 32 % 2 == shard] + objects[201:-1]
        members = {"key_blocks": 7, "key_covers": [[shard, 7 - shard, 2]], "key_hash": "0" * 32}
        path = tmp_path / f"{shard}"
        path.write_bytes(ok(bin, "agreement-stats", "--sums",
                            stdin=streams.write(objects[0], part, {**objects[-1], **members})))
        examples = sum("example" in record for record in streams.read(path).records)
        assert 0 < examples <= 100
        paths.append(path)
    assert tool.tables("--merge", *paths) == whole
    merged = streams.read(ok(bin, "agreement-stats", "--merge", "--sums", *paths))
    assert sum("example" in record for record in merged.records) == 100


def test_lists_of_triggers_and_signs_in_shards(bin, tmp_path):
    """A gated model; blocks end within a key, whose lists are then in two shards."""
    model = tmp_path / "gated"
    fault_inputs.write_llama(model)
    ranks = ["--rank", "value,min"]
    triggers = tmp_path / "triggers"
    triggers.write_bytes(pipeline(
        bin, ["tokenize", "-m", model],
        ["forward-dump", "-m", model, "--emit", "max,magnitudes,signs", *ranks],
        ["topk-keys", "-t", 9, *ranks], stdin=text(random_sentences(30, 60, seed=4))))
    project = ["project-values", "-m", model, "-k", 2, triggers]
    whole = ok(bin, *project)
    shards = [ok(bin, *project, "--shard", f"{i}/3") for i in range(3)]
    tables = [["agreement-stats", "--list", "min"],
              ["shallow-stats", "--list", "value", "--skip-frequent", 3], ["coefficient-stats"]]
    for tool, *options in tables:
        for i, data in enumerate(shards):
            (tmp_path / f"{i}").write_bytes(ok(bin, tool, *options, "--sums", stdin=data))
        paths = [tmp_path / f"{i}" for i in (2, 0, 1)]
        assert ok(bin, tool, "--merge", *paths) == ok(bin, tool, *options, stdin=whole)
        if tool == "coefficient-stats":
            for option in "--signs", "--sign-keys", "--keys":
                ok(bin, tool, "--merge", option, tmp_path / "merged", *paths)
                ok(bin, tool, option, tmp_path / "one", stdin=whole)
                assert (tmp_path / "merged").read_bytes() == (tmp_path / "one").read_bytes()
            continue
        (tmp_path / "other").write_bytes(ok(bin, tool, "--list", {"min": "value"}.get(options[1], "min"),
                                            *options[2:], "--sums", stdin=shards[1]))
        fails(bin, tool, "--merge", paths[0], tmp_path / "other",
              says=f"its history has another {tool}, by list")


def test_the_best_values_and_edits_of_shards(bin, model, tmp_path):
    tool = Tool(bin, "value-ranks", model, tmp_path / "place")
    paths = tool.write(3)
    for options in ["--top", 1], ["--top", 7], ["--top", 400], ["--top", 7, "--as-edits", "*3"]:
        assert tool.tables("--merge", *options, *paths) == tool.whole(further=options)
    some = ["--layers", "2", "--all-tokens"]
    for i in range(2):
        (tmp_path / f"{i}").write_bytes(tool.sums("--shard", f"{i}/2", options=some))
    assert tool.tables("--merge", tmp_path / "1", tmp_path / "0") == tool.whole(further=some)


# ------------------------------------------------------------- wrong usage and damage

@pytest.mark.parametrize("arguments, says", [
    (["agreement-stats", "--sums", "--rank", "x"], "--sums writes no tables"),
    (["agreement-stats", "--sums", "--bins", "5"], "--sums writes no tables"),
    (["agreement-stats", "--merge", "--list", "min", "x"], "--merge keeps what its inputs were made with"),
    (["agreement-stats", "-z"], "--gzip goes with --sums"),
    (["agreement-stats", "--partial"], "--partial goes with --merge"),
    (["agreement-stats", "--merge"], "--merge needs the names of its inputs"),
    (["agreement-stats", "x", "y"], "more than one input; --merge joins"),
    (["shallow-stats", "--sums", "--ngrams", "x", "-m", "y"], "--sums writes no tables"),
    (["shallow-stats", "--sums", "--sample", "5"], "topk-keys --sample"),
    (["shallow-stats", "--merge", "--top", "25", "x"], "--merge keeps what its inputs were made with"),
    (["shallow-stats", "--merge", "--seed", "1", "x"], "--merge keeps what its inputs were made with"),
    (["shallow-stats", "--merge", "--corpus", "y", "x"], "--merge keeps what its inputs were made with"),
    (["coefficient-stats", "--sums", "--keys", "x"], "--sums writes no tables"),
    (["value-ranks", "-m", "x", "--ids", "5", "--shard", "0/2"], "--shard goes with --sums"),
    (["value-ranks", "-m", "x", "--ids", "5", "--sums", "--top", "3"],
     "--top and --as-edits go with --merge"),
    (["value-ranks", "--merge", "--ids", "5", "x"], "--merge keeps what its inputs were made with"),
    (["value-ranks", "-m", "x", "--ids", "5", "y"], "it reads the model alone")], ids=str)
def test_options_that_contradict_each_other(bin, arguments, says):
    fails(bin, *arguments, says=says, status=2)


# member, of a record that has it: its last element's, or its own, new value
DAMAGE = {
    "agreement-stats": [("layer", 3, "layer"), ("cell", 100, "cell"), ("promoted", 12, "out of range"),
                        ("confidence", 1.5, "out of range"), ("confidence", float("nan"), "out of range"),
                        ("first_next", 12, "out of range"), ("first_rank", 0, "out of range"),
                        ("first_rank", 13, "out of range"), ("agreeing", 51, "out of range"),
                        ("example", 12, "out of range"), ("example_next", 12, "out of range"),
                        ("example", None, "example"), ("first_last", None, "first_last")],
    "shallow-stats": [("triggers", 1, "out of range"), ("triggers", 1 << 40, "out of range"),
                      ("same_last", 26, "out of range"), ("overlap", 1.1, "out of range"),
                      ("overlap", float("nan"), "out of range"), ("last", 12, "out of range"),
                      ("overlap_random", -0.1, "out of range"), ("overlap_random", None, "overlap_random"),
                      ("ngram", 12, "out of range"), ("ngram_length", 4, "out of range"),
                      ("ngram_length", 0, "out of range"), ("ngram_triggers", None, "ngram_triggers")],
    "coefficient-stats": [("magnitudes_count", 9999, "the first key has"),
                          ("magnitudes_bin", 514, "magnitudes"),
                          ("magnitudes_count", None, "magnitudes_count")],
    "value-ranks": [("rank", 0, "out of range"), ("rank", 13, "out of range"), ("p", 1.5, "out of range"),
                    ("p", None, "'p'"), ("layer", 3, "layer")],
}


def test_damaged_sums_go_into_tables(tool, thirds, tmp_path):
    """Each member in the last record that has it; records out of order, missing, or behind the last."""
    objects, damaged = [item.value for item in streams.items(thirds[1])], tmp_path / "damaged"
    header, records, trailer = objects[0], objects[1:-1], objects[-1]

    def refused(says, *changed, of=header):
        damaged.write_bytes(streams.write(of, list(changed), trailer))
        message = fails(tool.bin, tool.name, "--merge", thirds[0], damaged, thirds[2], "-o", tmp_path / "out",
                        says=says)
        assert not (tmp_path / "out").exists()
        return message

    for name, number, says in DAMAGE[tool.name]:
        index = max(i for i, record in enumerate(records) if name in record and record[name] != b"")
        record = dict(records[index])
        if number is None:
            del record[name]
        elif isinstance(record[name], bytes):
            array = np.frombuffer(record[name], streams.TYPES[header["arrays"][name]["type"]]).copy()
            array[-1] = number
            record[name] = array.tobytes()
        else:
            record[name] = number
        message = refused(says, *records[:index], record, *records[index + 1:])
        assert f"{damaged}: record " in message
    assert " is not in order" in refused("is not in order", records[1], records[0], *records[2:])
    refused("all inputs together have 299 keys, not 300", *records[1:])
    counts = [record for record in records if "token_counts" in record]
    if counts:
        refused("a record follows that of the counts of tokens", *records, records[0])
        refused("its counts of tokens are not those of the first input", *records[:-1])
    if tool.name == "value-ranks":
        refused("its header has another", *records, of={**header, "named_tokens": []})


# ------------------------------------------------------------- shards where all is needed

@pytest.fixture(scope="module")
def shard_of(bin, model, tmp_path_factory):
    """{what is divided: a shard}"""
    place = tmp_path_factory.mktemp("parts")
    tool = Tool(bin, "agreement-stats", model, place / "place")
    made = {"keys": tool.keys("--shard", "1/3"), "last": tool.keys("--shard", "9/10"),
            "values": ok(bin, "project-values", "-m", model, "--all", "-k", 1, "--shard", "1/3"),
            "none": ok(bin, "project-values", "-m", model, "--all", "-k", 1, "--shard", "11/12"),
            "rows": pipeline(bin, ["tokenize", "-m", model],
                             ["forward-dump", "-m", model, "--emit", "coef,ffn"], stdin=SENTENCES),
            "tokens": ok(bin, "tokenize", "-m", model, stdin=SENTENCES),
            "prompts": pipeline(bin, ["tokenize", "-m", model, "--prompt"],
                                ["forward-dump", "-m", model, "--emit", "coef,resid,ffn"], stdin=b"w4 w5\n")}
    for name, data in made.items():
        (place / name).write_bytes(data)
    return {name: place / name for name in made}


READERS = [["agreement-stats", "{keys}"], ["shallow-stats", "{keys}"], ["coefficient-stats", "{keys}"],
           ["perturb-triggers", "{keys}"], ["annotation-sheet", "-m", "{model}", "{keys}"],
           ["report-pages", "-m", "{model}", "-o", "pages", "{keys}"],
           ["trace-prompts", "-m", "{model}", "--triggers", "{keys}", "--positions", "all", "--page", "page",
            "{prompts}"],
           ["composition-stats", "-m", "{model}", "--scaled", "--thresholds", "{keys}", "--percentile", "90",
            "{rows}"],
           ["composition-stats", "-m", "{model}", "--values", "{values}", "{rows}"],
           ["forward-dump", "-m", "{model}", "--remove", "*:agreeing=2", "--values", "{values}", "{tokens}"],
           ["generate", "-m", "{model}", "--remove", "*:agreeing=2", "--values", "{values}", "--tokens", "3"]]


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_what_needs_all_keys_takes_a_shard(bin, model, shard_of, tmp_path, arguments):
    words = [word.format(model=model, **shard_of) for word in arguments]
    message = fails(bin, *words, stdin=b"w4 w5\n", cwd=tmp_path,
                    says=", and all are needed: project-values --merge joins the shards")
    divided = "values" if "{values}" in arguments else "keys"
    assert f"{shard_of[divided]}: " in message and f": shard 1/3 of the {divided}, and" in message
    assert not list(tmp_path.iterdir())


def test_shards_that_cannot_be_numbered_are_taken(bin, model, shard_of, tmp_path):
    """One block says nothing of the division; nor does no block, nor do several shards merged."""
    fails(bin, "agreement-stats", shard_of["last"],
          says="a shard with 1 of the 10 blocks of the keys, and all are needed")
    values = ["composition-stats", "-m", model, shard_of["rows"], "--values"]
    fails(bin, *values, shard_of["none"], says="a shard with 0 of the 10 blocks of the values, and all are")
    ok(bin, "project-values", "--merge", "--partial", "-o", tmp_path / "two", shard_of["values"],
       shard_of["none"])
    fails(bin, *values, tmp_path / "two", says="shard 1/3 of the values, and all are needed")
    objects = [item.value for item in streams.items(shard_of["values"])]
    for member in "key_blocks", "key_covers", "key_hash":
        del objects[-1][member]
    (tmp_path / "false").write_bytes(streams.write(objects[0], objects[1:-1], objects[-1]))
    fails(bin, *values, tmp_path / "false", says="layer 1 cell 32 is not in order")


def test_python_reads_sums_otherwise(tool, thirds):
    """ffkv.py: members, arrays of 64-bit floats among them, as stream-cat shows them."""
    shown = [json.loads(line) for line in ok(tool.bin, "stream-cat", thirds[0]).splitlines()[1:-1]]
    read = streams.read(thirds[0]).records
    assert len(shown) == len(read)
    for left, right in zip(shown, read):
        assert left.keys() == right.keys()
        for name, value in right.items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(np.asarray(left[name], value.dtype).reshape(value.shape), value), name
            else:
                assert left[name] == value
