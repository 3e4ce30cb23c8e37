"""stream-cat with a model, records in words; and --layers and --cells, of every kind
of stream.  Oracle: the stream as streams.py reads it, and the list of words."""

import itertools
import json
import re

import numpy as np
import pytest

import random_model
import oracle
import streams
from helpers import fails, ok, pipeline, random_sentences, text

CELLS = 37  # of each layer of the small model


@pytest.fixture(scope="module")
def kinds(bin, small_model, tmp_path_factory):
    """{name: path}, a stream of each kind."""
    place = tmp_path_factory.mktemp("kinds")

    def make(name, tool, *args, model=True):
        paths[name] = place / name
        paths[name].write_bytes(ok(bin, tool, *(["-m", small_model] if model else []), *args))

    paths = {}
    (place / "text").write_bytes(text(random_sentences(40, 100, seed=5)))
    make("tokens", "tokenize", "--batch", "60", place / "text")
    make("sample", "tokenize", "--batch", "60", "--sample", "20", place / "text")
    make("rows", "forward-dump", "--emit", "max,coef,resid,ffn,prediction", paths["sample"])
    make("maxima", "forward-dump", "--cells", "1-9,30", paths["tokens"])
    make("triggers", "topk-keys", "--top", "4", "--cells", "1-9,30", paths["maxima"], model=False)
    make("projected", "project-values", "--tops", "3", "--bottoms", "2", paths["triggers"])
    make("followed", "topk-keys", "--top", "4", "--following", "3", "--cells", "1-9,30", paths["maxima"],
         model=False)
    make("paths", "forward-dump", "--cells", "1-9,30", "--emit", "max,counts", "--paths", "4",
         paths["tokens"])
    make("shaded", "topk-keys", "--top", "4", "--cells", "1-9,30", paths["paths"], model=False)
    make("values", "project-values", "--all", "--tops", "2")
    make("changed", "perturb-triggers", paths["triggers"], model=False)
    make("keyed", "forward-dump", "--emit", "key", paths["changed"])
    make("composition", "composition-stats", "--values", paths["values"], "--sums", paths["rows"])
    make("refinement", "refinement-stats", "--sums", paths["rows"])
    return paths


def word(token):
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    return special[token] if token < len(special) else f"w{token}"


def number(value):
    """As JSON has it: nine digits."""
    if not np.isfinite(value):
        return "inf" if value > 0 else "-inf"
    return float(f"{value:.9g}") if isinstance(value, (float, np.floating)) else int(value)


def pairs(record, token, other):
    return [[word(t), number(p)] for t, p in zip(record[token], record[other], strict=True)]


def parts(tokens, lengths):
    ends = np.cumsum(lengths, dtype=int)
    assert len(ends) == 0 or ends[-1] == len(tokens)
    return [" ".join(map(word, tokens[end - length:end])) for end, length in zip(ends, lengths)]


def columns(record, names, words=()):
    """An object of each row of these arrays."""
    names = [name for name in names if name in record]
    return [{name: word(row) if name in words else number(row) if np.ndim(row) == 0
             else [number(x) for x in row]
             for name, row in zip(names, rows)}
            for rows in zip(*(record[name] for name in names), strict=True)]


def expected_key(record):
    found = {"layer": record["layer"] + 1, "cell": record["cell"]}
    if "coef" in record:
        rows = columns(record, ["coef", "sentence", "position", "next", "next_rank", "next_p", "last_rank",
                                "last_p"], ["next"])
        for row, prefix in zip(rows, parts(record["prefix"], record["position"]), strict=True):
            row["prefix"] = prefix
        for row, following in zip(rows, record.get("following", ())):
            row["following"] = " ".join(word(token) for token in following if token != 2 ** 32 - 1)
        if "prefix_coef" in record:
            each = iter(pairs(record, "prefix", "prefix_coef"))
            for row in rows:
                row["prefix_coef"] = list(itertools.islice(each, row["position"]))
            assert next(each, None) is None
        found["triggers"] = rows
    if "coefs_bin" in record:
        edges = [*(-edge for edge in reversed(oracle.COEFFICIENT_EDGES)), 0, *oracle.COEFFICIENT_EDGES]
        found["coefs"] = histogram(record, "coefs", lambda b: number(edges[b]))
    for name in ("top", "bottom"):
        if name in record:
            found[name] = pairs(record, name, f"{name}_p")
    return found


def expected_batch(record, changes):
    rows = columns(record, ["sentence", "len", "key_layer", "key_cell", "key_coef", "key_change"])
    for i, (row, tokens) in enumerate(zip(rows, parts(record["tok"], record["len"]), strict=True)):
        row["sentence"] = row.get("sentence", record["id"] + i)
        row["tok"] = tokens
        if "key_layer" in row:
            row["key_layer"] += 1
            row["key_change"] = changes[row["key_change"]]
    found = {"id": record["id"], "sentences": rows}
    if "row_sentence" in record:
        found["rows"] = columns(record, ["row_sentence", "row_position"])
    return found


def histogram(record, name, of=number):
    return [[of(b), int(c)] for b, c in zip(record[f"{name}_bin"], record[f"{name}_count"], strict=True)]


def exact(record, name):
    value = sum(int(limb) << (64 * i) for i, limb in enumerate(record[f"{name}_sum"])) * 2.0 ** -149
    return pytest.approx(value, rel=1e-8)


def expected(record, header):
    """What is to be shown of a record of the tools."""
    if "tok" in record:
        return expected_batch(record, header.get("changes"))
    if "token_counts" in record:
        return {"token_counts": [[word(t), int(n)] for t, n in enumerate(record["token_counts"]) if n]}
    if header["kind"] in ("triggers", "values"):
        return expected_key(record)
    if "surprise_sum" in record:
        return {"next_is_top": record["next_is_top"],
                "settled": histogram(record, "settled", lambda b: int(b) + 1),
                "surprise_sum": exact(record, "surprise")}
    if "old" in record:
        rows = columns(record, ["sentence", "position", "old", "new", "p_old", "p_new"], ["old", "new"])
        return {"changes": [{**row, "prefix": prefix}
                            for row, prefix in zip(rows, parts(record["prefix"], record["position"]))]}
    if "next_logp" in record:
        return {"rows": columns(record, ["next_logp", "top", "top_logp"], ["top"])}
    if "key" in record:
        return {"sentences": columns(record, ["key"])}
    layer = {"layer": record["layer"] + 1}
    if "coef_counts" in record:
        return {**layer, "coef_counts": record["coef_counts"].tolist()}
    if "probability_sum" in record:
        return {**layer, "prefixes": record["prefixes"], "residual_is_final": record["residual_is_final"],
                "cases": [int(n) for n in record["cases"]], "probability_sum": exact(record, "probability"),
                "probability": histogram(record, "probability"), "rank": histogram(record, "rank")}
    if "agreement_bin" in record:
        return {**layer, "short": record["short"], "memories": histogram(record, "memories"),
                "active": histogram(record, "active"), "agreement": histogram(record, "agreement", word)}
    for name, members in ("sentences", ["max", "argmax"]), ("rows", ["coef", "resid", "ffn"]):
        if any(member in record for member in members):
            layer[name] = columns(record, members)
    layer.update({name: list(map(number, record[name])) for name in ("path", "path_coef") if name in record})
    return layer


def lines(data):
    return [json.loads(line) for line in data.splitlines()]


KINDS = ["tokens", "sample", "rows", "maxima", "triggers", "projected", "followed", "paths", "shaded",
         "values", "changed", "keyed", "composition", "refinement"]


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_every_kind(bin, kinds, small_model, kind):
    stream = streams.read(kinds[kind])
    found = lines(ok(bin, "stream-cat", "-m", small_model, kinds[kind]))
    assert len(found) == len(stream.records) > 1
    for object, record in zip(found, stream.records):
        assert object == expected(record, stream.header)
    assert found == lines(ok(bin, "stream-cat", "-m", small_model, "--format", "json", kinds[kind]))
    assert found[:1] == lines(ok(bin, "stream-cat", "-m", small_model, "-n", 1, kinds[kind]))


# ------------------------------------------------------------------------ TSV

def unescaped(field):
    return re.sub(r"\\(.)", lambda match: {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[match[1]], field)


def rows_of(data):
    """TSV -> [{column: text}]."""
    names, *rows = [line.split("\t") for line in data.decode().split("\n")[:-1]]
    assert all(len(row) == len(names) for row in rows)
    return [{name: unescaped(re.sub(r"^'('*[=+@\t\r\n-]|'*\\[tnr])", r"\1", field))
             for name, field in zip(names, row)}
            for row in rows]


def shown(value):
    """A field of TSV."""
    if isinstance(value, (dict, list)):
        return json.loads(json.dumps(value))
    return "" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value)


PARTS = {"tokens": "sentences", "triggers": "triggers"}  # lists that have a row for each


@pytest.mark.parametrize("kind", KINDS)
def test_tables_have_what_json_has(bin, kinds, small_model, kind):
    rows = rows_of(ok(bin, "stream-cat", "-m", small_model, "--format", "tsv", kinds[kind]))
    objects, part = lines(ok(bin, "stream-cat", "-m", small_model, kinds[kind])), \
        PARTS.get(streams.read(kinds[kind]).header["kind"])
    wanted = [{**object, **row} for object in objects for row in (object.get(part, []) if part else [{}])]
    assert len(rows) == len(wanted) > 1
    for row, object in zip(rows, wanted):
        assert set(object) - {part} - set(row) <= {"id"}
        for name, field in row.items():
            value = object.get(name)
            assert (json.loads(field) if isinstance(value, (dict, list)) else field) == shown(value), name


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A model whose tokens are the 256 bytes, byte b being token b."""
    directory = tmp_path_factory.mktemp("letters")
    random_model.write_model(directory, vocabulary=256, cutoffs=(100, 200))
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    (directory / "vocab.json").write_text(json.dumps(
        {chr(byte) if byte in plain else chr(256 + others.index(byte)): byte for byte in range(256)}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    special = {name: "!" for name in ("bos_token", "eos_token", "unk_token")}
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", **special}))
    return directory


def test_no_token_can_break_a_row(bin, letters):
    """Bytes as tokens, each the most probable one of some value: tabs, ends of lines, backslashes, parts of
    characters as \\xNN, and what a spreadsheet would take for a formula."""
    sentence = 'a\t=b\\ é\r=\u2028"c" +d\\n @e'
    data = pipeline(bin, ["tokenize", "-m", letters], ["forward-dump", "-m", letters, "--emit", "coef"],
                    ["topk-keys", "--prefixes", "every", "-t", 60],
                    ["project-values", "-m", letters, "-k", 256, "--all-tokens"],
                    stdin=f"{sentence}\n".encode())
    stream = streams.read(data)

    def letter(token):
        return chr(token) if 0 < token < 128 else f"\\x{token:02X}"

    keys = [record for record in stream.records if "layer" in record]
    rows = rows_of(ok(bin, "stream-cat", "-m", letters, "--format", "tsv", stdin=data))
    assert len(rows) == sum(len(key["coef"]) for key in keys)
    found, i = set(), 0
    for key in keys:
        start = 0
        for position, following in zip(key["position"], key["next"]):
            prefix = bytes(key["prefix"][start:start + position].tolist())
            start += position
            assert rows[i]["prefix"] == "".join(
                character if ord(character) < 0xd800 else f"\\x{ord(character) & 0xff:02X}"
                for character in prefix.decode("utf-8", "surrogateescape"))
            assert rows[i]["next"] == letter(following)
            assert [text for text, _ in json.loads(rows[i]["top"])] == [letter(token) for token in key["top"]]
            found.add(rows[i]["next"])
            i += 1
    assert {"\t", "\r", "\\", "=", "+", "@", "\\xC3", "\\xA9"} <= found


def test_other_words_are_refused(bin, kinds, letters):
    for kind in "triggers", "refinement":
        fails(bin, "stream-cat", "-m", letters, kinds[kind], says="made with another tokenizer")
    fails(bin, "stream-cat", "-m", letters, kinds["values"], says="made with another model")


# ------------------------------------------------------------- layers and cells

def left(stream, layers, cells):
    """The records that a selection leaves, by kind; layers and cells as lists, from 0, or None."""
    header, found, batch = stream.header, [], None

    def wants(layer, cell=None):
        return (layers is None or layer in layers) and (cells is None or cell in cells)

    for record in stream.records:
        record = dict(record)
        if "changes" in header and header["kind"] in ("tokens", "activations"):
            if "tok" in record:
                batch = [wants(layer, cell) for layer, cell in zip(record["key_layer"], record["key_cell"])]
                record["tok"] = record["tok"][np.repeat(batch, record["len"])]
            for name in ("sentence", "len", "key_layer", "key_cell", "key_coef", "key_change", "key"):
                if name in record:
                    record[name] = record[name][batch]
            found += [record] if any(batch) else []
        elif header["kind"] == "activations":
            if "layer" in record and cells is not None:
                chosen = [i for i, cell in enumerate(header["cells"] or range(CELLS)) if cell in cells]
                if "path" in record:
                    record.update(chosen_paths(record, len(header["cells"]), chosen))
                if "coef_counts" in record:
                    record["coef_counts"] = record["coef_counts"][chosen]
                record.update({name: record[name][:, chosen]
                               for name in ("max", "argmax", "coef") if name in record})
            found += [record] if "tok" in record \
                or ("layer" in record and wants(record["layer"], (cells or [None])[0])) else []
        elif "layer" in record and wants(record["layer"], record.get("cell")):
            found.append(record)
    return found


def chosen_paths(record, width, chosen):
    """Of a layer's paths those to some of its width columns, numbered anew."""
    ends = np.cumsum(record["argmax"].ravel()[record["path"]], dtype=int)
    kept = [(i, *divmod(int(element), width))
            for i, element in enumerate(record["path"]) if element % width in chosen]
    parts = np.split(record["path_coef"], ends[:-1])
    return {"path": np.array([row * len(chosen) + chosen.index(column) for _, row, column in kept],
                             np.uint32),
            "path_coef": np.concatenate([np.zeros(0, np.float32), *(parts[i] for i, _, _ in kept)])}


def as_numbers(record):
    return {name: value if isinstance(value, int) else [number(x) for x in np.ravel(value)]
            for name, value in record.items()}


LISTS = [("2", [1], None, None), ("1,3", [0, 2], None, None), (None, None, "3,30", [3, 30]),
         ("1-2", [0, 1], "5", [5]),
         ("3", [2], "30", [30]), ("1", [0], "1", [1])]


@pytest.mark.parametrize("layers_list, layers, cells_list, cells", LISTS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("tokens", "sample")])
def test_selections(bin, kinds, small_model, kind, layers_list, layers, cells_list, cells):
    """As numbers, and in words. Lists count layers from 1, the numbers are the stream's."""
    if kind in ("composition", "refinement") and cells:
        fails(bin, "stream-cat", "--cells", cells_list, kinds[kind], says="sums of layers have no cells")
        return
    stream = streams.read(kinds[kind])
    wanted = left(stream, layers, cells)
    options = [*(["--cells", cells_list] if cells else []), *(["--layers", layers_list] if layers else [])]
    header, *found = lines(ok(bin, "stream-cat", *options, kinds[kind]))
    assert header["kind"] == stream.header["kind"]
    found = [record for record in found if "end" not in record]
    assert found == [as_numbers(record) for record in wanted] and wanted
    found = lines(ok(bin, "stream-cat", "-m", small_model, *options, kinds[kind]))
    assert found == [expected(record, stream.header) for record in wanted]
    assert lines(ok(bin, "stream-cat", "-m", small_model, "-n", 2, *options, kinds[kind])) == found[:2]


def test_selected_columns_are_told_by_the_header(bin, kinds):
    header = lines(ok(bin, "stream-cat", "--cells", "2,4-6,11", "-n", 0, kinds["maxima"]))[0]
    assert header["cells"] == [2, 4, 5, 6]
    assert [header["arrays"][name]["shape"] for name in ("max", "argmax")] == [["sentences", 4]] * 2


@pytest.mark.parametrize("kind", ["triggers", "values", "changed", "composition"])
def test_reading_stops_when_nothing_more_can_come(bin, kinds, kind):
    """What is behind the last key is not read: here it is cut off.  What is looked for behind the cut is not
    found."""
    data = kinds[kind].read_bytes()
    ends = [item.end for item in streams.items(data)]
    data = data[:ends[3] if kind in ("triggers", "values") else ends[1]]
    cells = ["--cells", "1"] if kind != "composition" else []
    found = lines(ok(bin, "stream-cat", "--layers", "1", *cells, stdin=data))
    assert len(found) == 2 and "end" not in found[1]
    fails(bin, "stream-cat", "--layers", "3", *cells, stdin=data, says="the input ends without a trailer")


def test_order_is_checked(bin, kinds):
    for kind in "triggers", "values", "composition", "refinement":
        header, *records, trailer = [item.value for item in streams.items(kinds[kind].read_bytes())]
        numbered = [record for record in records if "layer" in record]
        swapped = [numbered[1], numbered[0], *numbered[2:]]
        data = b"".join(map(streams.pack, [header, *swapped, trailer]))
        fails(bin, "stream-cat", "--layers", "3", stdin=data,
              says="layer 1 cell 0 is not in order" if kind == "values" else "is not in order")


@pytest.mark.parametrize("kind, options, says", [
    ("triggers", ["--cells", "20"], "nothing is selected: the stream does not have cell 20"),
    ("triggers", ["--layers", "1-2", "--cells", "20,31"],
     "does not have layer 1-2 (counted from 1) cell 20,31"),
    ("maxima", ["--cells", "20"], "does not have cell 20"),
    ("keyed", ["--cells", "0"], "does not have cell 0"),
    ("tokens", ["--layers", "1"], "tokens have no layers and cells")])
def test_nothing_selected(bin, kinds, kind, options, says, tmp_path):
    fails(bin, "stream-cat", *options, "-o", tmp_path / "out", kinds[kind], says=says)
    assert not list(tmp_path.iterdir())


def test_wrong_usage(bin, kinds, small_model):
    model = ["-m", small_model]
    for options, says in [
            (["--format", "tsv"], "--format goes with --model"),
            ([*model, "--verify"], "--verify takes no --model"),
            (["--layers", "1", "--header"], "--header takes no"),
            (["--verify", "--cells", "1"], "--verify takes no"),
            ([*model, "--layers", "0"],
             "--layers takes a list such as 1-3,7 of numbers from 1 to 3, not '0': layers count from 1"),
            ([*model, "--layers", "4"], "numbers from 1 to 3, not '4'"),
            (["--layers", "0-1"], "numbers from 1 to 3, not '0-1': layers count from 1"),
            (["--cells", "37"], "numbers from 0 to 36, not '37'")]:
        fails(bin, "stream-cat", *options, kinds["triggers"], status=2, says=says)


# ---------------------------------------------------------------- false streams

@pytest.mark.parametrize("kind, name, change, says", [
    ("triggers", "next", lambda array: array + 100, "is outside of the vocabulary"),
    ("triggers", "prefix", lambda array: array + 1000, "'a token' is not a number from 0 to 99"),
    ("triggers", "prefix", lambda array: array[:-1], "'position' is not a number"),
    ("triggers", "position", lambda array: array - (np.arange(len(array)) == 0),
     "tokens, 'position' adds up to"),
    ("projected", "next_p", lambda array: array[1:], "others of the same triggers"),
    ("projected", "top", lambda array: array[1:], "others of the same tops"),
    ("changed", "key_change", lambda array: array + 50, "do not name change 50"),
    ("changed", "len", lambda array: array * 2, "'len' is not a number"),
    ("keyed", "key_cell", lambda array: array[1:], "others of the same sentences"),
    ("rows", "id", lambda _: (1 << 64) - 1, "'id' is not a number")])
def test_false_numbers(bin, kinds, small_model, kind, name, change, says):
    header, *records, trailer = [item.value for item in streams.items(kinds[kind].read_bytes())]
    record = next(record for record in records if name in record and record[name])
    if isinstance(record[name], bytes):
        array = np.frombuffer(record[name], streams.TYPES[header["arrays"][name]["type"]])
        record[name] = change(array).astype(array.dtype).tobytes()
    else:
        record[name] = change(record[name])
    data = b"".join(map(streams.pack, [header, *records]))
    for options in [], ["--format", "tsv"], ["--layers", "1-3"]:
        fails(bin, "stream-cat", "-m", small_model, *options, stdin=data,
              says="" if options and kind in ("changed", "keyed", "rows") else says)


def test_a_stream_of_another_kind(bin, kinds, small_model):
    """What a stage of somebody else's writes: known by what the header declares."""
    header, *records, _ = [item.value for item in streams.items(kinds["triggers"].read_bytes())]
    header["kind"] = "own"
    data = b"".join(map(streams.pack, [header, *records]))
    found = lines(ok(bin, "stream-cat", "-m", small_model, "--layers", "2", "--cells", "4", "-n", 1,
                     stdin=data))
    assert found == [expected_key(record) for record in left(streams.read(kinds["triggers"]), [1], [4])]
    fails(bin, "stream-cat", "-m", small_model, "--format", "tsv", stdin=data,
          says="there is no table of streams of kind 'own'")
