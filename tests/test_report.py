"""report-pages: its data against a plain recomputation from the stream, and its pages
in a real browser, opened from the file system."""

import collections
import csv
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

import oracle
import random_model
import streams
from browser import browser
from conftest import ROOT
from damage import in_parallel
from experiments import ROWS, table_of
from helpers import TIMEOUT, environment, fails, ok, pipeline, random_sentences, table

TOP = 5
CELLS = 70  # more than one piece holds
VOCABULARY = 60

# Words with which a corpus may try to do something to a page.
HOSTILE = ["</script><script>alert(1)</script>", "<img/src=x/onerror=alert(1)>", "\"';--", "\u202eevil\u2066",
           "\u0634\u0644\u0627\u0645", "&lt;b&gt;", "a?b&c=d#e/f%2Fg", "__proto__", "constructor", "\\u003cb",
           "{{data}}"]
FIRST_HOSTILE = 10  # token of the first


def word(token):
    place = token - FIRST_HOSTILE
    return HOSTILE[place] if 0 <= place < len(HOSTILE) else f"w{token}"


def write_csv(path, columns, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, two of whose words are markup, and with tables."""
    place = tmp_path_factory.mktemp("report")
    model = place / "model"
    random_model.write_model(model, layers=2, d_model=16, d_ff=CELLS, heads=2, vocabulary=VOCABULARY,
                             cutoffs=(20,), factor=2)
    (model / "dict.txt").write_text("".join(f"{word(token)} {VOCABULARY - token}\n"
                                            for token in range(4, VOCABULARY)))
    tables = place / "tables"
    (tables / "figures").mkdir(parents=True)
    (tables / "figures" / "fig04.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"/>')
    for name in "fig02", "fig98", "shallow":  # of which the list has a caption of the first alone
        shutil.copy(tables / "figures" / "fig04.svg", tables / "figures" / f"{name}.svg")
    (tables / "figures" / "notes.txt").write_text("no figure")
    write_csv(tables / "agreement.csv",
              ["layer", "keys", "live_keys", "agree_next", "agree_last", "random", "frequent",
               "random_p25", "random_p50", "random_p75", "agree_next_low", "agree_next_high"],
              [[1, 70, 60, 0.1, 0, 0.02, 0.03, 1, 2, 3, 0.046626, 0.201499],
               [2, 70, 30, 0.4, 0, 0.02, 0.03, 0.01, 0.02, 0.0333333, 0.24591, 0.576784]])
    write_csv(tables / "patterns.csv",
              ["layer", "keys", "triggers", "shallow", "semantic", "both", "none", "patterns_per_key",
               "readers", "reader_kind", "comparable"],
              [[1, 10, 100, 0.5, 0.2, 0.1, 0.2, 3, 2, "person", 1],
               [2, 10, 300, 0.2, 0.3, 0.1, 0.4, 2, 1, "person", 1]])
    write_csv(tables / "active.csv",
              ["layer", "prefixes", "mean", "p25", "p50", "p75", "active", "comparable"],
              [[1, 9, 0.25, 0, 0, 0, "m > 0", 1], [2, 9, 0.125, 0, 0, 0, "m > 0", 1]])
    write_csv(tables / "last-layer.csv",
              ["sentence", "position", "prefix", "old", "new", "p_old", "p_new", "cosine"],
              [[i, 3, f"{HOSTILE[0]} case {i}", HOSTILE[1], "w5", 0.25, 0.5, -0.125] for i in range(1100)])
    write_csv(tables / "options.csv", ["experiments", "options"],
              [["all", "a/model"], ["triggers", f'"{HOSTILE[0]}" --limit 7']])
    write_csv(place / "measures.csv", ["layer", "cell", "triggers", "same_last_1", "last_1", "odd_one"],
              [[layer, cell, 5, cell / 128, HOSTILE[0], 0.25] for layer in (2, 1) for cell in range(CELLS)])
    write_csv(place / "published.csv",
              ["figure", "series", "from_layer", "to_layer", "value", "low", "high", "source", "says"],
              [[2, "covered", 1, 16, "", 0.65, 0.8, "text", "covered"],
               [2, "patterns_per_key", 1, 16, 3.6, "", "", "text", "a key"],
               [2, "none", 1, 16, 0.25, "", "", "text", "not covered"],
               [4, "agree_next", 1, 16, 0.01, "", "", "text", "both layers"],
               [4, "agree_next", 16, 16, 0.035, "", "", "text", "the last"],
               [7, "active", 1, 16, "", 0.1, 0.5, "text", "active"],
               [9, "residual_is_final", 1, 1, 0.33, "", "", "text", HOSTILE[0]]])
    return place


def sentences():
    return random_sentences(60, VOCABULARY, seed=3, longest=12) + [[token, 5, 6] for token in range(10, 21)]


@pytest.fixture(scope="module")
def triggers(bin, place):
    model = place / "model"
    corpus = "".join(" ".join("other" if token == 3 else word(token) for token in tokens) + "\n"
                     for tokens in sentences())
    return pipeline(bin, ["tokenize", "-m", model, "--name", "made"], ["forward-dump", "-m", model],
                    ["topk-keys", "-t", 8, "--threshold", 2, "--following", 3],
                    ["project-values", "-m", model, "-k", 4, "--bottoms", 3], stdin=corpus.encode())


@pytest.fixture(scope="module")
def stream(triggers):
    return streams.read(triggers)


@pytest.fixture(scope="module")
def keys(stream):
    return [record for record in stream.records if "layer" in record]


@pytest.fixture(scope="module")
def noted(keys):
    """A live key of the second layer, of which the annotations say something."""
    return next(key for key in keys if key["layer"] == 1 and len(key["coef"]) >= TOP)


@pytest.fixture(scope="module")
def report(bin, place, triggers, stream, noted):
    """The directory of the whole report."""
    write_csv(place / "annotations.csv",
              ["reader", "model", "layer", "cell", "triggers", "pattern", "kind", "description", "shows"],
              [["A", stream.header["model"]["id"], 2, noted["cell"], 5, 1, "shallow", HOSTILE[0], "1 3 4"],
               ["A", stream.header["model"]["id"], 1, 3, 5, 1, "semantic", "months", "2 3 5"]])
    out = place / f"report-{bin.name}"
    assert ok(bin, "report-pages", *arguments(place), "-o", out, stdin=triggers) == b""
    return out


def arguments(place):
    return ["-m", place / "model", "-t", TOP, "--tables", place / "tables",
            "--measures", place / "measures.csv", "--annotations", place / "annotations.csv",
            "--published", place / "published.csv", "--date", "a day"]


def piece(report, name):
    """What a data file hands over: one call with JSON, in ASCII, without anything that ends a script."""
    data = (report / "data" / f"{name}.js").read_bytes()
    assert data.isascii() and b"</" not in data
    match = re.fullmatch(r'ffkv_data\("([a-z0-9-]+)",(.*)\);\n', data.decode(), re.DOTALL)
    assert match[1] == name
    return json.loads(match[2])


def numbers(text):
    return [float(number) for number in text.split()]


def prefixes(key):
    return [part.tolist() for part in np.split(key["prefix"], np.cumsum(key["position"])[:-1])] \
        if len(key["coef"]) else []


def behind_next(key, i):
    """The tokens behind the next one of a trigger, of which the sentences tell."""
    tokens = sentences()[key["sentence"][i]]
    assert tokens[:key["position"][i]] == prefixes(key)[i]
    return tokens[key["position"][i] + 1:][:3]


def visible(token):
    """The word, as the page shows it: what turns text around is a number."""
    return known_word(token).replace("\u202e", "\\u202e").replace("\u2066", "\\u2066")


def known_word(token):
    return {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>"}.get(token) or word(token)


# --------------------------------------------------------------------- the data

def test_memories_are_the_streams(report, keys, noted):
    """Recomputation: every number of every key of the stream, from its arrays."""
    assert len(keys) == 2 * CELLS and any(not len(key["coef"]) for key in keys)
    found = {}
    for layer, group in (1, 0), (1, 1), (2, 0), (2, 1):
        data = piece(report, f"memories-{layer}-{group}")
        assert [memory["cell"] // 64 for memory in data["memories"]] == [group] * len(data["memories"])
        assert len(set(data["tokens"])) == len(data["tokens"])
        found.update({(layer, memory["cell"]): (memory, data["tokens"]) for memory in data["memories"]})
    assert len(found) == len(keys)
    for key in keys:
        memory, tokens = found[key["layer"] + 1, key["cell"]]
        count = min(TOP, len(key["coef"]))
        assert len(memory["triggers"]) == count
        for i, (coefficient, sentence, following, rank, prefix, behind) in enumerate(memory["triggers"]):
            assert coefficient == pytest.approx(float(key["coef"][i]), rel=1e-4)
            assert (sentence, rank) == (key["sentence"][i], key["next_rank"][i])
            assert tokens[following] == known_word(key["next"][i])
            assert [tokens[int(token)]
                    for token in numbers(prefix)] == [known_word(token) for token in prefixes(key)[i]]
            assert [tokens[int(token)]
                    for token in numbers(behind)] == [known_word(token) for token in behind_next(key, i)]
        for name in "top", "bottom":
            assert [tokens[token] for token, _ in memory[name]] == [known_word(token) for token in key[name]]
            assert [p for _, p in memory[name]] == pytest.approx(key[name + "_p"].tolist(), rel=1e-4)
        assert memory["measures"] == [[str(key["layer"] + 1), str(key["cell"]), "5", str(key["cell"] / 128),
                                       HOSTILE[0], "0.25"]]
        assert [row[6] for row in memory["annotations"]] \
            == {(1, noted["cell"]): ["shallow"], (0, 3): ["semantic"]}.get((key["layer"], key["cell"]), [])


def test_layers_are_the_streams(report, keys, noted):
    """Recomputation: live, confidence, agreement, top token of each key."""
    for layer in 1, 2:
        data, own = piece(report, f"layer-{layer}"), [key for key in keys if key["layer"] == layer - 1]
        assert data["cell"] == [key["cell"] for key in own]
        assert data["triggers"] == [min(TOP, len(key["coef"])) for key in own]
        assert data["agree"] == [int((key["next"][:TOP] == key["top"][0]).sum()) for key in own]
        assert data["confidence"] == pytest.approx([float(key["top_p"][0]) for key in own], rel=1e-4)
        assert [data["tokens"][token] for token in data["top"]] == [known_word(key["top"][0]) for key in own]
        assert [number is None for number in data["coefficient"]] == [not len(key["coef"]) for key in own]
        assert data["annotated"] == [int((layer, key["cell"]) in ((2, noted["cell"]), (1, 3))) for key in own]
    assert sum(piece(report, "layer-1")["agree"] + piece(report, "layer-2")["agree"]) > 0
    assert piece(report, "overview")["layers"] \
        == [{"layer": layer + 1, "keys": CELLS,
             "live": sum(len(key["coef"]) > 0 for key in keys if key["layer"] == layer)}
            for layer in range(2)]


def expected_index(keys):
    """{token: [values, last, anywhere]}, each {(layer, cell): strength}."""
    index = collections.defaultdict(lambda: [{}, {}, {}])
    for key in keys:
        memory = key["layer"] + 1, key["cell"]
        for token, p in zip(key["top"].tolist(), key["top_p"].tolist()):
            index[token][0][memory] = p
        for prefix in prefixes(key)[:TOP]:
            for kind, tokens in (1, {prefix[-1]}), (2, set(prefix)):
                for token in tokens:
                    index[token][kind][memory] = index[token][kind].get(memory, 0) + 1
    return index


def test_index_is_the_streams(report, keys):
    """Recomputation: all places of each token, strongest first."""
    tokens, expected = piece(report, "tokens"), expected_index(keys)
    assert tokens["token"] == sorted(expected)
    assert tokens["text"] == [known_word(token) for token in tokens["token"]]
    assert tokens["pieces"] == [0]
    for token, lists in zip(tokens["token"], piece(report, "postings-0"), strict=True):
        for kind, (name, flat) in enumerate(zip(("value", "last", "anywhere"), map(numbers, lists),
                                                strict=True)):
            wanted = sorted(expected[token][kind].items(), key=lambda item: (-item[1], item[0]))
            assert tokens[name][tokens["token"].index(token)] == len(wanted)
            assert list(zip(flat[::3], flat[1::3])) == [memory for memory, _ in wanted]
            assert flat[2::3] == pytest.approx([strength for _, strength in wanted], rel=1e-4)


def made_triggers(stream, memory):
    """A stream of 300 memories of 3 layers, 5 triggers each; memory: number -> (prefixes, the value's
    probability)."""
    header = {**{name: value for name, value in stream.header.items() if name != "following"},
              "model": {**stream.header["model"], "layers": 3, "d_ff": 100}, "keys": 300}
    records = []
    for number in range(300):
        prefix, probability = memory(number)
        records.append({"layer": number // 100, "cell": number % 100, "coef": [9, 8, 7, 6, 5],
                        "sentence": range(5), "position": [len(part) for part in prefix], "next": [8] * 5,
                        "prefix": sum(prefix, []), "top": [9], "top_p": [probability], "bottom": [4],
                        "bottom_p": [0], "next_rank": [1] * 5, "next_p": [0] * 5,
                        "last_rank": [1] * 5, "last_p": [0] * 5})
    return streams.write(header, records)


def test_only_the_strongest_places_are_kept(bin, place, tmp_path, stream):
    """Recomputation: 300 memories with one token in all triggers, of which 200 are listed, and the
    pieces of the index together."""
    random = np.random.default_rng(5)
    data = made_triggers(stream, lambda number: (
        [[7, 5] if i < with_five else [7, 6] for with_five in [int(random.integers(1, 6))] for i in range(5)],
        random.random()))
    ok(bin, "report-pages", "-m", place / "model", "-t", TOP, "-o", tmp_path / "out", stdin=data)
    tokens, expected = piece(tmp_path / "out", "tokens"), expected_index(
        [record for record in streams.read(data).records])
    lists = piece(tmp_path / "out", "postings-0")
    assert tokens["token"] == [5, 6, 7, 9]
    for token, found in zip(tokens["token"], lists):
        for kind, flat in enumerate(map(numbers, found)):
            wanted = sorted(expected[token][kind].items(), key=lambda item: (-item[1], item[0]))[:200]
            assert list(zip(flat[::3], flat[1::3])) == [memory for memory, _ in wanted], (token, kind)
    assert tokens["anywhere"][2] == 300 and len(numbers(lists[2][2])) == 600


def test_overview(report, stream):
    overview = piece(report, "overview")
    for name in "model", "corpus", "tokenizer", "history":
        assert overview[name] == stream.header[name]
    assert overview["counts"] == {name: stream.trailer[name] for name in streams.COUNTS}
    assert (sorted(overview["figures"]), overview["date"]) == (["fig02.svg", "fig04.svg"], "a day")
    assert sorted(path.name for path in (report / "figures").iterdir()) == ["fig02.svg", "fig04.svg"]
    assert overview["listed"] == [{"table": table_of(row),
                                   **{name: row[name] for name in ("figure", "title", "caption")}}
                                  for row in ROWS if row["title"] or row["caption"]]
    assert overview["sizes"] == {"top": TOP, "found": 8, "tops": 4, "bottoms": 3, "piece": 64,
                                 "postings": 200, "cases": 1100}
    assert sorted(overview["tables"]) == ["active", "agreement", "options", "patterns"]
    assert overview["tables"]["agreement"]["rows"][1][:7] == ["2", "70", "30", "0.4", "0", "0.02", "0.03"]
    cases = piece(report, "last-layer")
    assert len(cases["rows"]) == 1000 and cases["rows"][999][2] == f"{HOSTILE[0]} case 999"
    assert (report / "figures" / "fig04.svg").read_text().startswith("<svg")
    assert sorted(path.name for path in report.iterdir()) == ["data", "figures", "index.html", "report.css",
                                                              "report.js"]


def test_same_bytes(bin, place, triggers, report, tmp_path):
    ok(bin, "report-pages", *arguments(place), "-o", tmp_path / "again", stdin=triggers)
    files = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again")
                           for path in (tmp_path / "again").rglob("*") if path.is_file())
    assert all((report / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


@pytest.fixture(scope="module")
def bpe(bin, tmp_path_factory):
    """The report of a byte-level model; .stream, its triggers."""
    place = tmp_path_factory.mktemp("bpe")
    model, out = place / "model", place / "out"
    random_model.write_model(model, layers=1, d_model=8, d_ff=4, heads=2, vocabulary=12, cutoffs=(5,),
                             factor=2)
    (model / "dict.txt").unlink()
    # GPT-2's spelling of bytes
    vocabulary = ["<s>", "a", "b", "\u0120", "\u00e2", "\u0120a", "\u010a", "\u0120b", "c", "d", "e", "f"]
    (model / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (model / "merges.txt").write_text("#version: 0.2\n\u0120 a\n\u0120 b\n")
    (model / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": "<s>", "unk_token": "<s>"}))
    data = pipeline(bin, ["tokenize", "-m", model], ["forward-dump", "-m", model], ["topk-keys", "-t", 3],
                    ["project-values", "-m", model, "-k", 12, "--all-tokens"], stdin=b"a b a b a\nb a a b\n")
    ok(bin, "report-pages", "-m", f"{model}//", "-o", out, "--name", "b\u00fc", stdin=data)
    return out, streams.read(data)


def test_lone_bytes_of_bpe(bpe):
    """A byte-level token that is no UTF-8 is shown by its number."""
    out, _ = bpe
    assert piece(out, "overview")["joint"] == ""
    assert piece(out, "tokens")["text"] == ["<s>", "a", "b", " ", "\\xE2", " a", "\n", " b", "c", "d", "e",
                                            "f"]


def test_name_of_the_model(bin, place, triggers, stream, bpe, tmp_path):
    """Its folder's, however it is given, or what --name says; where the folder's is no UTF-8, the model's
    id."""
    assert piece(bpe[0], "overview")["name"] == "b\u00fc"
    shutil.copytree(place / "model", tmp_path / "m\udcff")
    (tmp_path / "link").symlink_to(place / "model")
    for number, (given, name) in enumerate([
            (place / "model", "model"), (f"{place}/model//", "model"), ("model", "model"),
            ("model/.", "model"),
            (tmp_path / "link", "link"), (tmp_path / "m\udcff", stream.header["model"]["id"])]):
        ok(bin, "report-pages", "-m", given, "-o", tmp_path / str(number), stdin=triggers, cwd=place)
        assert piece(tmp_path / str(number), "overview")["name"] == name
    fails(bin, "report-pages", "-m", place / "model", "-o", tmp_path / "x", "--name", "\udcff",
          stdin=triggers, says="--name takes UTF-8", status=2)


# --------------------------------------------------------------- what is refused

def test_wrong_inputs(bin, place, triggers, report, tmp_path):
    out, model = tmp_path / "out", place / "model"
    bare = ok(bin, "stream-cat", stdin=triggers) and pipeline(
        bin, ["tokenize", "-m", model], ["forward-dump", "-m", model], ["topk-keys"], stdin=b"w5 w6 w7\n")
    cases = [([], bare, "run project-values first"), ([], triggers[:-9], "ends"),
             (["--tables", tmp_path / "none"], triggers, "none: No such file or directory")]
    for name, content, says in [
            ("ragged", "layer,cell,x\n1,2\n", "line 2: 2 fields, where the first line has 3"),
            ("empty", "", "empty"),
            ("quote", 'layer,cell\n1,"2\n', "quotation mark"),
            ("names", "a,b\n1,2\n", "columns layer and cell"),
            ("zero", "layer,cell\n0,2\n", "not '0'"), ("text", "layer,cell\n1,two\n", "not 'two'"),
            ("model", "layer,cell,model\n1,2,other\n", "about model 'other'")]:
        (tmp_path / name).write_text(content)
        cases += [(["--annotations", tmp_path / name], triggers, says),
                  (["--measures", tmp_path / name], triggers, says)]
    (tmp_path / "bytes").write_bytes(b"layer,cell,x\n1,2,\xff\n")
    cases.append((["--measures", tmp_path / "bytes"], triggers, "line 2: not UTF-8"))
    before = sorted(tmp_path.iterdir())
    for options, data, says in cases:
        fails(bin, "report-pages", "-m", model, "-o", out, *options, stdin=data, says=says)
    fails(bin, "report-pages", "-m", model, "-o", report, stdin=triggers, says="exists")
    fails(bin, "report-pages", "-m", ROOT / "data" / "brown-lm", "-o", out, stdin=triggers,
          says="another tokenizer")
    assert sorted(tmp_path.iterdir()) == before  # nothing is left of a report that failed


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damage(bin, place, triggers, tmp_path, damage):
    """Wherever a stream is cut or a bit of it changed, no report comes of it."""
    places = np.random.default_rng(9).integers(0, len(triggers), 40)
    damaged = [triggers[:at] if damage == "cut"
               else triggers[:at] + bytes([triggers[at] ^ 16]) + triggers[at + 1:] for at in places]
    in_parallel(lambda data: fails(bin, "report-pages", "-m", place / "model", "-o", tmp_path / "out",
                                   stdin=data), damaged)
    assert not list(tmp_path.iterdir())


def test_interrupted(bin, place, stream, tmp_path):
    """Files in folders go away as well."""
    data = made_triggers(stream, lambda number: ([[7] * 2000] * 5, 0.5))
    half = data[:len(data) * 3 // 4]
    process = subprocess.Popen([bin / "report-pages", "-m", place / "model", "-o", tmp_path / "out"],
                               stdin=subprocess.PIPE, env=environment())
    process.stdin.write(half)
    process.stdin.flush()
    for _ in range(1000):
        if list(tmp_path.glob("out.part-*/data/layer-1.js")):
            break
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            pass
    assert list(tmp_path.glob("out.part-*/data/layer-1.js"))
    process.terminate()
    assert process.wait(60) == -15
    process.stdin.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.release_only
def test_pipeline_replaces_a_report(bin, place, triggers, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "old").write_text("old")
    (tmp_path / "triggers.msgpack").write_bytes(triggers)
    shutil.copy(place / "measures.csv", tmp_path / "shallow-keys.csv")
    subprocess.run([ROOT / "pipelines" / "report.sh", place / "model", tmp_path, "--top", "3"], check=True,
                   capture_output=True, timeout=TIMEOUT, env=environment({"PATH": f"{bin}:/usr/bin:/bin"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "shallow-keys.csv",
                                                                "triggers.msgpack"]
    assert not (tmp_path / "report" / "old").exists()
    overview = piece(tmp_path / "report", "overview")
    assert overview["sizes"]["top"] == 3 and overview["measures"][:2] == ["layer", "cell"]


# ---------------------------------------------------------------- in the browser

@pytest.fixture(scope="module")
def page(report):
    with browser() as page:
        page.report = report
        yield page


def go(page, hash):
    """Opens the report anew at an address."""
    page.driver.get("about:blank")
    page.driver.get((page.report / "index.html").resolve().as_uri() + hash)
    settle(page)


def settle(page):
    """Waits until what the address names is shown."""
    page.driver.execute_async_script("""
        const done = arguments[0], wait = () =>
            document.body.dataset.shown === location.hash ? done() : setTimeout(wait, 5);
        setTimeout(wait, 5);""")


def heading(page):
    return page.find("main h1").text


def said(page):
    """The first sentence of the page."""
    return page.find("main > p:not(#of)" if page.find_all("main > p:not(#of)") else "main > div > p").text


def phrase_found(page):
    """What the search for a text came to, once all memories were read: names and counts, of keys whose
    triggers end with it and contain it."""
    page.driver.execute_async_script("""const done = arguments[0], wait = () =>
        document.getElementById("phrase").dataset.done ? done() : setTimeout(wait, 5); wait();""")
    for button in page.find_all("#phrase button"):
        button.click()
    page.driver.execute_async_script("setTimeout(arguments[0], 100)")
    return tuple([row[:2] for row in rows(page, f"#found-{name} table")]
                 if page.find_all(f"#found-{name} table") else []
                 for name in ("last", "anywhere"))


def rows(page, selector="main table", place=0):
    """Texts of the first such table's cells, or of the one at another place, without selenium's many calls.
    Waits for it, since details are filled some time after they were opened."""
    page.driver.execute_async_script("""const [selector, place, done] = arguments, wait = () =>
        [...document.querySelectorAll(selector)].at(place) ? done() : setTimeout(wait, 5); wait();""",
                                     selector, place)
    return page.script("""const table = [...document.querySelectorAll(arguments[0])].at(arguments[1]);
        return [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent));""",
                       selector, place)


def memory_names(page, selector="main table"):
    return [row[0] for row in rows(page, selector)]


@pytest.fixture(autouse=True)
def no_complaints(request):
    """No page of any test says anything on the console, asks for anything but its own files, or shows a
    dialog."""
    yield
    if "page" not in request.fixturenames:
        return
    page = request.getfixturevalue("page")
    assert not page.has_dialog()
    assert page.complaints() == []
    own = page.report.resolve().as_uri() + "/"
    assert [url for url in page.requests() if not url.startswith((own, "data:", "about:"))] == []


class TestPage:
    pytestmark = pytest.mark.release_only

    def test_results(self, page):
        """Expected by hand from the tables: weighted by triggers, live keys, or as a range."""
        go(page, "")
        assert heading(page) == "Results"
        found = {row[1]: row[3:] for row in rows(page)}
        assert found["covered"] == ["65.0 % to 80.0 %", "60.0 % to 80.0 %", "1 to 2"]
        assert found["a key"] == ["3.6", "2.5", "1 to 2"]
        assert found["not covered"] == ["25.0 %", "35.0 %", "1 to 2"]
        assert found["both layers"] == ["1.0 %", "20.0 %", "1 to 2"]
        assert found["the last"] == ["3.5 %", "40.0 % (24.6 % to 57.7 %)", "2"]
        assert found["active"] == ["10.0 % to 50.0 %", "12.5 % to 25.0 %", "1 to 2"]
        assert found[HOSTILE[0]][1] == "\u2014"
        # In the order of the figures, which is not that of the list.
        assert page.script("return [...document.querySelectorAll('main summary')]"
                           ".map(summary => summary.textContent)") \
            == ["Patterns that readers noted (figure 2) patterns.csv",
                "Agreement of values with what follows (figure 4) agreement.csv",
                "Active memories (figure 7) active.csv"]
        page.find("main details:nth-of-type(2) summary").click()
        assert rows(page, "main details:nth-of-type(2) table")[1] \
            == ["2", "70", "30", "0.4 (0.246 to 0.577)", "0", "0.02", "0.03"]
        cell = "main details:nth-of-type(2) tbody tr:nth-of-type(2) td:nth-of-type(6)"
        assert page.find(f"{cell} [title]").get_attribute("title") \
            == "quartiles 0.01, 0.02, 0.0333"

    @pytest.mark.parametrize("patterns, active, says", [
        (["readers", "reader_kind", "comparable", 1, "program", 0],
         ["active", "comparable", "|m| >= 0.1 max |m|", 0],
         ["not comparable (20 keys, 1 reader a layer: program)",
          "not comparable (active: |m| >= 0.1 max |m|)"]),
        ([], [], ["not comparable (unknown readers)", "not comparable (unknown definition of active)"])],
                             ids=["said", "not-said"])
    def test_what_was_measured_in_another_way_is_not_set_beside_the_paper(self, bin, page, place, triggers,
                                                                          tmp_path, patterns, active, says):
        """A program's readings, a gated model's active memories, and old tables, which do not say; why stands
        there."""
        half = len(patterns) // 2
        write_csv(tmp_path / "patterns.csv", ["layer", "keys", "triggers", "shallow", "semantic", "both",
                                              "none", "patterns_per_key", *patterns[:half]],
                  [[layer, 10, 100, 0.5, 0.2, 0.1, 0.2, 3, *patterns[half:]] for layer in (1, 2)])
        half = len(active) // 2
        write_csv(tmp_path / "active.csv", ["layer", "prefixes", "mean", "p25", "p50", "p75", *active[:half]],
                  [[layer, 9, 0.25, 0, 0, 0, *active[half:]] for layer in (1, 2)])
        ok(bin, "report-pages", "-m", place / "model", "--tables", tmp_path,
           "--published", place / "published.csv", "-o", tmp_path / "report", stdin=triggers)
        page.driver.get((tmp_path / "report" / "index.html").resolve().as_uri())
        settle(page)
        found = {row[1]: row[3:] for row in rows(page)}
        page.requests()
        assert [found[name] for name in ("covered", "a key", "active")] == [
            ["65.0 % to 80.0 %", says[0], ""], ["3.6", says[0], ""], ["10.0 % to 50.0 %", says[1], ""]]

    def test_figures(self, page):
        go(page, "#/figures")
        assert page.driver.execute_async_script("""
            const done = arguments[0], images = [...document.images];
            const loaded = () => done(images.map(image => [image.naturalWidth > 0, image.alt]));
            const wait = () => images.every(image => image.complete) ? loaded() : setTimeout(wait, 5);
            wait();""") == [[True, "Figure 2. Shares of triggers that show shallow and semantic patterns."],
                            [True, "Figure 4. Agreement rate of values with their keys' first triggers."]]

    @pytest.mark.parametrize("sort", ["triggers", "coefficient", "confidence", "agreement", "top"])
    @pytest.mark.parametrize("layer", ["2", "all"])
    def test_sort(self, page, keys, layer, sort):
        """Recomputation of the order; the same button turns it round."""
        def measure(key):
            count = min(TOP, len(key["coef"]))
            agree = int((key["next"][:TOP] == key["top"][0]).sum())
            return {"triggers": count, "coefficient": float(key["coef"][0]) if count else None,
                    "confidence": float(key["top_p"][0]), "agreement": agree / count if count else None,
                    "top": known_word(key["top"][0])}[sort]

        go(page, f"#/layer/{layer}")
        measured = [(measure(key), f"{key['layer'] + 1} / {key['cell']}")
                    for key in keys if layer == "all" or key["layer"] == 1]
        for down in (False, True) if sort == "top" else (True, False):
            page.find(f"#sort-{sort}").click()
            settle(page)
            rest = [name for value, name in measured if value is None]
            # Stable, so that equal ones stay by layer and cell.
            expected = [name for _, name in sorted(((v, n) for v, n in measured if v is not None),
                                                   key=lambda item: item[0], reverse=down)]
            if down:  # reversed sorting in Python keeps equal ones in order as well
                assert page.find("th[aria-sort]").get_attribute("aria-sort") == "descending"
            found = memory_names(page)
            expected = (expected + rest)[:100]
            by_name = {name: value for value, name in measured}
            assert [by_name[name] for name in found] \
                == pytest.approx([by_name[name] for name in expected], rel=1e-4) \
                if sort in ("coefficient", "confidence") else found == expected
            assert page.script("return document.activeElement.id") == f"sort-{sort}"

    def test_filters(self, page, keys, noted):
        for state, wanted in ("live", lambda key: len(key["coef"])), \
                ("dead", lambda key: not len(key["coef"])), \
                ("annotated", lambda key: key is noted):
            go(page, "#/layer/2")
            page.script("const s = document.getElementById('state'); s.value = arguments[0]; "
                        "s.dispatchEvent(new Event('change'))", state)
            settle(page)
            assert memory_names(page) == [f"2 / {key['cell']}"
                                          for key in keys if key["layer"] == 1 and wanted(key)]
            address = page.driver.current_url
            assert address.endswith(f"#/layer/2?state={state}")
            page.driver.refresh()
            settle(page)
            assert page.find("#state").get_attribute("value") == state

    def test_pages_of_a_list(self, page, keys):
        go(page, "#/layer/all")
        first = memory_names(page)
        page.find("#next-page").click()
        settle(page)
        assert first + memory_names(page) == [f"{key['layer'] + 1} / {key['cell']}" for key in keys]

    def test_memory(self, page, noted):
        """Recomputation: what stands in the page of one memory."""
        key = noted
        go(page, f"#/memory/2/{key['cell']}")
        assert heading(page) == f"Layer 2, memory {key['cell']}"
        assert page.script(
            "return [...document.querySelectorAll('main h2')].map(heading => heading.textContent)") \
            == ["Triggers", "Patterns that readers noted", "Value", "Measures", "Key"]
        tables = page.script(
            "return [...document.querySelectorAll('main table')].map(table => "
            "[...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent)))")
        triggers, patterns, top, bottom = tables
        assert [token for token, _ in top] == [visible(token) for token in key["top"]]
        assert [float(p) for _, p in bottom] == pytest.approx(key["bottom_p"].tolist(), rel=6e-3)
        assert [token for token, _ in bottom] == [visible(token) for token in key["bottom"]]
        assert patterns == [["1", "shallow", HOSTILE[0], "3 of 5", "A (unknown kind)"]]
        assert len(triggers) == min(TOP, len(key["coef"])) > 2
        for i, (number, coefficient, prefix, following, rank, shows, sentence) in enumerate(triggers):
            assert number == str(i + 1) \
                and float(coefficient) == pytest.approx(float(key["coef"][i]), rel=6e-3)
            before, behind = prefix.split("followed by ")
            assert before == " ".join(visible(token) for token in prefixes(key)[i])
            assert behind == " ".join(visible(token) for token in [key["next"][i], *behind_next(key, i)])
            agrees = key["next"][i] == key["top"][0]
            assert following == visible(key["next"][i]) + (" \u2713 agrees" if agrees else "")
            assert (rank, sentence) == (str(key["next_rank"][i]), str(key["sentence"][i]))
            assert shows == ("1" if i + 1 in (1, 3, 4) else "")
        assert page.script("return [...document.querySelectorAll('mark')].map(mark => mark.textContent)") \
            == [visible(prefix[-1]) for prefix in prefixes(key)[:TOP]]
        share = 100 * key["cell"] / 128
        assert page.find("dl").text.split("\n") == ["Triggers measured", "5",
                                                    "Share of triggers that end in the same word",
                                                    f"{share:.1f} %", "The word that they end in", HOSTILE[0],
                                                    "Odd one", "0.25"]

    def test_names_are_explained(self, page, noted):
        """By the keyboard, by the mouse, and in the key at the page's end; Escape takes an explanation
        away."""
        go(page, f"#/memory/2/{noted['cell']}")
        names = page.script("return [...document.querySelectorAll('main .term')].map(term => "
                            "[term.textContent, term.dataset.says])")
        assert {name for name, _ in names} == {"Coefficient", "Prefix and what followed", "Next token",
                                               "Its rank", "Sentence", "Probability", "Triggers measured",
                                               "Share of triggers that end in the same word",
                                               "The word that they end in"}
        key = dict(page.script("return [...document.querySelectorAll('#key dt')].map(name => "
                               "[name.textContent, name.nextSibling.textContent])"))
        assert all(key[name] == says for name, says in names) and {"Trigger", "Value"} < key.keys()
        tip, reached = page.find("#tip"), []
        assert not tip.is_displayed()
        while len(reached) < len(names):
            page.driver.switch_to.active_element.send_keys(Keys.TAB)
            name, says, described = page.script("const e = document.activeElement; return [e.textContent, "
                                                "e.dataset.says, e.getAttribute('aria-describedby')]")
            if says:
                assert tip.is_displayed() and tip.text == says and described == "tip"
                reached.append([name, says])
                box, width = tip.rect, page.script("return document.documentElement.clientWidth")
                assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert reached == names
        page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        assert not tip.is_displayed()
        term = page.find("dl .term")
        ActionChains(page.driver).move_to_element(term).perform()
        assert tip.is_displayed() and tip.text == term.get_attribute("data-says")
        ActionChains(page.driver).move_to_element(page.find("#name")).perform()
        assert not tip.is_displayed()

    def test_all_measures_of_shallow_stats_have_names(self, page, bin, place, triggers, tmp_path):
        bare = pipeline(bin, ["tokenize", "-m", place / "model"], ["forward-dump", "-m", place / "model"],
                        ["topk-keys", "-t", 3],
                        stdin=b"w5 w6 w7\nw5 w6 w8\n")
        ok(bin, "shallow-stats", "-m", place / "model", "--keys", tmp_path / "keys.csv", "-o", "/dev/null",
           stdin=bare)
        go(page, "")
        columns = set(table(tmp_path / "keys.csv")[0]) - {"layer", "cell"}
        assert columns == set(page.script("return [...MEASURES.keys()]"))

    @pytest.mark.parametrize("hash", ["#/", "#/figures", "#/layer/all", "#/memory/2/{}", "#/search/w5",
                                      "#/cases", "#/provenance", "#/none"])
    def test_titles_name_the_model(self, page, noted, hash):
        go(page, hash.format(noted["cell"]))
        assert page.driver.title == f"{heading(page)} \u2013 model \u2013 made \u2013 feed-forward memories"
        described = page.find("h1").get_attribute("aria-describedby")
        assert page.find(f"#{described}").text == "Model model, corpus made"
    def test_dead_memory(self, page, keys):
        key = next(key for key in keys if not len(key["coef"]))
        go(page, f"#/memory/{key['layer'] + 1}/{key['cell']}")
        assert "This key is dead" in page.find("main").text

    @pytest.mark.parametrize("token", [5, *range(FIRST_HOSTILE, FIRST_HOSTILE + len(HOSTILE))])
    def test_search(self, page, keys, token):
        """Recomputation: typed into the field, each token leads to the memories that it should, of all three
        kinds."""
        go(page, "")
        page.find("#query").send_keys(word(token), Keys.ENTER)
        settle(page)
        assert said(page) == f"Token {visible(token)} (number {token})"
        for kind, name in enumerate(("value", "last", "anywhere")):
            wanted = sorted(expected_index(keys)[token][kind].items(), key=lambda item: (-item[1], item[0]))
            selector = f"#found-{name} table"
            found = memory_names(page, selector) if wanted else []
            assert found == [f"{layer} / {cell}" for (layer, cell), _ in wanted[:25]]
            if len(wanted) > 25:
                page.find(f"#found-{name} button").click()
                page.driver.execute_async_script("setTimeout(arguments[0], 100)")
                assert memory_names(page, selector) == [f"{layer} / {cell}" for (layer, cell), _ in wanted]
        address = page.driver.current_url
        page.driver.refresh()
        settle(page)
        assert page.driver.current_url == address \
            and page.find("#query").get_attribute("value") == word(token)

    def test_search_is_kind(self, page):
        """Other case and spaces find the token, parts of it similar ones and the text, nothing says so."""
        go(page, "#/search/%20W5%20")
        assert said(page) == "Token w5 (number 5)"
        go(page, "#/search/w3?token=12")  # which is not like it
        assert not said(page).startswith("Token \"';--")
        go(page, "#/search/scrip")
        assert page.find(f"#token-{FIRST_HOSTILE}").text == word(FIRST_HOSTILE)
        found = phrase_found(page)
        assert found == ([], []) and said(page).startswith(
            "Text scrip, looked for in the triggers shown, up to 5 of each of all 140")
        page.find(f"#token-{FIRST_HOSTILE}").click()
        settle(page)
        assert said(page) == f"Token {word(FIRST_HOSTILE)} (number {FIRST_HOSTILE})"
        go(page, "#/search/%20")
        assert "No token" in page.find("main").text

    @pytest.mark.parametrize("phrase", [2, 3, [FIRST_HOSTILE, 5], [7]])
    def test_phrase(self, page, keys, phrase):
        """Recomputation from the tokens: the memories with triggers that end with these, or have them in a
        row; for a number the commonest so many tokens in a row."""
        if isinstance(phrase, int):
            in_a_row = collections.Counter(tuple(prefix[i:i + phrase]) for key in keys
                                           for prefix in prefixes(key)[:TOP]
                                           for i in range(len(prefix) - phrase + 1))
            phrase = list(in_a_row.most_common(1)[0][0])
        counts = [{}, {}]
        for key in keys:
            for prefix in prefixes(key)[:TOP]:
                places = [i for i in range(len(prefix)) if prefix[i:i + len(phrase)] == phrase]
                for count, counted in zip(counts, (prefix[-len(phrase):] == phrase, places)):
                    if counted:
                        name = key["layer"] + 1, key["cell"]
                        count[name] = count.get(name, 0) + 1
        assert counts[1]
        go(page, "")
        text = "  ".join(map(word, phrase)).upper()  # another case, other spaces
        page.find("#query").send_keys(text, Keys.ENTER)
        settle(page)
        if len(phrase) == 1:
            assert said(page) == "Token w7 (number 7)"
            page.find("#as-text").click()
            settle(page)
        found = phrase_found(page)
        for shown, count in zip(found, counts, strict=True):
            wanted = sorted(count.items(), key=lambda item: (-item[1], item[0]))
            assert shown == [[f"{layer} / {cell}", str(number)] for (layer, cell), number in wanted]

    def test_phrase_is_of_whole_words(self, page):
        for text in "5 w6", "w5 w":
            go(page, f"#/search/{text}")
            assert phrase_found(page) == ([], [])
        for text, phrase, ends in [("of the sea.", "the sea", False), ("of the\u00a0Sea", "the sea", True),
                                   ("of the sea", "the se", False), ("lathe sea", "the sea", False),
                                   ("a \u6771\u4eac\u90fd", "\u6771\u4eac", False),
                                   ("is it ? ", "it ?", True),
                                   ("so a?b (x) [1]{2}^$|\\/", "a?b (x) [1]{2}^$|\\/", True)]:
            has, at_end = page.script("const tests = phraseTests(arguments[1]); return [tests.has, "
                                      "tests.ends].map(test => test.test(arguments[0]))", text, phrase)
            assert has == (text not in ("lathe sea",) and phrase != "the se") and at_end == ends, \
                (text, phrase)

    def test_memory_by_its_numbers(self, page, noted):
        for typed in f"2/{noted['cell']}", f" 2 / {noted['cell']} ", f"02/{noted['cell']}":
            go(page, "")
            page.find("#query").send_keys(typed, Keys.ENTER)
            settle(page)
            assert page.driver.current_url.endswith(f"#/memory/2/{noted['cell']}")
        for typed in "3/1", "0/1", "1/70":  # the model has no such memory
            page.find("#query").clear()
            page.find("#query").send_keys(typed, Keys.ENTER)
            settle(page)
            assert heading(page) == f"Search: {typed}" and phrase_found(page) == ([], [])

    def test_triggers_without_what_follows(self, page, bpe):
        out, stream = bpe
        key = next(record for record in stream.records if len(record.get("coef", [])))
        page.driver.get((out / "index.html").as_uri() + f"#/memory/1/{key['cell']}")
        settle(page)
        assert page.find("main th:nth-child(3)").text == "Prefix" and not page.find_all(".following")
        assert page.find("main td.prefix").text == "".join({1: "a", 2: "b", 5: " a", 7: " b"}[token]
                                                           for token in prefixes(key)[0]).strip()
        assert all(url.startswith(out.as_uri()) for url in page.requests() if url.startswith("file:"))

    @pytest.mark.parametrize("query, meant", [("a", {1, 5}), ("A", {1, 5}), ("%20a", {5}), ("b", {2, 7}),
                                              ("a?token=1", {1}), ("b?token=7", {7})])
    def test_word_with_and_without_its_space(self, page, bpe, query, meant):
        """Recomputation: the memories of each token, with the token's name on each line."""
        out, stream = bpe
        text = {1: "a", 2: "b", 5: "\u2423a", 7: "\u2423b"}
        index = collections.defaultdict(lambda: [{}, {}, {}])
        for key in (record for record in stream.records if "layer" in record):
            for token, p in zip(key["top"].tolist(), key["top_p"].tolist()):
                index[token][0][1, key["cell"]] = p
            for prefix in prefixes(key):
                for kind, tokens in (1, set(prefix[-1:])), (2, set(prefix)):
                    for token in tokens:
                        index[token][kind][1, key["cell"]] = index[token][kind].get((1, key["cell"]), 0) + 1
        page.driver.get((out / "index.html").as_uri() + f"#/search/{query}")
        settle(page)
        assert said(page).startswith("Tokens " if len(meant) > 1 else "Token ")
        seen = 0
        for kind, name in enumerate(("value", "last", "anywhere")):
            wanted = sorted(((strength, memory, token) for token in meant
                             for memory, strength in index[token][kind].items()),
                            key=lambda one: (-one[0], one[1], one[2]))
            found = rows(page, f"#found-{name} table") if wanted else []
            assert [row[0] for row in found] == [f"{layer} / {cell}" for _, (layer, cell), _ in wanted]
            if len(meant) > 1:
                assert [row[1] for row in found] == [text[token] for _, _, token in wanted]
            seen += len(found)
        assert seen
        assert all(url.startswith(out.as_uri()) for url in page.requests() if url.startswith("file:"))

    def test_cases(self, page):
        go(page, "#/cases?page=20")
        assert "1,100 in all, of which the first 1,000 are listed" in said(page)
        found = rows(page)
        assert len(found) == 50
        assert found[-1] == ["999", "3", f"{HOSTILE[0]} case 999", HOSTILE[1], "w5", "0.25", "0.5", "-0.125"]

    def test_provenance(self, page, stream):
        go(page, "#/provenance")
        shown = page.find("main").text
        for part in stream.header["model"]["id"], "a day", "made", stream.header["tokenizer"]["id"]:
            assert part in shown
        stages = rows(page)
        assert [row[0] for row in stages] == ["tokenize", "forward-dump", "topk-keys", "project-values",
                                              "report-pages"]
        assert "bottoms 3" in stages[3][2]
        assert rows(page, place=-1) == [["all", "a/model"], ["triggers", f'"{HOSTILE[0]}" --limit 7']]

    def test_without_a_date_the_time_of_the_file(self, page, bin, place, triggers, tmp_path):
        ok(bin, "report-pages", "-m", place / "model", "-o", tmp_path / "report", stdin=triggers)
        index = tmp_path / "report" / "index.html"
        os.utime(index, (981201600, 981201600))  # noon of 3 February 2001, UTC
        page.driver.get(index.as_uri() + "#/provenance")
        settle(page)
        assert "02/03/2001" in page.find("main").text
        assert all(url.startswith(tmp_path.as_uri()) for url in page.requests() if url.startswith("file:"))

    def test_links_and_back(self, page):
        go(page, "#/layer/1?sort=confidence&order=down")
        first = page.find("main table a")
        name = first.text
        first.click()
        settle(page)
        layer, cell = name.split(" / ")
        assert page.driver.current_url.endswith(f"#/memory/{layer}/{cell}")
        assert heading(page) == f"Layer {layer}, memory {cell}" \
            == page.script("return document.activeElement.textContent")
        page.find("#next, #prev").click()
        settle(page)
        assert heading(page) != f"Layer {layer}, memory {cell}"
        page.driver.back()
        settle(page)
        assert heading(page) == f"Layer {layer}, memory {cell}"
        page.driver.back()
        settle(page)
        assert heading(page) == "Memories of layer 1" and memory_names(page)[0] == name

    @pytest.mark.parametrize("hash", ["#/memory/9/1", "#/memory/1/70", "#/memory/x/y", "#/memory/1/1.5",
                                      "#/memory", "#/layer/0", "#/layer/__proto__",
                                      "#/nonsense", "#/__proto__", "#/constructor/1", "#/%zz",
                                      "#/layer/1?page=-7&sort=__proto__&state=constructor",
                                      "#/search", "#/search/%00", "#/cases?page=1e9", "#/layer/1?page=NaN"])
    def test_addresses_that_name_nothing(self, page, hash):
        go(page, hash)
        assert heading(page)

    def test_keyboard_alone(self, page):
        """From the first key on: skip link, search by /, a result, its memory, a sorted list; and there is
        always a visible focus."""
        def focused():
            return page.script("""const e = document.activeElement;
                return [e.tagName, e.id, e.textContent.trim(), e === document.body || e.tagName === "H1"
                        || getComputedStyle(e).outlineStyle !== "none" || e.id === "main"]""")

        def press(*keys):
            for key in keys:
                page.driver.switch_to.active_element.send_keys(key)
                assert focused()[3], focused()

        go(page, "")
        press(Keys.TAB)
        assert focused()[1] == "skip"
        press(Keys.ENTER)
        assert focused()[1] == "main" and page.driver.current_url.endswith("index.html")
        press("/")
        assert focused()[1] == "query"
        press(*"w5", Keys.ENTER)
        settle(page)
        assert heading(page) == "Search: w5" == focused()[2]
        for _ in range(60):
            press(Keys.TAB)
            if re.fullmatch(r"\d+ / \d+", focused()[2]):
                break
        layer, cell = focused()[2].split(" / ")
        press(Keys.ENTER)
        settle(page)
        assert heading(page) == f"Layer {layer}, memory {cell}"
        for _ in range(5):
            press(Keys.TAB)
            if focused()[2].startswith("All of layer"):
                break
        press(Keys.ENTER)
        settle(page)
        for _ in range(10):
            press(Keys.TAB)
            if focused()[1] == "sort-confidence":
                break
        press(Keys.ENTER)
        settle(page)
        press(Keys.SPACE)
        settle(page)
        assert page.find("th[aria-sort]").get_attribute("aria-sort") == "ascending" \
            and focused()[1] == "sort-confidence"
        press(Keys.SHIFT + Keys.TAB)

    @pytest.mark.parametrize("hash", ["#/", "#/figures", "#/layer/all", "#/memory/2/{}", "#/search/w5",
                                      "#/cases", "#/provenance"])
    def test_fits_a_phone(self, page, noted, hash):
        """Nothing but tables in their own boxes is wider than the screen."""
        page.emulate(360, 740)
        try:
            go(page, hash.format(noted["cell"]))
            assert page.script("return document.documentElement.scrollWidth") <= 360
        finally:
            page.emulate(1280, 800)

    @pytest.mark.parametrize("dark", [False, True])
    def test_contrast(self, page, noted, dark):
        """WCAG's 4.5 to 1 for each color of text against its background."""
        page.emulate(1280, 800, dark)
        try:
            go(page, f"#/memory/2/{noted['cell']}")
            pairs = page.script("""
                const solid = element => { for (; element; element = element.parentElement) {
                    const color = getComputedStyle(element).backgroundColor;
                    if (!/, 0\\)$/.test(color)) return color; } return "none"; };
                const text = node => node.nodeType === 3 && node.data.trim();
                return [...document.querySelectorAll("body *")]
                    .filter(element => [...element.childNodes].some(text))
                    .map(element => [getComputedStyle(element).color, solid(element), element.tagName]);""")
        finally:
            page.emulate(1280, 800)

        def luminance(color):
            parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
            return np.dot([0.2126, 0.7152, 0.0722], [part / 12.92 if part <= 0.04045
                                                     else ((part + 0.055) / 1.055) ** 2.4 for part in parts])

        for color, background, name in pairs:
            if background == "none":
                assert name in ("SCRIPT", "STYLE", "TITLE", "A", "NOSCRIPT"), (color, background, name)
                continue
            light, faint = sorted((luminance(color), luminance(background)), reverse=True)
            assert (light + 0.05) / (faint + 0.05) >= 4.5, (color, background, name)


# ------------------------------------------------------------- coefficients

@pytest.fixture(scope="module")
def shaded(bin, place, tmp_path_factory):
    """A report of triggers that have their coefficients, also negative ones, and its keys by layer and
    cell."""
    model = tmp_path_factory.mktemp("shaded") / "model"
    shutil.copytree(place / "model", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "activation_function": "gelu"}))
    corpus = "".join(" ".join("other" if token == 3 else word(token) for token in tokens) + "\n"
                     for tokens in sentences())
    data = pipeline(bin, ["tokenize", "-m", model],
                    ["forward-dump", "-m", model, "--emit", "max,counts", "--paths", 8],
                    ["topk-keys", "-t", 8], ["project-values", "-m", model, "-k", 4], stdin=corpus.encode())
    out = model.parent / "out"
    ok(bin, "report-pages", "-m", model, "-o", out, "--top", TOP, stdin=data)
    return out, {(key["layer"] + 1, key["cell"]): key for key in streams.read(data).records if "layer" in key}


def along(key):
    return np.split(key["prefix_coef"], np.cumsum(key["position"])[:-1])


def all_bins(key):
    counts = np.zeros(97, int)
    counts[key["coefs_bin"]] = key["coefs_count"]
    return counts


def trigger_bins(key):
    return oracle.coefficient_counts(key["coef"])


def test_coefficients_are_the_streams(report, shaded):
    """Recomputation: those along each prefix, to two digits, and how many are in each bin."""
    out, keys = shaded
    for layer, group in (1, 0), (2, 1):
        for memory in piece(out, f"memories-{layer}-{group}")["memories"]:
            key = keys[layer, memory["cell"]]
            for trigger, values in zip(memory["triggers"], along(key)):
                assert trigger[5] is None and len(trigger) == 7
                assert numbers(trigger[6]) == pytest.approx(values.tolist(), rel=0.051)
            for text, counts in zip(memory["coefficients"], (all_bins(key), trigger_bins(key)), strict=True):
                assert numbers(text) == [number for pair in enumerate(counts.tolist()) if pair[1]
                                         for number in pair]
    assert piece(out, "overview")["edges"] == pytest.approx([-edge for edge in oracle.COEFFICIENT_EDGES[::-1]]
                                                            + [0] + oracle.COEFFICIENT_EDGES, rel=1e-4)
    for memory in piece(report, "memories-1-0")["memories"]:  # triggers without them
        assert "coefficients" not in memory and all(len(trigger) == 6 for trigger in memory["triggers"])
    assert piece(report, "overview")["edges"] is None


def open_memory(page, out, layer, cell):
    page.driver.get("about:blank")
    page.driver.get((out / "index.html").as_uri() + f"#/memory/{layer}/{cell}")
    settle(page)


def assert_asks_for(page, out):
    """Files of this report, and no others."""
    assert all(url.startswith((out.as_uri(), "about:", "data:")) for url in page.requests())


def test_each_token_of_a_prefix_is_shaded_by_its_coefficient(page, shaded):
    """By its share of the prefix's largest; the number is told when it is pointed at, and is there to be
    read."""
    out, keys = shaded
    place, key = next((place, key) for place, key in keys.items() if len(key["coef"]) >= TOP
                      and any((part < 0).any() for part in along(key)[:TOP]))
    open_memory(page, out, *place)
    found = page.script("""return [...document.querySelectorAll('td.prefix')].map(cell => [
        [...cell.querySelectorAll('.positive, .negative')].map(e => [
            e.className, Number(e.style.getPropertyValue('--share')), Number(e.dataset.says.split(' ')[1]),
            getComputedStyle(e).backgroundColor]),
        cell.querySelector('mark').dataset.says, cell.querySelector('.unseen').textContent,
        cell.querySelector('bdi').textContent])""")
    assert len(found) == TOP
    for (tokens, last, read, text), values, prefix in zip(found, along(key), prefixes(key)):
        assert text == " ".join(visible(token) for token in prefix)
        assert last == f"Coefficient {float(f'{values[-1]:.2g}'):g}"
        assert [float(number) for number in re.findall(r"-?[\d.]+(?:e-\d+)?",
                                                       read)] == pytest.approx(values.tolist(), rel=0.051)
        assert len(tokens) == len(values) - 1
        for (kind, share, said, color), value in zip(tokens, values):
            assert said == pytest.approx(float(value), rel=0.051)
            assert kind == ("negative" if value < 0 else "positive")
            assert share == pytest.approx(abs(value) / np.abs(values).max(), abs=0.06)
            alpha = re.search(r"rgba\(.*, ([\d.]+)\)", color)
            assert (float(alpha[1]) if alpha else 1) == pytest.approx(0.4 * share, abs=0.01)
    ActionChains(page.driver).move_to_element(page.find("td.prefix .negative")).perform()
    assert page.find("#tip").is_displayed() \
        and page.find("#tip").text == page.find("td.prefix .negative").get_attribute("data-says")
    assert_asks_for(page, out)


def test_what_is_only_to_be_heard_is_not_to_be_seen(page, shaded):
    """A long list of coefficients, which breaks into lines, began to the left of the page and reached into
    it."""
    out, keys = shaded
    open_memory(page, out, *next(iter(keys)))
    page.script(
        "document.querySelectorAll('td.prefix .unseen').forEach(e => e.textContent += ', 0.123'.repeat(300))")
    assert page.script("""return [...document.querySelectorAll('.unseen')].map(e => e.getBoundingClientRect())
        .filter(box => box.width > 1 || box.height > 1).length""") == 0
    assert_asks_for(page, out)


def test_a_picture_of_a_keys_coefficients(page, shaded):
    """How many are in each bin, those of the triggers among them, and the share above 0: in the picture, and
    in words."""
    out, keys = shaded
    for place in ((1, 3), (2, 69)):
        key = keys[place]
        counts, triggers = all_bins(key), trigger_bins(key)
        open_memory(page, out, *place)
        bars = page.script("return [...document.querySelectorAll('#coefficients .bar')].map(bar => "
                           "[bar.dataset.says, ...[...bar.querySelectorAll('.all, .none, .found')].map(e => "
                           "Number(e.getAttribute('height')))])")
        shown = range(np.flatnonzero(counts)[0], np.flatnonzero(counts)[-1] + 1)
        assert len(bars) == len(shown)
        for bin, (says, all_height, found_height) in zip(shown, bars):
            number = re.search(r": ([\d,]+) prefix", says)[1]
            assert int(number.replace(",", "")) == counts[bin]
            assert re.findall(r"(\d+) triggers?", says) == ([str(triggers[bin])] if triggers[bin] else [])
            assert all_height \
                == pytest.approx(max(2, 90 * np.log10(1 + counts[bin]) / np.log10(1 + counts.max()))
                                 if counts[bin] else 0, abs=0.01)
            assert (found_height > 0) == (triggers[bin] > 0) and found_height <= all_height
        edges = [*(-edge for edge in oracle.COEFFICIENT_EDGES[::-1]), 0.0, *oracle.COEFFICIENT_EDGES]
        low = [says.split(":")[0].split(" ")[0] for says, *_ in bars]
        assert [float(edge) for edge in low] \
            == pytest.approx([0 if bin in (47, 49) else edges[bin] for bin in shown], rel=1e-4)
        summary = page.find("#coefficients figcaption").text
        assert summary == page.find("#coefficients svg").get_attribute("aria-label")
        above = float(re.search(r"([\d.]+) % have a coefficient above 0", summary)[1])
        assert above == pytest.approx(100 * counts[49:].sum() / counts.sum(), abs=0.051) \
            and f"The {len(key['coef'])} triggers found" in summary
        assert "Coefficients in the corpus" in page.script(
            "return [...document.querySelectorAll('#key dt')].map(name => name.textContent)")
    assert_asks_for(page, out)


def test_triggers_without_coefficients_have_neither_shades_nor_picture(page, noted):
    go(page, f"#/memory/2/{noted['cell']}")
    assert not page.find_all(".positive, .negative, #coefficients, #key svg, mark[data-says]")
    assert {"Shade", "Coefficients in the corpus"}.isdisjoint(
        page.script("return [...document.querySelectorAll('#key dt')].map(name => name.textContent)"))
