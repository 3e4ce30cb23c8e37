"""annotation-sheet: what is on the page, and the page in a real browser, whose CSV pattern-stats reads."""

import json
import os
import re
import time

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.select import Select

import browser as browsers
import intervals
import random_model
import streams
from conftest import ROOT
from helpers import fails, ok, pipeline, random_sentences, raw_table, run, table, text

HEAD = "reader,model,layer,cell,triggers,pattern,kind,description,shows,value_shown,reader_kind\r\n"
OLD_HEAD = HEAD.replace(",value_shown,reader_kind", "")  # of pages that always showed the value's words

HOSTILE = ["</script><script>alert(1)</script>", "<!--", "-->", "]]>", "<img/src=x/onerror=alert(2)>",
           "\"quoted'", "{{data}}", "&lt;", "\\u003c\\", "שלום", "مرحبا", "a\u2028b", "\u202eevil", "<b>",
           "${x}", "`", "=1+1", "\u0301", "😀"]
# Tokens that are single bytes: character 0 has no sign of its own, 0xE2 begins one of three bytes, 0xFF none.
HOSTILE_BYTES = [b"</script><script>alert(1)</script>", b"\xe2\x82\xac", b"\xe2", b"\xff", b"a\nb\tc",
                 b"\x00", b"<!--", "שלום".encode()]


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page,
                                re.DOTALL)[1])


def make_stream(bin, model, keys):
    """A triggers stream with projected values of a model, with made-up keys: (layer, cell, top tokens,
    [(prefix, next)])."""
    header = streams.read(pipeline(bin, ["tokenize", "-m", model], ["forward-dump", "-m", model],
                                   ["topk-keys", "-t", 100],
                                   ["project-values", "-m", model], stdin=b"a b\n")).header
    records = []
    for layer, cell, top, triggers in keys:
        count = len(triggers)
        records.append({
            "layer": layer, "cell": cell, "coef": [2 + count - i for i in range(count)],
            "sentence": list(range(count)), "position": [len(prefix) for prefix, _ in triggers],
            "next": [token for _, token in triggers],
            "prefix": [token for prefix, _ in triggers for token in prefix], "top": top,
            "top_p": [0.5 / (i + 1) for i in range(len(top))],
            **{name: [1] * count for name in ("next_rank", "last_rank")},
            **{name: [0.5] * count for name in ("next_p", "last_p")}})
    return streams.write({**header, "keys": len(records)}, records)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A model whose dictionary has hostile words, from token 4 on, and then tame ones."""
    directory = tmp_path_factory.mktemp("words")
    random_model.write_model(directory, vocabulary=60)
    listed = HOSTILE + [f"w{i}" for i in range(4 + len(HOSTILE), 60)]
    (directory / "dict.txt").write_text("".join(f"{word} 1\n" for word in listed), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A model whose tokens are the 256 bytes, byte b being token b."""
    directory = tmp_path_factory.mktemp("letters")
    random_model.write_model(directory, vocabulary=256, cutoffs=(100, 200))
    # bytes that GPT-2's vocabularies write as themselves
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    (directory / "vocab.json").write_text(json.dumps(
        {chr(byte) if byte in plain else chr(256 + others.index(byte)): byte for byte in range(256)}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    special = {name: "!" for name in ("bos_token", "eos_token", "unk_token")}  # which the class wants
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", **special}))
    return directory


TAME = range(4 + len(HOSTILE), 60)


@pytest.fixture(scope="module")
def plain_keys():
    """Three keys of five, four and five triggers, of two layers."""
    return [(layer, cell, [TAME[0], TAME[1]],
             [([TAME[i + j] for j in range(3)], TAME[i]) for i in range(count)])
            for layer, cell, count in [(0, 3, 5), (0, 11, 4), (1, 7, 5)]]


@pytest.fixture(scope="module")
def plain(bin, words, plain_keys, tmp_path_factory):
    """The path of their page; .stream, their triggers."""
    class Sheet(type(tmp_path_factory.mktemp("plain"))):
        pass

    place = tmp_path_factory.mktemp("plain")
    (place / "triggers.ffkv").write_bytes(make_stream(bin, words, plain_keys))
    sheet = Sheet(place / "sheet.html")
    ok(bin, "annotation-sheet", "-m", words, "-o", sheet, place / "triggers.ffkv")
    sheet.stream, sheet.data = place / "triggers.ffkv", data_of(sheet.read_text())
    return sheet


# ------------------------------------------------------------- what is on it

@pytest.fixture(scope="module")
def real(bin, small_model):
    """Triggers of a random model, some with prefixes longer than what is in sight, and the same with
    values."""
    triggers = pipeline(bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model],
                        ["topk-keys", "-t", 30],
                        stdin=text(random_sentences(60, 100, seed=3, longest=40)))
    return triggers, ok(bin, "project-values", "-m", small_model, stdin=triggers)


def test_contents_are_the_streams(bin, small_model, real):
    """Recomputed from the stream: every text, number and probability."""
    page = ok(bin, "annotation-sheet", "-m", small_model, "--sample", 0, "--top", 12, "--tops", 4,
              stdin=real[1]).decode()
    data, stream = data_of(page), streams.read(real[1])

    def words(tokens):
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        return " ".join(special[token] if token < 4 else f"w{token}" for token in tokens)

    assert data["model"] == stream.header["model"]["id"] and data["corpus"] == stream.header["corpus"]["name"]
    live = [record for record in stream.records if "layer" in record and len(record["coef"])]
    assert len(data["keys"]) == len(live) > 20
    long_ones = 0
    for key, record in zip(data["keys"], live):
        assert (key["layer"], key["cell"]) == (record["layer"] + 1, record["cell"])
        assert [word for word, _ in key["top"]] == [words([token]) for token in record["top"][:4]]
        assert [p for _, p in key["top"]] == pytest.approx(record["top_p"][:4].tolist(), rel=1e-6)
        assert len(key["triggers"]) == min(12, len(record["coef"]))
        end = 0
        for i, trigger in enumerate(key["triggers"]):
            prefix = record["prefix"][end:end + record["position"][i]].tolist()
            end += len(prefix)
            long_ones += len(prefix) > 15
            assert trigger == {"hidden": words(prefix[:-15]), "shown": words(prefix[-15:-1]),
                               "last": words(prefix[-1:]), "next": words([record["next"][i]]),
                               "coefficient": pytest.approx(float(record["coef"][i]), rel=1e-6)}
    assert long_ones


def test_sample(bin, small_model, real):
    """The keys that topk-keys draws with the same seed; equal options give equal bytes."""
    for seed in 1, 2:
        page = ok(bin, "annotation-sheet", "-m", small_model, "--sample", 3, "--seed", seed,
                  "--layers", "1,3", stdin=real[1])
        assert page == ok(bin, "annotation-sheet", "-m", small_model, "--sample", 3, "--seed", seed,
                          "--layers", "1,3", stdin=real[1])
        everything = streams.read(real[1])
        drawn = streams.read(pipeline(
            bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model],
            ["topk-keys", "--sample", 3, "--seed", seed, "-t", 1],
            stdin=text(random_sentences(60, 100, seed=3, longest=40))))
        live = {(r["layer"], r["cell"]) for r in everything.records if "layer" in r and len(r["coef"])}
        expected = [(r["layer"] + 1, r["cell"]) for r in drawn.records if "layer" in r and r["layer"] != 1]
        assert all((layer - 1, cell) in live for layer, cell in expected), \
            "choose other sentences: a drawn key is dead"
        assert [(key["layer"], key["cell"]) for key in data_of(page.decode())["keys"]] == expected
    assert len({data_of(ok(bin, "annotation-sheet", "-m", small_model, "--seed", seed,
                           stdin=real[1]).decode())["sheet"]
                for seed in (1, 2)}) == 2


def test_sheet_is_the_same_where_ticks_mean_the_same(bin, small_model, real):
    """Its id, under which the browser keeps work, does not depend on what else is shown."""
    ids = {data_of(ok(bin, "annotation-sheet", "-m", small_model, *options, stdin=real[1]).decode())["sheet"]
           for options in ([], ["--title", "x"], ["--tops", 3], ["--top", 25])}
    assert len(ids) == 1
    assert ids != {
        data_of(ok(bin, "annotation-sheet", "-m", small_model, "--top", 24, stdin=real[1]).decode())["sheet"]}


def test_what_is_refused(bin, small_model, words, model, real, tmp_path):
    fails(bin, "annotation-sheet", "-m", small_model, stdin=real[0], says="run project-values first")
    fails(bin, "annotation-sheet", "-m", words, stdin=real[1], says="made with another tokenizer")
    fails(bin, "annotation-sheet", "-m", words, says="no key of these layers has a trigger",
          stdin=make_stream(bin, words, [(0, 1, [5], []), (1, 1, [5], [])]))
    fails(bin, "annotation-sheet", "-m", words, "--title", "\udcff", says="--title takes UTF-8", status=2)


def test_pipeline(bin, words, plain, tmp_path):
    """pipelines/annotation.sh: the page, and the tables of what readers downloaded."""
    def annotation(*arguments):
        done = run(bin, ROOT / "pipelines" / "annotation.sh", words, tmp_path, *arguments,
                   env={"PATH": f"{bin}:{os.environ['PATH']}"})
        return done.returncode, done.stderr.decode()

    (tmp_path / "triggers.msgpack").write_bytes(plain.stream.read_bytes())
    assert annotation() == (0, "")
    assert (tmp_path / "annotation.html").read_bytes() == plain.read_bytes()
    for reader in "AB":
        (tmp_path / f"{reader}.csv").write_text(expected_csv(plain, reader))
    status, message = annotation(tmp_path / "A.csv", tmp_path / "B.csv")
    assert status == 0 and message.count("pattern 1 does not count") == 2
    assert [row["readings"] for row in table(tmp_path / "patterns.csv")] == ["4", "2"]
    assert [row["kappa"] for row in table(tmp_path / "kappa.csv")] == ["1"]
    (tmp_path / "A.csv").write_text(expected_csv(plain).replace("1,3,5", "1,4,5"))
    status, message = annotation(tmp_path / "A.csv")
    assert status == 1 and "layer 1, cell 4 is not in" in message


def hostile_page(bin, model, tokens, path):
    """The page of a key whose triggers are these lists of tokens, once as last tokens, once as next ones."""
    triggers = [(before + list(one[:1]), one[0]) for one in tokens for before in ([], list(one))]
    triggers += [(list(tokens[0]) * 20, tokens[0][0]), ([], tokens[0][0])]
    (path / "triggers.ffkv").write_bytes(make_stream(bin, model,
                                                     [(0, 0, [one[0] for one in tokens], triggers)]))
    ok(bin, "annotation-sheet", "-m", model, "--title", HOSTILE[0], "--top", 100, "--tops", 100,
       "-o", path / "sheet.html", path / "triggers.ffkv")
    return path / "sheet.html", triggers


@pytest.mark.parametrize("kind", ["words", "letters"])
def test_no_text_ends_the_element_of_the_data(bin, request, tmp_path, kind):
    tokens = [[4 + i] for i in range(len(HOSTILE))] if kind == "words" \
        else [list(one) for one in HOSTILE_BYTES]
    path, _ = hostile_page(bin, request.getfixturevalue(kind), tokens, tmp_path)
    page = path.read_bytes()
    assert page.count(b"</script") == 2 and page.count(b"<!--") == 1
    assert len(data_of(page.decode())["keys"]) == 1
    assert max(page[page.index(b'id="data"'):page.index(b'"use strict"')]) < 128


# ------------------------------------------------------------------- a browser

release_only = pytest.mark.release_only


@pytest.fixture(scope="module")
def chromium():
    with browsers.browser() as opened:
        yield opened


class Page:
    """A sheet in a browser, as a reader uses it."""

    def __init__(self, browser, path):
        self.browser, self.find, self.find_all = browser, browser.find, browser.find_all
        browser.emulate(1280, 800)
        browser.open(path)

    def texts(self, selector):
        return self.browser.script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)

    def text(self, selector):
        return self.texts(selector)[0]

    def add(self, description, kind):
        self.find("#add").click()
        number = len(self.find_all("#patterns li"))
        self.browser.insert(self.find(f"#patterns li:nth-child({number}) input"), description)
        Select(self.find(f"#patterns li:nth-child({number}) select")).select_by_visible_text(kind)

    def reader(self, name, kind="person"):
        self.find("#reader").send_keys(name)
        Select(self.find("#reader-kind")).select_by_visible_text(kind)

    def box(self, trigger, pattern):
        return self.find(f'input[aria-label="Trigger {trigger} shows pattern {pattern}"]')

    def ticks(self):
        """For each trigger, the patterns that are ticked."""
        return self.browser.script("""return [...document.querySelectorAll('#rows tr')].map(row =>
            [...row.querySelectorAll('td.tick input')].flatMap((box, i) => box.checked ? [i + 1] : []))""")

    def patterns(self):
        return self.browser.script("""return [...document.querySelectorAll('#patterns li')].map(item =>
            [item.querySelector('input').value, item.querySelector('select').value])""")

    def press(self, *keys):
        for key in keys:
            ActionChains(self.browser.driver).send_keys(key).perform()

    def focus(self):
        return self.browser.script(
            "return document.activeElement.id || document.activeElement.getAttribute('aria-label')"
            " || document.activeElement.tagName")

    def message(self):
        return self.text("#message-text")

    def load(self, path):
        self.browser.script("document.getElementById('message-text').textContent = ''")
        # or the driver does not give it a file
        self.browser.script("document.getElementById('file').hidden = false")
        self.find("#file").send_keys(str(path))
        wait(self.message)
        return self.message()

    def download(self):
        for old in self.browser.downloads.iterdir():
            old.unlink()
        self.find("#download").click()
        return self.downloaded()

    def downloaded(self):
        (path,) = wait(lambda: [path for path in self.browser.downloads.glob("*.csv") if path.stat().st_size])
        return path


def wait(condition):
    deadline = time.monotonic() + browsers.PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture
def page(chromium, plain):
    """The plain sheet, on which nothing was done."""
    opened = Page(chromium, plain)
    chromium.script("localStorage.clear()")
    chromium.complaints()
    opened = Page(chromium, plain)
    yield opened
    assert chromium.complaints() == [] and not chromium.has_dialog()


def annotate(page):
    """What the tests below expect: on the first key a pattern of triggers 1 2 3 and one of 3 4 5, the second
    key has none, the third one a pattern of two triggers."""
    page.reader("Anna B.")
    page.add('ends with "x", or y', "shallow")
    page.add("שלום: the sea", "semantic")
    # the last one takes it away
    for trigger, pattern in (1, 1), (2, 1), (3, 1), (3, 2), (4, 2), (5, 2), (4, 1), (4, 1):
        page.box(trigger, pattern).click()
    page.find("#next").click()
    page.find("#none").click()
    page.find("#next").click()
    page.add("law", "semantic")
    page.box(1, 1).click()
    page.box(5, 1).click()


def expected_csv(sheet, reader="Anna B."):
    start = f"{reader},{sheet.data['model']}"
    return HEAD + "".join(f"{start},{line}\r\n" for line in [
        '1,3,5,1,shallow,"ends with ""x"", or y",1 2 3,0,person',
        "1,3,5,2,semantic,שלום: the sea,3 4 5,0,person", "1,11,4,0,,,,0,person",
        "2,7,5,1,semantic,law,1 5,0,person"])


@release_only
def test_annotation_gives_statistics(bin, page, plain):
    """By hand: layer 1 has 9 triggers, 2 shallow, 2 semantic, 1 both, 4 none, and 2 patterns on 2 keys; layer
    2's pattern has too few triggers to count."""
    annotate(page)
    path = page.download()
    assert path.name == f"annotation-Anna-B--{plain.data['sheet'][:8]}.csv"
    assert path.read_bytes().decode() == expected_csv(plain)
    rows = table(ok(bin, "pattern-stats", "--triggers", plain.stream, path))
    assert {row.pop("reader_kind") for row in rows} == {"person"}
    assert [{name: float(value) for name, value in row.items()} for row in intervals.without(rows)] == [
        pytest.approx({"layer": 1, "keys": 2, "triggers": 9, "shallow": 2 / 9, "semantic": 2 / 9,
                       "both": 1 / 9, "none": 4 / 9, "patterns_per_key": 1, "covered": 5 / 9, "readings": 2,
                       "readers": 1, "comparable": 0, "p25": 0.5, "p50": 1, "p75": 1.5}),
        pytest.approx({"layer": 2, "keys": 1, "triggers": 5, "shallow": 0, "semantic": 0, "both": 0,
                       "none": 1, "patterns_per_key": 0, "covered": 0, "readings": 1, "readers": 1,
                       "comparable": 0, "p25": 0, "p50": 0, "p75": 0})]


@release_only
def test_file_is_loaded_by_a_fresh_browser(page, plain, tmp_path):
    annotate(page)
    kept = tmp_path / "kept.csv"
    kept.write_bytes(page.download().read_bytes())
    with browsers.browser() as other:
        fresh = Page(other, plain)
        assert fresh.patterns() == [] and fresh.find("#reader").get_property("value") == ""
        assert fresh.load(kept) == "Loaded Anna B.'s work on 3 keys; work on other keys stays."
        assert fresh.find("#reader").get_property("value") == "Anna B."
        assert fresh.patterns() == [['ends with "x", or y', "shallow"], ["שלום: the sea", "semantic"]]
        assert fresh.ticks() == [[1], [1], [1, 2], [2], [2]]
        assert fresh.text("#progress") == "2 of 3 keys done"
        assert fresh.download().read_bytes() == kept.read_bytes()
        assert other.complaints() == []


@release_only
def test_work_survives_a_reload(page, plain, chromium, tmp_path):
    annotate(page)
    page = Page(chromium, plain)
    assert page.patterns() == [['ends with "x", or y', "shallow"], ["שלום: the sea", "semantic"]]
    assert page.ticks() == [[1], [1], [1, 2], [2], [2]]
    assert page.download().read_bytes().decode() == expected_csv(plain)
    other = tmp_path / "other.html"  # of other keys
    other.write_text(plain.read_text().replace(f'"sheet":"{plain.data["sheet"]}"', '"sheet":"0"'))
    assert Page(chromium, other).patterns() == []


@release_only
def test_too_few_triggers_are_told(page):
    """Until a pattern has three triggers and a description."""
    def told():
        return page.text("#patterns .warning"), page.text("#key-0 .state"), page.text("#progress")

    few = "fewer than 3 triggers: it does not count yet"
    page.find("#add").click()
    for trigger in 1, 2, 3:
        assert told() == (few, "!", "0 of 3 keys done")
        page.box(trigger, 1).click()
    assert told() == ("a description is missing", "!", "0 of 3 keys done")
    page.find("#patterns input").send_keys("x")
    assert told() == ("", "✓", "1 of 3 keys done")
    assert page.text("#cover") == "3 of 5 triggers show a pattern"
    page.box(3, 1).click()
    assert told() == (few, "!", "0 of 3 keys done")


@release_only
def test_no_pattern_and_patterns_exclude_each_other(page):
    page.find("#none").click()
    assert page.text("#key-0 .state") == "–"
    page.find("#add").click()
    assert not page.find("#none").is_selected() and not page.find("#none").is_enabled()
    page.press(Keys.ESCAPE, "0")
    assert page.message() == "This key has patterns: delete them first."
    page.find("#patterns button").click()
    assert page.text("#key-0 .state") == "○" and page.find("#none").is_enabled()


@release_only
def test_delete_and_undo(page, plain):
    """Deletion renumbers; Undo brings back all of it."""
    annotate(page)
    page.find("#key-0").click()
    page.find('button[aria-label="Delete pattern 1"]').click()
    assert page.patterns() == [["שלום: the sea", "semantic"]] and page.ticks() == [[], [], [1], [1], [1]]
    page.find("#undo").click()
    assert page.ticks() == [[1], [1], [1, 2], [2], [2]]
    assert page.download().read_bytes().decode() == expected_csv(plain)


@release_only
def test_undo_is_offered_for_what_it_takes_back_only(page):
    page.add("x", "shallow")
    assert not page.find("#undo").is_displayed()
    page.find("#patterns button").click()
    assert page.find("#undo").is_displayed()
    page.press("5")
    assert page.message().startswith("There is no pattern 5") and not page.find("#undo").is_displayed()


@release_only
def test_a_browser_that_keeps_nothing(page, plain):
    """Private windows, a full disk: told at once, as long as it is so; the work goes on and is downloaded."""
    page.browser.script("Storage.prototype.setItem = () => { throw new Error('no') }")
    page.find("#reader").send_keys("A")
    assert page.message().startswith("This browser keeps nothing")
    page.find("#reader").send_keys("nna B.")
    page.find("#reader").clear()
    annotate(page)
    assert page.text("#progress") == "2 of 3 keys done; this browser keeps nothing"
    assert page.download().read_bytes().decode() == expected_csv(plain)
    page.browser.script("isKept = true")  # or the browser asks whether to leave the page


@release_only
def test_work_that_was_damaged_in_the_browser(page, plain):
    """It is not taken, and the page works."""
    for damage in "{", "null", "1", '{"keys": null}', "{}":
        page.browser.script("localStorage.setItem(arguments[0], arguments[1])",
                            f"ffkv-annotation:{plain.data['sheet']}", damage)
        page = Page(page.browser, plain)
        assert page.text("#progress") == "0 of 3 keys done"
        assert page.message() == ("What this browser kept of this page cannot be read." if damage == "{"
                                  else "")


@release_only
def test_two_windows_show_the_same_work(page, plain, chromium):
    first = chromium.driver.current_window_handle
    chromium.driver.switch_to.new_window("tab")
    try:
        annotate(Page(chromium, plain))
    finally:
        chromium.driver.close()
        chromium.driver.switch_to.window(first)
    wait(lambda: page.text("#progress") == "2 of 3 keys done")
    assert page.ticks() == [[1], [1], [1, 2], [2], [2]]


@release_only
def test_a_file_without_a_name_is_not_made(page):
    page.find("#download").click()
    assert page.message().startswith("Enter the reader's name") and page.focus() == "reader"


@release_only
def test_a_file_that_does_not_say_who_reads_is_not_made(bin, page, tmp_path):
    """Person or program; the browser keeps it, files tell it, and a file of the other kind is not mixed
    in."""
    page.find("#reader").send_keys("A")
    page.find("#none").click()
    page.find("#download").click()
    assert page.message().startswith("Say first whether the reader is a person or a program") \
        and page.focus() == "reader-kind"
    Select(page.find("#reader-kind")).select_by_visible_text("program")
    kept = tmp_path / "kept.csv"
    kept.write_bytes(page.download().read_bytes())
    assert columns_of(kept, "reader", "reader_kind") == [("A", "program")]
    assert [row["reader_kind"] for row in table(ok(bin, "pattern-stats", kept))] == ["program"]
    page.browser.driver.refresh()
    assert page.find("#reader-kind").get_property("value") == "program"
    page.browser.script("localStorage.clear()")
    page.browser.driver.refresh()
    assert page.load(kept).startswith("Loaded") \
        and page.find("#reader-kind").get_property("value") == "program"
    Select(page.find("#reader-kind")).select_by_visible_text("person")
    assert "it says that A is a program, not a person" in page.load(kept)


AWKWARD = ["=1+1", "+1", "-1", "@x", "'quoted", "''", "'=1", "''-1", "a,b;c", '"', '"a" b', " two  blanks ",
           "</script>", "שלום", "😀 \u202e", "1 2 3"]


@release_only
def test_descriptions_come_back_exactly(bin, page, tmp_path):
    """No cell begins as a formula does."""
    page.reader("=Anna")
    for description in AWKWARD:
        page.add(description, "shallow")
    path = page.download()
    rows = raw_table(path)
    assert [row["description"] for row in rows] == [("'" if d.lstrip("'")[:1] in [*"=+-@"] else "") + d
                                                    for d in AWKWARD]
    assert [row["description"] for row in table(path)] == AWKWARD
    assert {row["reader"] for row in rows} == {"'=Anna"}
    # or libcsv, as others, takes the outer ones away
    assert '," two  blanks ",' in path.read_bytes().decode()
    kept = tmp_path / "kept.csv"
    kept.write_bytes(path.read_bytes())
    page.browser.script("localStorage.clear()")
    page.browser.driver.refresh()
    assert page.load(kept).startswith("Loaded =Anna's work on 1 key")
    assert [description for description, _ in page.patterns()] == AWKWARD
    assert page.download().read_bytes() == kept.read_bytes()
    ok(bin, "pattern-stats", kept)


# Rows are of Anna, but for their model, which the test puts in.
BAD_FILES = [
    ("", "there is no column reader"),
    (OLD_HEAD.replace("kind,", ""), "there is no column kind"),
    (OLD_HEAD.replace(",", ";") + "x", "save it with commas, not semicolons"),
    (OLD_HEAD + "Anna,M,1,3,5,1,shallow,x\r\n", "line 2: 8 fields"),
    (OLD_HEAD + 'Anna,M,1,3,5,1,shallow,"x,1\r\n', "line 2: a quotation mark"),
    (OLD_HEAD + 'Anna,M,1,3,5,1,shallow,a"b,1\r\n', "line 2: a quotation mark"),
    (OLD_HEAD + "Anna,N,1,3,5,1,shallow,x,1\r\n", "line 2: it is about another model"),
    (OLD_HEAD + "Anna,M,1,4,5,1,shallow,x,1\r\n", "line 2: layer 1, cell 4 is not on this sheet"),
    (OLD_HEAD + "Anna,M,1,3,6,1,shallow,x,1\r\n", "line 2: '6' triggers, where this sheet shows 5"),
    (OLD_HEAD + "Anna,M,1,3,5,-1,shallow,x,1\r\n", "line 2: pattern '-1'"),
    (OLD_HEAD + 'Anna,M,1,11,4,1,shallow,"a\nb",1\r\nAnna,M,1,3,5,1,deep,x,1\r\n',
     "line 4: the kind is shallow or semantic"),
    (OLD_HEAD + "Anna,M,1,3,5,1,shallow,x,1 6\r\n", "line 2: trigger '6'"),
    (OLD_HEAD + "Anna,M,1,3,5,1,shallow,x,0\r\n", "line 2: triggers count from 1"),
    (OLD_HEAD + "Anna,M,1,3,5,1,shallow,x,2 2\r\n",
     "line 2: triggers count from 1, and each stands there once"),
    (OLD_HEAD + "Anna,M,1,3,5,0,,x,\r\n", "line 2: the kind is"),
    (OLD_HEAD + "Anna,M,1,3,5,1,shallow,x,1\r\n" * 2, "line 3: this key and pattern stand in another line"),
    (OLD_HEAD + "Anna,M,1,3,5,0,,,\r\nAnna,M,1,3,5,1,shallow,x,1\r\n",
     "line 3: this key and pattern stand in another line"),
    (OLD_HEAD + "Berta,M,1,3,5,1,shallow,x,1\r\n", "it has the work of Berta: enter that name"),
    (HEAD + "Anna,M,1,3,5,1,shallow,x,1,yes,\r\n", "line 2: value_shown is 0 or 1, not 'yes'"),
    (HEAD + "Anna,M,1,3,5,1,shallow,x,1\r\n", "line 2: 9 fields, where the first line has 11"),
    (HEAD + "Anna,M,1,3,5,1,shallow,x,1,0,robot\r\n",
     "line 2: reader_kind is person or program, not 'robot'"),
    (HEAD + "Anna,M,1,3,5,1,shallow,x,1,0,program\r\n", "it says that Anna is a program, not a person"),
    (HEAD + "Anna,M,1,3,5,1,shallow,x,1,0,person\r\nAnna,M,1,11,4,0,,,,0,\r\n",
     "line 3: another reader_kind of Anna than in line 2"),
    ((OLD_HEAD + "Anna,M,1,3,5,1,shallow,\xe4,1\r\n").encode("latin-1"), "it is not UTF-8"),
]


@release_only
def test_bad_files_change_nothing(page, plain, tmp_path):
    annotate(page)
    page.find("#reader").clear()
    page.find("#reader").send_keys("Anna")
    before = page.download().read_bytes()
    path = tmp_path / "bad.csv"
    for data, says in BAD_FILES:
        path.write_bytes(data if isinstance(data, bytes)
                         else data.replace(",M,", f",{plain.data['model']},").encode())
        assert (message := page.load(path)).endswith("Nothing was loaded.") and says in message, \
            (data, message)
        assert message.startswith("bad.csv: ")
    assert page.download().read_bytes() == before


@release_only
def test_of_several_readers_the_named_one_is_loaded(page, plain, tmp_path):
    """In any order of rows; a byte order mark and other line ends do no harm; Undo brings back what was
    there."""
    model = plain.data["model"]
    path = tmp_path / "two.csv"
    path.write_text("\ufeff" + OLD_HEAD.replace("\r", "") + f"Berta,{model},1,3,5,2,semantic,z,1 2 5\n\n"
                    f"Anna,{model},1,3,5,1,shallow,x,1 2 3\nBerta,{model},1,3,5,1,shallow,y,3 2\n")
    assert page.load(path).startswith("two.csv: it has the work of Berta, Anna: enter that name")
    page.find("#reader").send_keys("Berta")
    assert page.load(path).startswith("Loaded Berta's work on 1 key")
    assert page.patterns() == [["y", "shallow"], ["z", "semantic"]] \
        and page.ticks() == [[2], [1, 2], [1], [], [2]]
    page.find("#undo").click()
    assert page.patterns() == []


# ------------------------------------------------------------ the value's words

def columns_of(path, *names):
    return [tuple(row[name] for name in names) for row in table(path)]


@release_only
def test_value_is_hidden_until_asked_for(page, plain, chromium):
    """Of each key, by the button and by v; from then on it is shown, also after a reload."""
    words = [word for word, _ in plain.data["keys"][0]["top"]]

    def seen():
        values, following = page.texts("#value bdi"), page.texts("td.next")
        assert page.find("#show-value").is_displayed() == (not values)
        assert all(word in chromium.script("return document.querySelector('main').innerText")
                   for word in values)
        assert len(page.texts("#columns th")) == len(page.texts("#rows tr:first-child td")) \
            == (4 if values else 3)
        return values, following

    page.reader("A")
    assert seen() == ([], [])
    page.find("#show-value").click()
    assert seen() == (words, [trigger["next"] for trigger in plain.data["keys"][0]["triggers"]])
    assert page.browser.script("return document.activeElement.tagName") == "TR"
    page.press("n")
    assert seen() == ([], [])
    page.press("v")
    assert seen() == (words, [trigger["next"] for trigger in plain.data["keys"][1]["triggers"]])
    page.press("v")
    assert seen()[0] == words
    page = Page(chromium, plain)
    assert seen()[0] == words
    page.press("n", "n")
    assert seen() == ([], [])


@release_only
def test_file_tells_whether_the_value_was_shown(page, plain):
    """Before a pattern, or that there is none, was written or last changed; never 0 again, whatever is
    deleted or undone."""
    def told():
        return columns_of(page.download(), "cell", "pattern", "value_shown")

    page.reader("A")
    page.add("before", "shallow")
    page.add("between", "semantic")
    page.press(Keys.ESCAPE, "v")
    assert told() == [("3", "1", "0"), ("3", "2", "0")]
    page.add("after", "semantic")
    assert told() == [("3", "1", "0"), ("3", "2", "0"), ("3", "3", "1")]
    page.box(4, 2).click()
    assert told() == [("3", "1", "0"), ("3", "2", "1"), ("3", "3", "1")]
    page.find("#patterns input").send_keys("!")
    assert told() == [("3", "1", "1"), ("3", "2", "1"), ("3", "3", "1")]
    for _ in range(3):
        page.find("#patterns button").click()
    page.find("#undo").click()
    page.add("again", "shallow")
    assert told() == [("3", "1", "1"), ("3", "2", "1")]
    page.find("#next").click()
    page.find("#none").click()
    assert told()[2:] == [("11", "0", "0")]
    page.press(Keys.ESCAPE)
    page.find("#show-value").click()
    assert told()[2:] == [("11", "0", "0")]
    page.press("0", "0")
    assert told()[2:] == [("11", "0", "1")]


@release_only
def test_change_of_kind_is_a_change(page):
    page.reader("A")
    page.add("x", "shallow")
    page.find("#show-value").click()
    Select(page.find("#patterns select")).select_by_visible_text("semantic")
    assert columns_of(page.download(), "value_shown") == [("1",)]


@release_only
def test_files_and_work_of_pages_that_always_showed_the_value(page, plain, chromium, tmp_path):
    """A file without the column, and work that a browser kept without it, were written with the words in
    sight."""
    model = plain.data["model"]
    (tmp_path / "old.csv").write_text(OLD_HEAD
                                      + f"A,{model},1,3,5,1,shallow,x,1 2 3\r\nA,{model},1,11,4,0,,,\r\n")
    (tmp_path / "new.csv").write_text(
        HEAD + f"A,{model},1,3,5,1,shallow,x,1 2 3,1,person\r\nA,{model},1,11,4,0,,,,0,person\r\n")
    for name, shown in ("old", [True, True, False]), ("new", [True, False, False]):
        chromium.script("localStorage.clear()")
        page = Page(chromium, plain)
        page.load(tmp_path / f"{name}.csv")
        Select(page.find("#reader-kind")).select_by_visible_text("person")  # which old files do not say
        for place, wanted in enumerate(shown):
            page.find(f"#key-{place}").click()
            assert bool(page.texts("#value li")) == wanted
        assert columns_of(page.download(), "cell", "value_shown") == [("3", "1"), ("11", str(int(shown[1])))]
    page.find("#key-0").click()
    page.load(tmp_path / "old.csv")
    page.find("#undo").click()
    page.find("#key-1").click()
    assert page.texts("#value li") \
        and columns_of(page.download(), "cell", "value_shown") == [("3", "1"), ("11", "0")]
    kept = {"reader": "A", "shortcuts": True, "keys": {"1/3": {"none": False, "patterns": [
        {"kind": "shallow", "description": "x", "shows": [1]}]}, "1/11": {"none": True, "patterns": []}}}
    chromium.script("localStorage.setItem(...arguments)", f"ffkv-annotation:{plain.data['sheet']}",
                    json.dumps(kept))
    page = Page(chromium, plain)
    Select(page.find("#reader-kind")).select_by_visible_text("person")
    assert page.texts("#value li") \
        and columns_of(page.download(), "cell", "value_shown") == [("3", "1"), ("11", "1")]
    page.find("#key-2").click()
    assert not page.texts("#value li")


# ------------------------------------------------------------------ by keyboard

@release_only
def test_keyboard_alone_makes_the_same_annotation(page, plain):
    """No mouse, and no script: from opening the page to the file."""
    def tab_to(name, key=Keys.TAB, steps=100):
        for _ in range(steps):
            if page.focus() == name:
                return
            page.press(key)
        raise AssertionError(f"Tab does not lead to {name}")

    for old in page.browser.downloads.iterdir():
        old.unlink()
    tab_to("reader")
    page.press("Anna B.", Keys.TAB, "per", Keys.ESCAPE)
    page.press("a", 'ends with "x", or y', Keys.ENTER, "1", "j", "1", Keys.ARROW_DOWN, "1")
    page.press("a", "שלום: the sea", Keys.TAB, "sem", Keys.ESCAPE, "2", "j", "2", "j", "2", "k", "1", "1")
    page.press("n", "0", "u", "a", "law", Keys.TAB, "sem", Keys.ESCAPE, "1", "k", "j", "j", "j", "j", "1")
    tab_to("download", Keys.SHIFT + Keys.TAB)
    page.press(Keys.ENTER)
    assert page.downloaded().read_bytes().decode() == expected_csv(plain)


@release_only
def test_keys_stay_within_bounds(page):
    page.press("k", "p")
    assert page.browser.script("return [at, row]") == [0, 0]
    page.press(*"jjjjjjjjj", *"nnnnn")
    assert page.browser.script("return [at, row]") == [2, 0]
    page.press(*"jjjjjjjjj")
    assert page.browser.script("return [at, row]") == [2, 4]
    page.press("7")
    assert page.message() == "There is no pattern 7 yet; a adds one."


@release_only
def test_help_and_shortcuts_off(page):
    page.press("?")
    assert page.find("#help").is_displayed()
    page.press("a")
    assert page.patterns() == []
    page.find("#shortcuts").click()
    page.press(Keys.ESCAPE)
    assert not page.find("#help").is_displayed()
    page.press("a", "n", "0")
    assert page.patterns() == [] and page.text("#key") == "Layer 1, cell 3" \
        and not page.find("#none").is_selected()


@release_only
def test_every_control_is_reached_and_named(page, chromium):
    annotate(page)
    page.find("#key-0").click()
    controls = chromium.script("""return [...document.querySelectorAll('button, input, select')]
        .filter(e => e.checkVisibility() && !e.disabled).map((e, i) => { e.dataset.place = i; return i; })""")
    chromium.script("document.activeElement.blur()")
    reached = set()
    for _ in range(2 * len(controls)):
        page.press(Keys.TAB)
        reached.add(chromium.script("return document.activeElement.dataset.place"))
    assert reached >= {str(place) for place in controls}
    tree = chromium.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [node["name"]["value"] for node in tree if not node["ignored"]
             and node["role"]["value"] in ("button", "checkbox", "textbox", "combobox")]
    assert len(named) >= len(controls) and all(named), named


# ----------------------------------------------------------------------- texts

def shown(text):
    """What the page shows of a text: signs for what has no sign of its own."""
    return re.sub(r"[\0-\x1f\x7f-\x9f]",
                  lambda found: {"\n": "↵", "\t": "⇥"}.get(found[0], f"\\x{ord(found[0]):02X}"), text)


@release_only
@pytest.mark.parametrize("kind", ["words", "letters"])
def test_hostile_tokens_are_text(bin, request, chromium, tmp_path, kind):
    """They stand there as they are, nothing runs, nothing is asked for, and no message is on the console."""
    tokens = [[4 + i] for i in range(len(HOSTILE))] if kind == "words" \
        else [list(one) for one in HOSTILE_BYTES]

    def text_of(tokens):
        if kind == "words":
            return shown(" ".join(HOSTILE[token - 4] for token in tokens))
        return shown(bytes(tokens).decode(errors="backslashreplace").replace("\0", "\\x00")
                     .replace("\\xe2", "\\xE2").replace("\\xff", "\\xFF").replace("\\xd7", "\\xD7"))

    chromium.complaints()
    chromium.requests()
    path, triggers = hostile_page(bin, request.getfixturevalue(kind), tokens, tmp_path)
    page = Page(chromium, path)
    page.reader(HOSTILE[0])
    page.add(HOSTILE[0], "semantic")
    page.box(1, 1).click()
    page = Page(chromium, path)
    joint = " " if kind == "words" else ""
    assert page.find_all("td.next") == []
    page.press("v")
    assert page.texts("td.next") == [text_of([token]) for _, token in triggers]
    assert page.texts("mark") == [text_of(prefix[-1:]) for prefix, _ in triggers if prefix]
    for cell, (prefix, _) in zip(page.texts("td.prefix"), triggers):
        hidden, before = prefix[:-15], prefix[-15:-1]
        parts = ["… " + text_of(hidden) + joint] * bool(hidden) + [text_of(before) + joint] * bool(before) \
            + [text_of(prefix[-1:])]
        assert cell == ("".join(parts) if prefix else "(beginning of the sentence)")
    assert [value.rsplit("0.", 1)[0]
            for value in page.texts("#value li")] == [text_of(one[:1]) for one in tokens]
    assert page.text("h1") == HOSTILE[0]
    name = request.getfixturevalue(kind).name
    assert chromium.driver.title == f"{HOSTILE[0]} \u2013 {name}" \
        and page.text("#facts").startswith(f"model {name} (")
    assert page.patterns() == [[HOSTILE[0], "semantic"]]
    assert chromium.complaints() == [] and not chromium.has_dialog()
    assert set(chromium.requests()) == {path.as_uri()}
    assert page.texts("body > script + script") and len(page.find_all("script")) == 2 \
        and not page.find_all("img")


@release_only
def test_beginning_of_a_long_prefix(bin, words, chromium, tmp_path):
    """On demand, by its button or by e."""
    path, _ = hostile_page(bin, words, [[TAME[0]]], tmp_path)
    page = Page(chromium, path)
    more = page.find(".more")
    hidden = page.find(".more + span")
    for act in more.click, lambda: page.press("e"):
        before = hidden.is_displayed()
        act()
        assert hidden.is_displayed() == (not before) == (more.get_attribute("aria-expanded") == "true")


# ----------------------------------------------------------------------- looks

@release_only
def test_fits_the_screen(page, chromium):
    """Nothing sticks out, from a phone's to a laptop's; light and dark differ, and text is told from its
    ground in both."""
    annotate(page)
    for width, height in (1280, 720), (768, 1024), (390, 844):
        grounds = []
        for dark in False, True:
            chromium.emulate(width, height, dark)
            assert chromium.script("return document.documentElement.scrollWidth") <= width
            ground, ink = chromium.script(
                "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
                ".map(c => c.match(/[0-9]+/g).slice(0, 3).reduce((sum, n) => sum + Number(n), 0) / 3)")
            assert abs(ground - ink) > 150
            grounds.append(ground)
        assert grounds[0] > 200 and grounds[1] < 60
        assert chromium.script("return document.querySelector('td.prefix').offsetWidth") >= 100
