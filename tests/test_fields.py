"""ffkv-stream(5) says of every kind of record what the streams have: members, their order, types and shapes.

The tools write from tables of fields (common/stream/fields.h), so a slip in a table or in the
page is a difference between the two.
"""

import re

import pytest

import fault_inputs
import streams
from conftest import ROOT
from helpers import ok, random_sentences, text
from test_manual import STREAM_PAGE, section

MODEL = ROOT / "data" / "brown-lm"
TEXT = b"""The jury said it did find that many of the laws are out of date .
He was a man of the world and he did not know what to do .
It is the first time that they have been in the house .
There was no way to see the end of the road from here .
"""
INTEGER = "integer"


def lists(title):
    """The page's lists of members in a section, each [(name, type, dimensions)]."""
    text = "\n".join(section(STREAM_PAGE, "DESCRIPTION")) + "\n.Ss "
    part = re.search(rf"^\.Ss {title}\n(.*?)(?=^\.Ss )", text, re.DOTALL | re.MULTILINE)[1]
    return [members(body)
            for body in re.findall(r"^\.Bl -tag.*?\n(.*?)^\.El", part, re.DOTALL | re.MULTILINE)]


def members(body):
    found = []
    for item in re.findall(r"^\.It Va (.*\n[^.]*)", body, re.MULTILINE):
        head, text = item.split("\n", 1)
        names, _, shape = head.partition(" No ")
        for name in re.findall(r"\w+", names):
            if shape:
                kind, dimensions = re.fullmatch(r"(\w+)\[(.*)\]", shape).groups()
                found.append((name, kind, dimensions.split(", ")))
            elif text.startswith("Integer"):
                found.append((name, INTEGER, []))
            elif text.startswith("The same, with the same types"):  # next_rank as last_rank
                found.append((name, *found[-2][1:]))
            if "xact sum" in text:
                found.append((f"{name}_sum", "uint64", ["6"]))
            if "istogram" in text:
                found += [(f"{name}_bin", "uint32", [f"{name} bins"]),
                          (f"{name}_count", "uint64", [f"{name} bins"])]
    return found


def written(stream, record):
    """The members of a record as the header declares them, in the page's form."""
    header = stream.header
    counted = {}
    if "cells" in header:
        counted[header["cells"] and len(header["cells"])] = "cells"
        counted[header["model"]["d_model"]] = "d_model"
    if "named_tokens" in header:
        counted[1 + len(header["named_tokens"])] = "compared"
    if header["kind"] == "trace":
        counted |= {2: "tops", 3: "memories"}
    if "following" in header:
        counted[header["following"]] = "following"
    found = []
    for name in record:
        array = header["arrays"].get(name)
        shape = [str(counted.get(dimension, dimension)) for dimension in array["shape"]] if array else []
        found.append((name, array["type"] if array else INTEGER, shape))
    return found


def maxima_of(make, folder, model):
    """Rows of some cells, which have triggers in a text."""
    _, tokens = make("all", "tokenize", folder / "words", model=model)
    return make("counted", "forward-dump", "--emit", "max,magnitudes,signs", "--cells", "1-7", tokens,
                model=model)[1]


@pytest.fixture(scope="module")
def made(bin, tmp_path_factory):
    """One stream of each kind, with all that it can have: some of it only gated layers have."""
    folder = tmp_path_factory.mktemp("kinds")
    gated = folder / "gated"
    fault_inputs.write_llama(gated)
    everything = ["--emit", "max,coef,resid,ffn,prediction,counts,magnitudes,signs", "--paths", "3",
                  "--cells", "1-7"]

    def make(name, tool, *args, model=MODEL, is_stream=True):
        (folder / name).write_bytes(ok(bin, tool, *(["-m", model] if model else []), *args))
        return streams.read(folder / name) if is_stream else None, folder / name

    (folder / "text").write_bytes(TEXT)
    (folder / "words").write_bytes(text(random_sentences(20, 60)))
    _, tokens = make("tokens", "tokenize", folder / "text")
    sample, sampled = make("sample", "tokenize", "--sample", "3", folder / "words", model=gated)
    rows, _ = make("rows", "forward-dump", *everything, sampled, model=gated)
    _, ends = make("ends", "forward-dump", *everything, "--rank", "value,min", sampled, model=gated)
    _, found = make("found", "topk-keys", "--rank", "value,min", "--top", "2", "--following", "5", ends,
                    model=None)
    projected, path = make("projected", "project-values", "--bottoms", "2", found, model=gated)
    changed, keys = make("changed", "perturb-triggers", "--list", "min", "--sample", "2", path, model=None)
    keyed, _ = make("keyed", "forward-dump", "--emit", "key", keys, model=gated)
    _, maxima = make("maxima", "forward-dump", "--layers", "1,4", "--emit", "coef,ffn", "--cells", "0-30",
                     tokens)
    values, path = make("values", "project-values", "--all", "--tops", "1", "--bottoms", "1")
    composition, _ = make("composition", "composition-stats", "--values", path, "--sums", maxima)
    _, residuals = make("residuals", "forward-dump", "--emit", "resid,ffn", tokens)
    refinement, _ = make("refinement", "refinement-stats", "--sums", residuals)
    _, edited = make("edited", "forward-dump", "--emit", "resid,ffn", "--edit", "3:7=0", tokens)
    intervention, _ = make("intervention", "intervention-stats", "--sums", "--ids", "4,7", "--edited", edited,
                           residuals)
    _, prompts = make("prompts", "tokenize", "--prompt", "--sample", "3", folder / "words", model=gated)
    _, read = make("read", "forward-dump", "--emit", "resid,ffn,coef", prompts, model=gated)
    make("layers", "trace-prompts", "--tops", "2", "--memories", "3", "--stream", folder / "trace", read,
         model=gated, is_stream=False)
    _, many = make("many", "topk-keys", "--top", "50", maxima_of(make, folder, gated), model=None)
    _, whole = make("whole", "project-values", many, model=gated)
    agreement, _ = make("agreement", "agreement-stats", "--sums", whole, model=None)
    shallow, _ = make("shallow", "shallow-stats", "--sums", "--skip-frequent", "0", "--least", "1",
                      "--corpus", sampled, whole, model=None)
    coefficients, _ = make("coefficients", "coefficient-stats", "--sums", whole, model=None)
    ranks, _ = make("ranks", "value-ranks", "--ids", "4,7", "--sums", model=gated)
    return {"trace": streams.read(folder / "trace"), "sample": sample, "agreement": agreement,
            "shallow": shallow, "coefficients": coefficients, "ranks": ranks,
            "rows": rows, "projected": projected, "changed": changed, "keyed": keyed,
            "values": values, "composition": composition, "refinement": refinement,
            "intervention": intervention}


def kinds():
    """Of each stream, the page's members of the records that begin it."""
    (batch,) = lists("Tokens")
    _, keys = lists("Tokens with keys")
    _, rows, layer, predictions, counts_of_cells, key = lists("Activations")
    _, triggers, projection, counts = lists("Triggers")
    layer_number = [("layer", INTEGER, [])]
    plain = [member for member in batch if member[0] != "sentence"]  # which only batches of a sample have
    value = [member for member in triggers + projection
             if member[0] in ("layer", "cell", "top", "top_p", "bottom", "bottom_p")]
    of_keys = ("coefs_bin", "coefs_count", "magnitudes_bin", "magnitudes_count", "signs_bin", "signs_count")
    # lists behind a key's first
    further = [member for member in triggers + projection if member[0] not in of_keys]
    _, of_composition = lists("Composition")
    changes, of_layer, of_all = lists("Refinement")
    _, *of_intervention = lists("Intervention")
    of_rows, of_traced = lists("Trace")
    (agreement,) = lists("Agreement")
    (shallow,) = lists("Shallow")
    (ranks,) = lists("Ranks")
    coefficients = [member for member in triggers if member[0] in ("layer", "cell", *of_keys[2:])]
    return {"sample": [batch], "rows": [batch + rows, layer_number + layer, predictions,
                                        layer_number + counts_of_cells],
            "projected": [triggers + projection, further, counts], "changed": [plain + keys],
            "keyed": [plain + keys, key], "values": [value], "composition": [of_composition, counts],
            "trace": [batch + of_rows, of_traced], "agreement": [agreement, counts], "shallow": [shallow],
            "coefficients": [coefficients], "ranks": [ranks],
            "refinement": [changes, of_layer, of_all], "intervention": of_intervention}


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_page_lists_the_members_that_a_kind_of_record_has(made, kind):
    found = []
    for record in made[kind].records:
        members_of = written(made[kind], record)
        if members_of not in found:
            found.append(members_of)
    assert found == kinds()[kind]


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_header_declares_the_arrays_of_its_records_and_no_others(made, kind):
    arrays = {name for record in kinds()[kind] for name, type_, _ in record if type_ != INTEGER}
    assert set(made[kind].header["arrays"]) == arrays
