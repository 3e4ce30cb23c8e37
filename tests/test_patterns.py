"""pattern-stats: shares and kappa worked out by hand, what is refused, and the example annotations."""

from random import Random

import pytest

import intervals
import streams
from conftest import ROOT
from damage import in_parallel
from helpers import fails, ok, pipeline, raw_table, run, table

HEAD = "reader,model,layer,cell,triggers,pattern,kind,description,shows\n"
EXAMPLE = ROOT / "data" / "annotations" / "brown-lm.csv"


def csv_file(tmp_path, rows, name="a.csv", head=HEAD):
    path = tmp_path / name
    path.write_bytes((head + rows).encode() if isinstance(rows, str) else rows)
    return path


def numbers(rows):
    """Of the tables of this tool all but readers' names and kinds are numbers, or not defined."""
    return [{name: value if name.startswith("reader_") else float(value) if value else None
             for name, value in row.items()} for row in table(rows)]


def stats(bin, *arguments):
    done = run(bin, "pattern-stats", *arguments)
    assert done.returncode == 0, done.stderr
    return intervals.without(numbers(done.stdout)), done.stderr.decode()


# ---------------------------------------------------------------------- shares

# Layer 1, cell 0: triggers 1 2 3 4 shallow, 3 4 5 semantic: 2 shallow, 1 semantic, 2 both, 5 none of 10.
# Layer 1, cell 7: no pattern: 6 none of 6.                         Together of 16: 2, 1, 2, 11.
# Layer 3, cell 2: shallow 1 2 3 and, once more, 2 3 4: 4 shallow of 5, 1 none.
ONE = '''Anna,m,1,0,10,1,shallow,"a, ""b""",1 2 3 4
Anna,m,1,0,10,2,semantic,law,3 4 5
Anna,m,1,7,6,0,,,
Anna,m,3,2,5,1,shallow,x,1 2 3
Anna,m,3,2,5,2,shallow,y,4 2 3
'''
OF_ONE = [
    {"layer": 1, "keys": 2, "triggers": 16, "shallow": 2 / 16, "semantic": 1 / 16, "both": 2 / 16,
     "none": 11 / 16, "patterns_per_key": 1, "covered": 5 / 16, "readings": 2, "readers": 1,
     "reader_kind": "unknown", "comparable": 0, "p25": 0.5, "p50": 1, "p75": 1.5},
    {"layer": 3, "keys": 1, "triggers": 5, "shallow": 4 / 5, "semantic": 0, "both": 0, "none": 1 / 5,
     "patterns_per_key": 2, "covered": 4 / 5, "readings": 1, "readers": 1, "reader_kind": "unknown",
     "comparable": 0, "p25": 2, "p50": 2, "p75": 2},
]


def test_shares_of_one_reader(bin, tmp_path):
    """Worked out by hand, above."""
    found, message = stats(bin, csv_file(tmp_path, ONE))
    assert message == ""
    assert found == [pytest.approx(row) for row in OF_ONE]


def test_order_of_rows_and_columns_is_free(bin, tmp_path):
    """Other columns are passed over, and blanks between ticks may be several."""
    rows = [dict(zip(HEAD.strip().split(","), line)) for line in [
        ("A", "m", "1", "0", "4", "2", "semantic", "s", "  4   2 3 "),
        ("A", "m", "1", "0", "4", "1", "shallow", "t", "1 2 3")]]
    columns = ["shows", "note", "description", "kind", "pattern", "triggers", "cell", "layer", "model",
               "reader"]
    text = ",".join(columns) + "\n" + "".join(",".join(row.get(c, "?") for c in columns) + "\n"
                                              for row in rows)
    found, _ = stats(bin, csv_file(tmp_path, text, head=""))
    # 1 shallow, 4 semantic, 2 and 3 both
    assert [found[0][name] for name in ("shallow", "semantic", "both", "none")] == [0.25, 0.25, 0.5, 0]


def test_several_readers_are_averaged(bin, tmp_path):
    """By hand.  Layer 1, cell 0, 4 triggers: Anna has 3 shallow, 1 none; Berta has 4 semantic: means 1.5
    shallow, 2 semantic, 0.5 none.  Cell 1, 8 triggers, by Anna alone: 8 none.  Of 12: 0.125, 1/6, 0, 8.5/12.
    Patterns: cell 0 has 1 of Anna's and 2 of Berta's, mean 1.5; cell 1 has 0."""
    first = csv_file(tmp_path, "Anna,m,1,0,4,1,shallow,x,1 2 3\nAnna,m,1,1,8,0,,,\n")
    second = csv_file(tmp_path, "Berta,m,1,0,4,1,semantic,x,1 2 3 4\nBerta,m,1,0,4,2,semantic,y,1 2 3\n",
                      "b.csv")
    found, _ = stats(bin, first, second)
    assert found \
        == [pytest.approx({"layer": 1, "keys": 2, "triggers": 12, "shallow": 1.5 / 12, "semantic": 2 / 12,
                           "both": 0, "none": 8.5 / 12, "patterns_per_key": 0.75, "covered": 3.5 / 12,
                           "readings": 3, "readers": 2, "reader_kind": "unknown", "comparable": 0,
                           "p25": 0.375, "p50": 0.75, "p75": 1.125})]
    both = csv_file(tmp_path, first.read_text().removeprefix(HEAD) + second.read_text().removeprefix(HEAD),
                    "both.csv")
    assert ok(bin, "pattern-stats", both) == ok(bin, "pattern-stats", second, first)


def test_unfinished_patterns_do_not_count(bin, tmp_path):
    """Fewer than 3 triggers, or no description: as if the reader had found nothing there, and a warning
    each."""
    path = csv_file(tmp_path,
                    "A,m,1,0,5,1,shallow,x,1 2\nA,m,1,0,5,2,semantic,,1 2 3\nA,m,1,0,5,3,semantic,z,3 4 5\n"
                              "A,m,2,0,5,1,shallow,x,\n")
    found, message = stats(bin, path)
    assert [(row["semantic"], row["shallow"], row["none"], row["patterns_per_key"]) for row in found] \
        == [(0.6, 0, 0.4, 1), (0, 0, 1, 0)]
    assert message.splitlines() == [
        f"pattern-stats: {path}: line 2: pattern 1 does not count: fewer than 3 triggers show it",
        f"pattern-stats: {path}: line 3: pattern 2 does not count: it has no description",
        f"pattern-stats: {path}: line 5: pattern 1 does not count: fewer than 3 triggers show it"]


# ------------------------------------------------------- whether the value was shown

SHOWN_HEAD = HEAD.replace("shows", "shows,value_shown")


def test_whether_the_value_was_shown_changes_no_share(bin, tmp_path):
    """Nor does a file without the column, together with one that has it."""
    old, new = csv_file(tmp_path, ONE), \
        csv_file(tmp_path, ONE.replace("A", "B").replace("\n", ",0\n", 2).replace(",,,", ",,,,1")
                 .replace("1 2 3\n", "1 2 3,0\n").replace("4 2 3\n", "4 2 3,1\n"), "new.csv", SHOWN_HEAD)
    assert ok(bin, "pattern-stats", old) == ok(bin, "pattern-stats", new)
    assert [row["readings"] for row in stats(bin, old, new)[0]] == [4, 2]


def test_only_keys_read_with_the_value_hidden(bin, tmp_path):
    """By hand: of Anna's three keys one was written before the words were shown; in another, one of two rows
    was not. Of files without the column none is."""
    rows = """Anna,m,1,0,4,1,shallow,x,1 2 3,1
Anna,m,1,0,4,2,semantic,y,2 3 4,0
Anna,m,1,1,4,1,shallow,x,1 2 3,0
Anna,m,2,0,4,0,,,,1
Berta,m,2,0,4,0,,,,0
"""
    path = csv_file(tmp_path, rows, head=SHOWN_HEAD)
    old = csv_file(tmp_path, "Carl,m,1,1,4,0,,,\nBerta,m,1,1,4,0,,,\n", "old.csv")
    found, message = stats(bin, "--value-hidden", "--kappa", tmp_path / "kappa.csv", old, path)
    assert message == "" and table(tmp_path / "kappa.csv") == []
    assert [(row["layer"], row["keys"], row["shallow"], row["semantic"], row["readings"]) for row in found] \
        == [(1, 1, 0.75, 0, 1), (2, 1, 0, 0, 1)]
    fails(bin, "pattern-stats", "--value-hidden", old, says="no key was read with the value's words hidden")
    fails(bin, "pattern-stats", csv_file(tmp_path, rows.replace(",1\n", ",yes\n", 1), "bad.csv", SHOWN_HEAD),
          says="line 2: value_shown is 'yes', not a whole number from 0 to 1")
    fails(bin, "pattern-stats",
          csv_file(tmp_path, "", "twice.csv", SHOWN_HEAD.replace("shows", "value_shown,shows")),
          says="the column value_shown is there 2 times")


# ------------------------------------------------------------------ who read

KIND_HEAD = HEAD.replace("shows", "shows,reader_kind")


def keys_read(count, readers, layer=1):
    """Rows of the first count cells of a layer, in none of which anything was found; readers: {name:
    kind}."""
    return "".join(f"{name},m,{layer},{cell},4,0,,,,{kind}\n" for name, kind in readers.items()
                   for cell in range(count))


@pytest.mark.parametrize("count, readers, kind, comparable", [
    (10, {"A": "person"}, "person", 1), (11, {"A": "person", "B": "person"}, "person", 1),
    (9, {"A": "person"}, "person", 0),
    (10, {"A": "program"}, "program", 0), (10, {"A": "person", "B": "program"}, "mixed", 0),
    (10, {"A": ""}, "unknown", 0),
    (10, {"A": "person", "B": ""}, "mixed", 0), (10, {"A": "", "B": "program", "C": "person"}, "mixed", 0)])
def test_a_programs_reading_is_not_taken_for_a_persons(bin, tmp_path, count, readers, kind, comparable):
    """By hand.  Readers are counted once, readings as often as they read; only people's ten keys are like the
    paper's."""
    (row,), _ = stats(bin, csv_file(tmp_path, keys_read(count, readers), head=KIND_HEAD))
    assert (row["keys"], row["readings"], row["readers"], row["reader_kind"], row["comparable"]) \
        == (count, count * len(readers), len(readers), kind, comparable)


def test_readers_are_counted_by_layer(bin, tmp_path):
    """By hand: A and B share a cell of layer 1; a file that does not say who read is of unknown kind."""
    said = csv_file(tmp_path, keys_read(2, {"A": "person"}) + keys_read(1, {"B": "program"})
                    + keys_read(1, {"A": "person"}, 2), head=KIND_HEAD)
    found, _ = stats(bin, said, csv_file(tmp_path, "C,m,2,5,4,0,,,\nD,m,3,5,4,0,,,\n", "old.csv"))
    assert [(row["readings"], row["readers"], row["reader_kind"])
            for row in found] == [(3, 2, "mixed"), (2, 2, "mixed"), (1, 1, "unknown")]


def test_one_reader_is_of_one_kind(bin, tmp_path):
    path = csv_file(tmp_path, keys_read(1, {"A": "person"}) + keys_read(1, {"A": "program"}, 2),
                    head=KIND_HEAD)
    fails(bin, "pattern-stats", path, says=f"line 3: reader A is program, but person in line 2 of {path}")
    old = csv_file(tmp_path, "A,m,2,5,4,0,,,\n", "old.csv")
    fails(bin, "pattern-stats", csv_file(tmp_path, keys_read(1, {"A": "person"}), head=KIND_HEAD), old,
          says="of unknown kind")
    fails(bin, "pattern-stats", csv_file(tmp_path, keys_read(1, {"A": "Person"}), head=KIND_HEAD),
          says="line 2: reader_kind is 'Person'; it must be person or program")


# --------------------------------------------------- texts that look like formulas

FORMULAS = {"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\rx": "'\rx",
            "\nx": "'\nx", "'=1": "''=1", "''-": "'''-", "'s": "'s", "'": "'", "''": "''", "a=b": "a=b",
            " =1": " =1", "x": "x"}


def test_names_that_a_spreadsheet_takes_for_formulas(bin, tmp_path):
    """Two readers of one key for each name, which a file written by hand has without the apostrophe; ours has
    it."""
    for first, second in zip(FORMULAS, [*FORMULAS][1:]):
        rows = "".join('"{}",m,1,0,4,1,shallow,"=x",1 2 3\n'.format(
            FORMULAS[name] if name[0] == "'" else name) for name in (first, second))
        ok(bin, "pattern-stats", "--kappa", tmp_path / "kappa.csv", "-o", "/dev/null",
           csv_file(tmp_path, rows))
        (raw,), (undone,) = (read((tmp_path / "kappa.csv").read_bytes()) for read in (raw_table, table))
        assert {raw["reader_a"], raw["reader_b"]} == {FORMULAS[first], FORMULAS[second]}
        assert {undone["reader_a"], undone["reader_b"]} == {first, second}


def test_a_name_is_the_same_with_and_without_its_apostrophe(bin, tmp_path):
    """A file written by hand has none."""
    path = csv_file(tmp_path, "=A,m,1,0,4,1,shallow,x,1 2 3\n'=A,m,1,0,4,2,semantic,x,1 2 3\n")
    assert stats(bin, path)[0][0]["readings"] == 1


# ----------------------------------------------------------------------- kappa

def test_kappa(bin, tmp_path):
    """By hand, 10 triggers of two keys.  Anna: shallow 1-4, none 5-6; then semantic 1-4.
    Berta: shallow 1-3, semantic 4-6 (so 4 differs, 5 and 6 differ); then semantic 1-3, none 4.
    Agreed: 3 + 3 of 10.  Anna's shares: shallow .4, none .2, semantic .4; Berta's: .3, .1, .6.
    Expected: .12 + .02 + .24 = .38; kappa (.6 - .38) / .62.
    Carl shares one key with Anna alone, where both have only 'shallow': expected 1, so kappa is not defined.
    Dora shares none."""
    path = csv_file(tmp_path, """Anna,m,1,0,6,1,shallow,x,1 2 3 4
Anna,m,2,0,4,1,semantic,x,1 2 3 4
Berta,m,1,0,6,1,shallow,x,1 2 3
Berta,m,1,0,6,2,semantic,x,4 5 6
Berta,m,2,0,4,1,semantic,x,1 2 3
Anna,m,3,0,3,1,shallow,x,1 2 3
Carl,m,3,0,3,1,shallow,y,1 2 3
Dora,m,3,1,3,1,shallow,y,1 2 3
""")
    ok(bin, "pattern-stats", "--kappa", tmp_path / "kappa.csv", path)
    assert intervals.without(numbers((tmp_path / "kappa.csv").read_bytes())) == [
        {"reader_a": "Anna", "reader_b": "Berta", "keys": 2, "triggers": 10, "observed": pytest.approx(0.6),
         "expected": pytest.approx(0.38), "kappa": pytest.approx(0.22 / 0.62)},
        {"reader_a": "Anna", "reader_b": "Carl", "keys": 1, "triggers": 3, "observed": 1, "expected": 1,
         "kappa": None}]


@pytest.mark.parametrize("semantic, observed, expected, kappa", [
    ("3 4 5 6", 1, 1 / 4, 1),
    ("3 5 6 7", 6 / 8, (2 * 3 + 2 * 1 + 2 * 3 + 2 * 1) / 64, 2 / 3),  # 4 is shallow alone, 7 is semantic
    ("5 6 7 8", 4 / 8, (2 * 4 + 2 * 4) / 64, 1 / 3)])                 # 1-4 shallow, 5-8 semantic
def test_kappa_tells_four_classes_apart(bin, tmp_path, semantic, observed, expected, kappa):
    """By hand.  Of 8 triggers A has two of each class: shallow 1-2, both 3-4, semantic 5-6, none 7-8."""
    rows = "".join(f"{reader},m,1,0,8,1,shallow,x,1 2 3 4\n{reader},m,1,0,8,2,semantic,x,{shows}\n"
                   for reader, shows in [("A", "3 4 5 6"), ("B", semantic)])
    ok(bin, "pattern-stats", "--kappa", tmp_path / "kappa.csv", csv_file(tmp_path, rows))
    (row,) = numbers((tmp_path / "kappa.csv").read_bytes())
    assert [row["observed"], row["expected"], row["kappa"]] == pytest.approx([observed, expected, kappa])


def test_too_many_readers_to_compare(bin, tmp_path):
    path = csv_file(tmp_path, "".join(f"r{i},m,1,0,3,0,,,\n" for i in range(201)))
    fails(bin, "pattern-stats", "--kappa", tmp_path / "kappa.csv", path,
          says="at most 200 readers, here are 201")
    assert stats(bin, path)[0][0]["readings"] == 201


# ---------------------------------------------------------- forms that are read

@pytest.mark.parametrize("change", [
    lambda text: text, lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", "\r"), lambda text: text.removesuffix("\n"),
    lambda text: text.replace("\n", "\n\n \n"),
    lambda text: "\n".join(",".join(f'"{field}"' for field in line.split(","))
                           for line in text.splitlines())],
    ids=["plain", "BOM", "CRLF", "CR", "no-last-end", "blank-lines", "all-quoted"])
def test_forms_of_csv(bin, tmp_path, change):
    text = HEAD + "Änne,m,1,0,4,1,shallow,x,1 2 3\nÄnne,m,1,0,4,2,semantic,y,2 3 4\n"
    plain = ok(bin, "pattern-stats", csv_file(tmp_path, text.encode()))
    assert ok(bin, "pattern-stats", csv_file(tmp_path, change(text).encode())) == plain


# ------------------------------------------------------------- what is refused

GOOD = "A,m,1,0,4,1,shallow,x,1 2 3\n"


@pytest.mark.parametrize("rows, line, says", [
    (b"", 1, "the table is empty"),
    ("reader,model,layer,cell,triggers,pattern,kind,shows\n", 1, "there is no column description"),
    (HEAD.replace("kind", "Kind") + GOOD, 1, "there is no column kind"),
    (HEAD.strip() + ",kind\n", 1, "the column kind is there 2 times"),
    (HEAD.replace(",", ";") + GOOD.replace(",", ";"), 1, "semicolons or tabs; save the file with commas"),
    (HEAD.replace(",", "\t"), 1, "semicolons or tabs"),
    (GOOD, 1, "there is no column reader"),
    (HEAD + GOOD.strip() + ",9\n", 2, "10 fields, where the first line has 9"),
    (HEAD + "\n" + GOOD + "A,m,1\n", 4, "3 fields, where the first line has 9"),
    (HEAD + GOOD + 'A,m,1,1,4,1,shallow,"x,1 2 3\n', 3, "a quotation mark"),
    (HEAD + GOOD.replace(",x,", ',x"y,'), 2, "a quotation mark"),
    (HEAD.encode() + b"A,m,1,0,4,1,shallow,\xe4,1 2 3\n", 2, "not UTF-8"),
    ((HEAD + GOOD).encode("utf-16"), 1, "UTF-16"),
    (("\ufeff" + HEAD + GOOD).encode("utf-16-be"), 1, "UTF-16"),
    ((HEAD + GOOD).encode("utf-16-le"), 1, "a NUL byte"),
    (HEAD + GOOD + "A,m,1,1,4,1,shallow,\0,1 2 3\n", 3, "a NUL byte"),
    (HEAD + GOOD.replace("A,", ",", 1), 2, "the reader's name is empty"),
    (HEAD + GOOD.replace("m,", ",", 1), 2, "the model is empty"),
    (HEAD + GOOD.replace("m,1,", "m,0,"), 2, "layer is '0', not a whole number from 1 to"),
    (HEAD + GOOD.replace("m,1,", "m,1.0,"), 2, "layer is '1.0'"),
    (HEAD + GOOD.replace("m,1,0,", "m,1,-1,"), 2, "cell is '-1'"),
    (HEAD + GOOD.replace("m,1,0,", "m,1,,"), 2, "cell is ''"),
    (HEAD + GOOD.replace("0,4,", "0,0,"), 2, "triggers is '0', not a whole number from 1 to 10000"),
    (HEAD + GOOD.replace("0,4,", "0,10001,"), 2, "triggers is '10001'"),
    (HEAD + GOOD.replace("0,4,", "0,18446744073709551617,"), 2, "triggers is '18446744073709551617'"),
    (HEAD + GOOD.replace("4,1,", "4,x,"), 2, "pattern is 'x'"),
    (HEAD + GOOD.replace("shallow", "Shallow"), 2, "kind is 'Shallow'; it must be shallow or semantic"),
    (HEAD + GOOD.replace("shallow", ""), 2, "kind is ''"),
    (HEAD + GOOD.replace("1 2 3", "1 2 5"), 2, "shows is '1 2 5', not numbers from 1 to 4"),
    (HEAD + GOOD.replace("1 2 3", "0 1 2"), 2, "shows is '0 1 2'"),
    (HEAD + GOOD.replace("1 2 3", "1;2;3"), 2, "shows is '1;2;3'"),
    (HEAD + GOOD.replace("1 2 3", "2001-01-02"), 2, "shows is '2001-01-02'"),
    (HEAD + GOOD.replace("1 2 3", "1 2 3 2"), 2, "trigger 2 is in shows twice"),
    (HEAD + "A,m,1,0,4,0,shallow,,\n", 2, "pattern 0, that is none, with a kind"),
    (HEAD + "A,m,1,0,4,0,,,1 2 3\n", 2, "pattern 0, that is none, with a kind"),
    (HEAD + GOOD + "A,m,1,0,4,0,,,\n", 3,
     "pattern 0, that is none, but A has a pattern of this key in line 2"),
    (HEAD + GOOD + GOOD, 3, "pattern 1 of A in layer 1, cell 0 is in line 2 of"),
    (HEAD + "A,m,1,0,4,0,,,\n" * 2, 3, "pattern 0 of A in layer 1, cell 0 is in line 2 of"),
    (HEAD + GOOD + "B,m,1,0,5,0,,,\n", 3, "5 triggers of layer 1, cell 0, but 4 in line 2"),
    (HEAD + GOOD + "A,m,1,0,5,2,shallow,x,1 2 3\n", 3, "5 triggers of layer 1, cell 0, but 4 in line 2"),
    (HEAD + GOOD + "A,n,2,0,5,0,,,\n", 3, "model n, but m in line 2"),
    (HEAD + 'A,m,1,1,4,1,shallow,"two\nlines",1 2 3\n' + GOOD.replace("shallow", "deep"), 4,
     "kind is 'deep'"),
])
def test_malformed(bin, tmp_path, rows, line, says):
    """With file and line, and nothing written."""
    path = csv_file(tmp_path, rows, head="")
    message = fails(bin, "pattern-stats", "-o", tmp_path / "out.csv", path, says=says)
    assert message.startswith(f"pattern-stats: {path}: line {line}: "), message
    assert not (tmp_path / "out.csv").exists()


def test_no_rows(bin, tmp_path):
    fails(bin, "pattern-stats", csv_file(tmp_path, ""), says="there is no row in it")


def test_duplicates_between_files(bin, tmp_path):
    first, second = csv_file(tmp_path, GOOD), csv_file(tmp_path, "\n" + GOOD, "b.csv")
    fails(bin, "pattern-stats", second, first,
          says=f"{second}: line 3: pattern 1 of A in layer 1, cell 0 is in line 2 of {first}")
    fails(bin, "pattern-stats", first, first, says="as well")


def test_damaged_files_are_taken_or_refused(bin, tmp_path):
    """Bytes changed, put in, left out: never anything but status 0, or 1 with a message and no table."""
    good = EXAMPLE.read_bytes()
    signs = [b"", b'"', b",", b"\n", b"\r", b" ", b"0", b"9", b"-", b"\0", b"\xff", b"\xef\xbb\xbf", b'""',
             b"99999999999", b";", b"\n\n"]

    def judge(number):
        data, random = good, Random(number)
        for _ in range(1 + number % 3):
            at = random.randrange(len(data))
            data = data[:at] + random.choice(signs) + data[at + random.randrange(3):]
        path, out = tmp_path / f"{number}.csv", tmp_path / f"{number}.out"
        path.write_bytes(data)
        done = run(bin, "pattern-stats", "--kappa", tmp_path / f"{number}.kappa", "-o", out, path)
        lines = done.stderr.decode().splitlines()
        right = all(line.startswith(f"pattern-stats: {path}: line ") for line in lines) \
            and done.returncode in (0, 1) \
            and out.exists() == (done.returncode == 0) and (done.returncode == 0 or lines)
        return None if right else (data, done)

    found = in_parallel(judge, range(300))
    assert not list(filter(None, found))
    refused = sum(not (tmp_path / f"{number}.out").exists() for number in range(300))
    assert 50 < refused < 300


# ------------------------------------------------------------ with the triggers

@pytest.fixture(scope="module")
def triggers(bin, model, tmp_path_factory):
    """A function: keys {(layer, cell): triggers} -> the path of such a stream of the shipped model.  The
    triggers are made up; only their number is looked at."""
    header = streams.read(pipeline(bin, ["tokenize", "-m", model],
                                   ["forward-dump", "-m", model, "--layers", 1],
                                   ["topk-keys", "-t", 50, "--cells", 0],
                                   stdin=b"The house of the state .\n")).header

    def write(keys):
        path = tmp_path_factory.mktemp("triggers") / "triggers.ffkv"
        records = [{"layer": layer, "cell": cell, "coef": [count - i for i in range(count)],
                    "sentence": list(range(count)), "position": [1] * count, "next": [5] * count,
                    "prefix": [6] * count}
                   for (layer, cell), count in sorted(keys.items())]
        path.write_bytes(streams.write({**header, "keys": len(records)}, records))
        return path

    write.model = header["model"]["id"]
    return write


def test_keys_are_those_of_the_stream(bin, tmp_path, triggers):
    """Whose layers count from 0."""
    rows = f"A,{triggers.model},1,5,4,0,,,\nA,{triggers.model},3,7,2,0,,,\n"
    path = csv_file(tmp_path, rows)
    right = triggers({(0, 5): 4, (2, 7): 3, (2, 8): 0})
    assert ok(bin, "pattern-stats", "--triggers", right, path) == ok(bin, "pattern-stats", path)
    for keys, says in [({(0, 5): 3, (2, 7): 3}, "line 2: 4 triggers of layer 1, cell 5, but"),
                       ({(0, 6): 4, (2, 7): 3}, "line 2: layer 1, cell 5 is not in"),
                       ({(0, 5): 4}, "line 3: layer 3, cell 7 is not in"),
                       ({(1, 5): 4, (2, 7): 3}, "line 2: layer 1, cell 5 is not in")]:
        fails(bin, "pattern-stats", "--triggers", triggers(keys), path, says=f"{path}: {says}")
    other = csv_file(tmp_path, rows.replace(triggers.model, "0" * 32), "other.csv")
    fails(bin, "pattern-stats", "--triggers", right, other,
          says=f"line 2: model {'0' * 32}, but the triggers of {right}")


def test_example_annotations(bin, triggers):
    """They are of the shipped model, and give what a count of their ticks in Python gives."""
    rows = table(EXAMPLE)
    keys = {}
    for row in rows:
        keys.setdefault((int(row["layer"]) - 1, int(row["cell"])), []).append(row)
    assert {(row["reader"], row["reader_kind"], row["value_shown"]) for row in rows} == {
        ("assistant", "program", "0"), ("assistant", "program", "1")}
    assert {len(row) for row in rows} == {11} and len(keys) == 9
    found, message = stats(bin, "--triggers", triggers(dict.fromkeys(keys, 25)), EXAMPLE)
    assert message == "" and len(found) == len(keys)
    for row, ((layer, _), patterns) in zip(found, sorted(keys.items())):
        of = {kind: {tick for pattern in patterns if pattern["kind"] == kind
                     for tick in pattern["shows"].split()}
              for kind in ("shallow", "semantic")}
        both = of["shallow"] & of["semantic"]
        assert row == pytest.approx({
            "layer": layer + 1, "keys": 1, "triggers": 25, "shallow": len(of["shallow"] - both) / 25,
            "semantic": len(of["semantic"] - both) / 25, "both": len(both) / 25,
            "none": 1 - len(of["shallow"] | of["semantic"]) / 25, "patterns_per_key": len(patterns),
            "covered": len(of["shallow"] | of["semantic"]) / 25, "readings": 1, "readers": 1,
            "reader_kind": "program", "comparable": 0, **dict.fromkeys(("p25", "p50", "p75"), len(patterns))})
