"""Shards of keys, of values, and of the prefixes of triggers; what may be the most of anything.  Two ways to
the same bytes: one run, and its shards merged.  tests/test_merging.py has the shards of a corpus."""

import itertools
import math
import pathlib
import re

import pytest

import random_model
import streams
import synthetic_shards
from helpers import fails, ok, pipeline, random_sentences, text

ROOT = pathlib.Path(__file__).resolve().parent.parent
SENTENCES = text(random_sentences(60, 12, seed=3, longest=9))
ROWS = 32  # of a block of keys
MEMBERS = ["key_blocks", "key_covers", "key_hash"]


def write_model(place, seed=1):
    random_model.write_model(place, layers=3, d_model=8, d_ff=100, heads=2, vocabulary=12, cutoffs=(5, 8),
                             factor=2, seed=seed)
    return place


class Kind:
    """What is divided: how a shard of it is made, and how shards are merged."""

    def __init__(self, bin, model, name, triggers):
        self.bin, self.model, self.name, self.triggers = bin, model, name, triggers
        self.merge = {"prefixes": ["perturbation-stats"]}.get(name, ["project-values", "--merge"])
        self.has_stream = name != "prefixes"

    def make(self, *options, triggers=None, model=None):
        triggers, model = triggers or self.triggers, model or self.model
        if self.name == "prefixes":
            return pipeline(self.bin, ["perturb-triggers", "--sample", 20, *options],
                            ["forward-dump", "-m", model, "--emit", "key"], stdin=triggers)
        if self.name == "values":
            return ok(self.bin, "project-values", "-m", model, "--all", "-k", 2, *options)
        return ok(self.bin, "project-values", "-m", model, "-k", 2, *options, stdin=triggers)

    def units(self):
        trailer = streams.read(self.make("--shard", "0/2")).trailer
        return trailer["key_blocks" if self.has_stream else "batches"]

    def whole(self):
        made = self.make()
        return made if self.has_stream else ok(self.bin, "perturbation-stats", stdin=made)


def find_triggers(bin, model, *options, data=SENTENCES, name="text"):
    return pipeline(bin, ["tokenize", "-m", model, "--batch", 16, "--name", name],
                    ["forward-dump", "-m", model], ["topk-keys", "-t", 3, *options], stdin=data)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("shards") / "model")


@pytest.fixture(scope="module", params=["triggers", "values", "prefixes"])
def kind(request, bin, model):
    return Kind(bin, model, request.param, find_triggers(bin, model))


@pytest.fixture
def shards(kind, tmp_path):
    """N -> paths of N shards"""
    def make(count):
        paths = [tmp_path / f"{i}-of-{count}" for i in range(count)]
        for i, path in enumerate(paths):
            path.write_bytes(kind.make("--shard", f"{i}/{count}"))
        return paths
    return make


def test_shards_give_other_bytes_than_one_run(bin, kind, shards):
    """For 2, 3 and 7 shards, and for more than there are units, in any order."""
    whole = kind.whole()
    for count in 2, 3, 7, kind.units() + 2:
        paths = shards(count)
        assert ok(bin, *kind.merge, *paths) == whole
        assert ok(bin, *kind.merge, *paths[::-1]) == whole
        assert ok(bin, *kind.merge, "-", *paths[1:], stdin=paths[0].read_bytes()) == whole
    empty = streams.read(paths[-1])
    assert not empty.trailer["covers" if not kind.has_stream else "key_covers"]
    for order in itertools.permutations(shards(3)):
        assert ok(bin, *kind.merge, *order) == whole


def test_a_shard_that_has_the_only_block_is_not_merged_with_others(bin, tmp_path):
    """Of a model that has fewer keys than a block."""
    random_model.write_model(tmp_path / "model", layers=2, d_model=8, d_ff=ROWS // 2, heads=2, vocabulary=12,
                             cutoffs=(5, 8), factor=2)
    values = Kind(bin, tmp_path / "model", "values", b"")
    for shard in 0, 1:
        (tmp_path / f"{shard}").write_bytes(values.make("--shard", f"{shard}/2"))
    for order in "01", "10":
        assert ok(bin, *values.merge, *(tmp_path / shard for shard in order)) == values.make()
    assert ok(bin, *values.merge, tmp_path / "0") == values.make()


def test_a_shard_has_other_units_than_every_nth(kind):
    """Recomputation: keys and batches are counted here; what a stream says of itself is so."""
    whole = streams.read(kind.make())
    for index, count in (0, 2), (1, 3), (4, 7):
        stream = streams.read(kind.make("--shard", f"{index}/{count}"))
        if not kind.has_stream:
            batches = {record["id"]: i for i, record in enumerate(whole.records[::2])}
            found = [batches[record["id"]] for record in stream.records[::2]]
            assert found == list(range(index, len(batches), count)) == streams.covered(stream.trailer)
            assert stream.trailer["text"] == whole.trailer["text"]
            continue
        keys = [(record["layer"], record["cell"]) for record in whole.records if "layer" in record]
        blocks = [keys[i:i + ROWS] for i in range(0, len(keys), ROWS)]
        found = [(record["layer"], record["cell"]) for record in stream.records if "layer" in record]
        assert found == [key for block in blocks[index::count] for key in block]
        covers = [block for numbers in stream.trailer["key_covers"] for block in range(*numbers)]
        assert covers == list(range(index, len(blocks), count))
        assert stream.trailer["key_blocks"] == len(blocks) and not set(MEMBERS) & set(whole.trailer)


def test_merges_of_merges_give_other_bytes(bin, kind, shards, tmp_path):
    if not kind.has_stream:
        pytest.skip("a table is not merged again")
    paths, whole = shards(7), kind.whole()
    for name, parts in ("a", paths[:3]), ("b", paths[3:5]), ("c", paths[5:]):
        ok(bin, *kind.merge, "--partial", "-o", tmp_path / name, *parts)
    a, b, c = (tmp_path / name for name in "abc")
    for order in itertools.permutations([a, b, c]):
        assert ok(bin, *kind.merge, *order) == whole
    ok(bin, *kind.merge, "--partial", "-o", tmp_path / "ab", b, a)
    flat = ok(bin, *kind.merge, "--partial", *paths[4::-1])
    assert (tmp_path / "ab").read_bytes() == flat == ok(bin, *kind.merge, "--partial", tmp_path / "ab")
    assert ok(bin, *kind.merge, c, tmp_path / "ab") == whole
    fails(bin, *kind.merge, a, c, says="shard 3/7, 4/7 are missing")
    fails(bin, *kind.merge, a, tmp_path / "ab", c, says=f" is in {a} as well: the shards overlap")
    (tmp_path / "whole").write_bytes(whole)
    assert ok(bin, *kind.merge, tmp_path / "whole") == whole
    fails(bin, *kind.merge, tmp_path / "whole", c, says="overlap")
    fails(bin, *kind.merge, c, tmp_path / "whole", says="overlap")


def test_a_missing_or_double_shard_is_not_told(bin, kind, shards, tmp_path):
    paths, whole, units = shards(3), kind.whole(), kind.units()
    of = "keys' {} blocks" if kind.has_stream else "corpus' {} batches"
    for i in range(3):
        others = paths[:i] + paths[i + 1:]
        message = fails(bin, *kind.merge, *others, "-o", tmp_path / "out", says=f"shard {i}/3 is missing")
        assert f"{math.ceil((units - i) / 3)} of the {of.format(units)} are in none of the inputs: {i}, " \
            in message
        assert ok(bin, *kind.merge, "--partial", *others) != whole
    message = fails(bin, *kind.merge, *paths, paths[1], "-o", tmp_path / "out", says="the shards overlap")
    assert f"{paths[1]}: " in message and f" is in {paths[1]} as well" in message
    half = shards(2)[0]
    message = fails(bin, *kind.merge, paths[1], paths[2], half, "-o", tmp_path / "out", says="shards overlap")
    assert f"{half}: " in message
    fails(bin, *kind.merge, half, says="shard 1/2 is missing")
    assert not (tmp_path / "out").exists()


def test_a_shard_of_something_else_is_merged(bin, kind, shards, tmp_path):
    """Other options, another model, other triggers."""
    paths = shards(2)
    other = tmp_path / "other"

    def refused(says, data):
        other.write_bytes(data)
        message = fails(bin, *kind.merge, paths[0], other, "-o", tmp_path / "out", says=says)
        assert f"{other}: " in message and str(paths[0]) in message

    if kind.name == "prefixes":
        refused("its history has another perturb-triggers, by seed", kind.make("--shard", "1/2", "--seed", 2))
    else:
        refused("its history has another project-values, by tops", ok(
                    bin, "project-values", "-m", kind.model, "-k", 3, "--shard", "1/2",
                    *(["--all"] if kind.name == "values" else []),
                    stdin=b"" if kind.name == "values" else kind.triggers))
    model = write_model(tmp_path / "model", seed=2)
    refused("its header has another model", kind.make("--shard", "1/2", model=model,
                                                      triggers=find_triggers(bin, model)))
    if kind.name == "values":
        return
    refused("its header has another corpus",
            kind.make("--shard", "1/2", triggers=find_triggers(bin, kind.model, name="other")))
    changed = find_triggers(bin, kind.model, data=SENTENCES.replace(b"w4 ", b"w5 ", 2))
    refused("a shard of other keys than those of" if kind.has_stream
            else "a shard of another text than that of", kind.make("--shard", "1/2", triggers=changed))


def test_a_block_that_ends_within_a_key_is_lost(bin, model, tmp_path):
    """Of three lists of each key some are in one shard, the others in the next."""
    ranks = ["--rank", "value,abs,min"]
    triggers = pipeline(bin, ["tokenize", "-m", model], ["forward-dump", "-m", model, *ranks],
                        ["topk-keys", "-t", 2, *ranks, "--cells", "0-32"], stdin=SENTENCES)
    kind = Kind(bin, model, "triggers", triggers)
    assert len(streams.read(triggers).records) == 3 * 33 * 3 + 1
    for i in range(3):
        (tmp_path / f"{i}").write_bytes(kind.make("--shard", f"{i}/3"))
    assert ok(bin, *kind.merge, tmp_path / "2", tmp_path / "0", tmp_path / "1") == kind.whole()


@pytest.mark.parametrize("options", [["--limit", 40], ["--sample", 30, "--seed", 5]],
                         ids=lambda options: options[0])
def test_a_sample_or_a_limit_is_another_one_in_shards(bin, model, tmp_path, options):
    """Sentences, positions and keys that are drawn."""
    def rows(*shard):
        return pipeline(bin, ["tokenize", "-m", model, "--batch", 16, *options, *shard],
                        ["forward-dump", "-m", model, "--emit", "max,coef,resid,ffn",
                         "--positions", "random"],
                        stdin=SENTENCES)
    for tool, merge in (["topk-keys", "-t", 2, "--sample", 9], ["topk-keys", "--merge"]), \
            (["refinement-stats", "-m", model, "--sums"], ["refinement-stats", "--merge", "--sums"]):
        for i in range(3):
            (tmp_path / f"{i}").write_bytes(ok(bin, *tool, stdin=rows("--shard", f"{i}/3")))
        assert ok(bin, *merge, *(tmp_path / f"{i}" for i in (2, 0, 1))) == ok(bin, *tool, stdin=rows())


def test_merged_triggers_are_not_the_best_of_all(bin, tmp_path):
    """NumPy sorts all triggers of made-up shards; several of one coefficient are among them."""
    shards, layers, cells, top = 9, 2, 30, 6
    for shard in range(shards):
        synthetic_shards.write_shard(tmp_path / f"{shard}", shard, shards, layers, cells, top)
    merged = ok(bin, "topk-keys", "--merge", *(tmp_path / f"{shard}" for shard in range(shards)))
    assert synthetic_shards.is_merge(merged, shards, layers, cells, top)
    damaged = bytearray(merged)
    damaged[merged.index(b"coef", 2000) + 8] ^= 1
    damaged[-4:] = streams.crc(bytes(damaged[:-4]))
    assert not synthetic_shards.is_merge(bytes(damaged), shards, layers, cells, top)


# -------------------------------------------------------------------- limits

def limits():
    """[(number, what)] of common/base/limits.h"""
    source = (ROOT / "common/base/limits.h").read_text()
    found = re.findall(r"^ +MAX_\w+ = ([^,]+), +/\* (.*) \*/$", source, re.MULTILINE)
    found += re.findall(r"^#define MAX_\w+ \((.*)\) +/\* (.*) \*/$", source, re.MULTILINE)
    assert len(found) == source.count(" MAX_")
    values = {"(size_t)": "", "(uint64_t)": "", "UINT32_MAX": "0xffffffff", "/": "//"}
    for name, value in values.items():
        found = [(number.replace(name, value), what) for number, what in found]
    return [(eval(number), what) for number, what in found]  # pylint: disable=eval-used


def test_the_table_of_limits_is_not_that_of_the_program():
    section = (ROOT / "man/ffkv.7").read_text().split(".Sh LIMITS\n")[1].split(".Sh ")[0]
    rows = re.findall(r"^\.It ([\d,]+) Ta (.*)$", section, re.MULTILINE)
    assert [(int(number.replace(",", "")), what) for number, what in rows] == limits()


def test_limits_stand_in_other_places_too():
    """A number of two to the power of 16 or more that bounds an option or a header's number has a name."""
    for path in sorted([*ROOT.glob("tools/*.c"), *ROOT.glob("common/stream/*.c")]):
        for line in path.read_text().splitlines():
            bound = re.search(r"OPTION_NUMBER.*[ (]1 << \d|header_number\(.*1 << \d", line)
            assert not bound, f"{path}: {line}"
