"""The Brown corpus as running text: data/running-text.awk, the recipe data/brown.sh that calls it, and which
of the two forms make gives a model."""

import json
import re
import shutil
import subprocess

import pytest

import streams
from conftest import ROOT, corpus
from helpers import TIMEOUT, environment, ok
from test_tokenize import LLAMA, llama_folder, llama_gguf

AWK = ROOT / "data" / "running-text.awk"

CASES = [
    # marks
    ("He went , saw ; and : no ! Why ? Yes .", "He went, saw; and: no! Why? Yes."),
    ("Portland ( D. , Ore. ) [ sic ] is .", "Portland (D., Ore.) [sic] is."),
    ("( ( 38 ) )", "((38))"),
    ("section 381(c)(14) , ( 5 )", "section 381(c)(14), (5)"),
    (".", "."),
    (") He left .", ") He left."),
    (", for Rear axle", ", for Rear axle"),
    # words stay as they are
    ("He didn't let 'em , the boys' cats can not .", "He didn't let 'em, the boys' cats can not."),
    ("$1.50 is 5% of well-known 1,000 at 4:30 a.m. today .",
     "$1.50 is 5% of well-known 1,000 at 4:30 a.m. today."),
    ("The Duties Of Church Members", "The Duties Of Church Members"),
    ("of **zg meets g{t} , Af", "of **zg meets g{t}, Af"),
    ("Pratt & Whitney , A & M", "Pratt & Whitney, A & M"),
    # quotes
    ("`` I know '' , he said , `` that '' .", '"I know," he said, "that."'),
    ("a `` state '' of mind", 'a "state" of mind'),
    ("They said `` yes '' ; and `` no '' : both `` may '' -- or not",
     'They said "yes"; and "no": both "may" -- or not'),
    ("( `` May I -- may I -- '' )", '("May I -- may I --")'),
    ("I see ''", 'I see"'),
    ("''", '"'),
    ("'' He wrote .", '" He wrote.'),
    ("He wrote : ``", 'He wrote: "'),
    # ? and !: a whole saying has them, a part of the sentence not
    ("`` Where are you '' ?", '"Where are you?"'),
    ("He asked , `` Where are you '' ?", 'He asked, "Where are you?"'),
    ("Kill 'em '' !", "Kill 'em!\""),
    ("What is meant by `` spirit '' ?", 'What is meant by "spirit"?'),
    ("Is it `` this '' or , `` Is it that '' ?", 'Is it "this" or, "Is it that?"'),
    ("`` What's a ' scene ' '' ?", "\"What's a 'scene'?\""),
    ("`` Or , ' Here he comes ' '' ?", "\"Or, 'Here he comes?'\""),
    # single quotes
    ("A ' pro ' letter", "A 'pro' letter"),
    ("' It's just a bat ' , said my wife .", "'It's just a bat,' said my wife."),
    ("`` It's ' See Joe , see Jim ' '' , he says .", "\"It's 'See Joe, see Jim,'\" he says."),
    ("Why ' '' ?", "Why?'\""),
    ("I thought so ' .", "I thought so.'"),
    ("church meets change '", "church meets change'"),
    ("December , when ' Abdallah Ibrahim", "December, when 'Abdallah Ibrahim"),
    # inch marks, and ends that are there twice
    ("a 1/4'' '' bolt and 12'' '' , 0.5'' and `` A ''", 'a 1/4" bolt and 12", 0.5" and "A"'),
    ("He came to the U.S. .", "He came to the U.S."),
    ("`` Go at 5 p.m. '' .", '"Go at 5 p.m."'),
    ("Vol. 2 , , 434", "Vol. 2, 434"),
    # - / : between what they join
    ("lines 871 - 892 , core - core", "lines 871-892, core-core"),
    ("- alone", "- alone"),
    ("5.5 lb. / cu. ft. foam", "5.5 lb./cu. ft. foam"),
    ("St. John 3 : 7 , but 4 : no", "St. John 3:7, but 4: no"),
    ("a dash -- yes --", "a dash -- yes --"),
    ("`` -- and '' -- she said --", '"-- and" -- she said --'),
    # spaces
    ("", ""),
    ("  two   spaces  ", "two spaces"),
]


def running(text):
    return subprocess.run(["awk", "-f", AWK], input=text, capture_output=True, text=True, check=True,
                          timeout=TIMEOUT).stdout


@pytest.fixture(scope="module", params=["train", "valid"])
def both(request):
    """The sentences of a part: as words, and as running text."""
    return [corpus(f"brown-{name}.txt").read_text("ascii").splitlines()
            for name in (request.param, f"text-{request.param}")]


@pytest.mark.parametrize("words, text", CASES, ids=[words for words, _ in CASES])
def test_rules(words, text):
    assert running(words + "\n") == text + "\n"


def test_a_line_knows_nothing_of_those_before():
    assert running("".join(f"{words}\n" for words, _ in CASES)) == "".join(f"{text}\n" for _, text in CASES)


def characters(line):
    """Without spaces and quotes, and with one full stop or comma for several."""
    return re.sub(r"([.,])\1+", r"\1", re.sub(r"[ '\"`]", "", line))


def test_only_spaces_quotes_and_doubled_marks_differ(both):
    words, text = both
    assert len(words) == len(text) > 4000
    assert [line
            for line, other in zip(words, text, strict=True) if characters(line) != characters(other)] == []


def test_nothing_of_the_words_form_is_left(both):
    """Marks that stand alone or twice; quotes of two characters."""
    _, text = both
    assert [line for line in text if re.search(r" [,.;:?!)\]](?!\d)|[(\[] |``|''|,,|\.\.| $|^ |  ",
                                               line)] == []


def retokenized(line):
    """The words of running text, by rules of its own that know no ' alone and no inch marks."""
    words = []
    chunks = line.split()
    for last, chunk in ((i == len(chunks) - 1, chunk) for i, chunk in enumerate(chunks)):
        front, word, back = re.fullmatch(r"([\"(\[]*)(.*?)([\"\])?!,;:.]*)", chunk).groups()
        if not word:  # a quote alone closes
            front, back = "", front + back
        while back and ((back[0] == "." and not (last and re.fullmatch(r"[^A-Za-z0-9]*", back[1:])))
                        or (back[0] == ")" and "(" in word)):
            word, back = word + back[0], back[1:]
        back = re.sub(r"([,.?!])(\"+)", r"\2\1", back)
        words += ["``" if mark == '"' else mark for mark in front]
        words += [word] if word else []
        words += ["''" if mark == '"' else mark for mark in back]
    return " ".join(words)


def test_an_independent_tokenizer_gives_the_words_back(both):
    """All but those with what it cannot know: whose a full stop behind an abbreviation is, what a ' is, what
    - / : joined."""
    words, text = both
    same = sum(line == retokenized(other) for line, other in zip(words, text, strict=True))
    assert same / len(words) > 0.98


# ------------------------------------------------------------------ the recipe

TEXTS = ["brown-text-train.txt", "brown-text-valid.txt", "brown-train.txt", "brown-valid.txt"]


@pytest.fixture
def recipe(tmp_path):
    """The recipe with the corpus as it made it, in a folder of its own, and an npm without a network."""
    (tmp_path / "corpora").mkdir()
    for name in TEXTS:
        shutil.copy(corpus(name), tmp_path / "corpora")
    for name in "brown.sh", "running-text.awk":
        shutil.copy(ROOT / "data" / name, tmp_path)
    (tmp_path / "npm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)

    def run():
        return subprocess.run(["./brown.sh"], cwd=tmp_path,
                              env=environment({"PATH": f"{tmp_path}:/usr/bin:/bin"}),
                              capture_output=True, text=True, timeout=TIMEOUT, check=False)

    run.folder = tmp_path / "corpora"
    return run


def made(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_recipe_does_nothing_where_its_texts_are(recipe):
    before = {path: path.stat().st_mtime_ns for path in recipe.folder.iterdir()}
    done = recipe()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path: path.stat().st_mtime_ns for path in recipe.folder.iterdir()} == before


@pytest.mark.parametrize("damage",
                         [lambda path: path.unlink(), lambda path: path.write_text("An older recipe's .\n")],
                         ids=["missing", "older"])
def test_running_text_is_made_of_the_words_without_a_network(recipe, damage):
    """One that an older recipe has left is made anew, and the recipe says so."""
    expected, path = made(recipe.folder), recipe.folder / "brown-text-valid.txt"
    damage(path)
    old = path.exists()
    done = recipe()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (f"brown.sh: ./corpora/{path.name} is not what this recipe makes, perhaps an older "
                           "one's: making it anew\n"
                           if old else "")
    assert made(recipe.folder) == expected


def test_words_of_an_older_recipe_are_not_used(recipe):
    """As with ! and ? twice: they are fetched anew, and where there is no network the recipe fails."""
    path = recipe.folder / "brown-train.txt"
    path.write_bytes(path.read_bytes().replace(b" !\n", b" ! !\n"))
    before = made(recipe.folder)
    done = recipe()
    assert done.returncode == 1 and "is the network there?" in done.stderr
    assert f"./corpora/{path.name} is not what this recipe makes" in done.stdout
    assert made(recipe.folder) == before


def test_running_text_with_other_counts_is_refused(recipe):
    """As an awk that reads the rules in another way would make it: no text is left of it."""
    rules = recipe.folder.parent / "running-text.awk"
    rules.write_text(rules.read_text().replace('word == "``"', 'word == "`"'))
    for part in "train", "valid":
        (recipe.folder / f"brown-text-{part}.txt").unlink()
    done = recipe()
    assert done.returncode == 1
    assert re.fullmatch(r"brown\.sh: text-train: 52596 \d+ \d+ sentences, words and bytes are expected, "
                        r"but there are 52596 \d+ \d+\n", done.stderr)
    assert made(recipe.folder).keys() == {"brown-train.txt", "brown-valid.txt"}


# ------------------------------------------------------------------ which of them

def texts_of(model):
    done = subprocess.run(["make", "--no-print-directory", "--eval=show: ; @echo $(TEXT) $(VALID)", "show",
                           f"MODEL={model}"],
                          cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT,
                          check=True)
    return done.stdout.split()


def files(form):
    return [f"data/corpora/brown-{form}{part}.txt" for part in ("train", "valid")]


def test_a_model_is_given_the_text_that_its_tokenizer_reads(bin, small_model, tmp_path):
    """Oracle: tokenize. With a list of words, ab is unknown; with byte-level BPE nothing is, also where
    dict.txt is there."""
    text_model = llama_folder(tmp_path / "text", bos=4)
    both = shutil.copytree(text_model, tmp_path / "both")
    shutil.copy(small_model / "dict.txt", both)
    slow = shutil.copytree(both, tmp_path / "slow")
    (slow / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    (slow / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
    (slow / "merges.txt").write_text("#version: 0.2\na b\n")
    # which adds a token
    (slow / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    (slow / "config.json").write_text(json.dumps({**LLAMA, "bos_token_id": 4, "vocab_size": 6}))
    gguf = tmp_path / "model.gguf"
    llama_gguf(gguf, bos=4)
    for model, form in (small_model, ""), (text_model, "text-"), (both, "text-"), (slow, "text-"), \
            (gguf, "text-"):
        unknown = streams.read(ok(bin, "tokenize", "-m", model, stdin=b"ab\n")).trailer["unknown"]
        assert (unknown, texts_of(model)) == (0 if form else 1, files(form)), model


def test_models_with_a_name_of_their_own():
    """SmolLM2 is fetched only after make has chosen."""
    assert texts_of("brown-lm") == files("") and texts_of("smollm2") == files("text-")
