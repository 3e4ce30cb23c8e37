"""tokenize: words, sentences, batches and counts, against Python's own text
functions, against the batches' rule stated again, and against cases by hand."""

import json
import re
import sys

import numpy as np
import pytest

import gguf_format
import oracle
import streams
from helpers import fails, ok, random_sentences, run, sentences_of, text

WORDS = ["the", "cat", "sat", ".", "!", "?", "\"", ")", "(", "don't", ",", "He", "she", "ran", "of",
         "3.14", "Dr", "Smith", "yes", "]", "''", "\N{RIGHT DOUBLE QUOTATION MARK}", "@-@", "=",
         "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve", "\N{GREEK CAPITAL LETTER OMEGA}"]


@pytest.fixture(scope="module")
def english(small_model, tmp_path_factory):
    """A model with the words above, number 4 and up, and fillers behind them."""
    directory = tmp_path_factory.mktemp("english")
    (directory / "config.json").write_bytes((small_model / "config.json").read_bytes())
    vocabulary = json.loads((small_model / "config.json").read_text())["vocab_size"]
    fillers = [f"madeupword{i:04}" for i in range(vocabulary - 4 - len(WORDS))]
    (directory / "dict.txt").write_text("".join(f"{word} 1\n" for word in [*WORDS, *fillers]),
                                        encoding="utf-8")
    return directory


def read(bin, model, data, *options):
    if isinstance(data, str):
        data = data.encode()
    return streams.read(ok(bin, "tokenize", "-m", model, *options, stdin=data))


def words_of(stream, model):
    """Each sentence as its words, joined by spaces."""
    words = {i: word for word, i in oracle.load_dictionary(model).items()}
    return [" ".join(words[token] for token in tokens) for tokens in sentences_of(stream)]


# ------------------------------------------------------------------------- BOS

VOCABULARY = {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "<s>": 4}
LLAMA = {"model_type": "llama", "vocab_size": 5, "hidden_size": 4, "num_hidden_layers": 1,
         "num_attention_heads": 1, "intermediate_size": 3, "hidden_act": "silu", "rms_norm_eps": 1e-5}


def llama_folder(folder, bos):
    """A model that tokenize can read, whose tokenizer adds BOS, and whose configuration of it says that it
    does not."""
    post = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                     {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}}}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
                 "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                                                       "trim_offsets": True, "use_regex": True},
                 "post_processor": post, "decoder": {"type": "ByteLevel"},
                 "model": {"type": "BPE", "vocab": VOCABULARY, "merges": ["a b"]}}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA, "bos_token_id": bos}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "bos_token": None}))
    return folder


def llama_gguf(path, bos, more=(), kind="gpt2", vocabulary=VOCABULARY):
    numbers = {"embedding_length": 4, "block_count": 1, "feed_forward_length": 3, "attention.head_count": 1}
    named = {key for key, _, _ in more}
    keys = [("general.architecture", "string", "llama"),
            *((f"llama.{key}", "uint32", n) for key, n in numbers.items()),
            ("llama.attention.layer_norm_rms_epsilon", "float32", 1e-5),
            ("tokenizer.ggml.model", "string", kind),
            ("tokenizer.ggml.pre", "string", "gpt-2"),
            ("tokenizer.ggml.tokens", ("array", "string"), list(vocabulary)),
            ("tokenizer.ggml.merges", ("array", "string"), ["a b"]), *more]
    if "tokenizer.ggml.add_bos_token" not in named:
        keys.append(("tokenizer.ggml.add_bos_token", "bool", 0))
    if bos is not None:
        keys.append(("tokenizer.ggml.bos_token_id", "uint32", bos))
    path.write_bytes(gguf_format.build(keys))
    return path


@pytest.mark.parametrize("write", [llama_folder, llama_gguf])
def test_bos_is_said_and_no_token_of_a_sentence(bin, tmp_path, write):
    """The header has it, once; test_bos.py has which one it is."""
    stream = read(bin, write(tmp_path / "model", 4), "ab a\nb\n")
    assert stream.header["tokenizer"]["bos"] == 4
    assert [list(tokens) for tokens in sentences_of(stream)] == [[2, 3, 0], [1]]


# ----------------------------------------------------------------------- lines

def test_unknown_words_and_special_symbols(bin, small_model):
    """Expected by fairseq's dictionary: special symbols are words of their own."""
    stream = read(bin, small_model, "w5 nothing W5 w99 w100\n<s> <pad> </s> <unk> <S>\n")
    assert sentences_of(stream) == [[5, 3, 3, 99, 3], [0, 1, 2, 3, 3]]
    assert {name: stream.trailer[name] for name in streams.COUNTS} \
        == {"sentences": 2, "tokens": 10, "unknown": 5, "truncated": 0, "skipped": 0}


def test_prose_read_as_separated_words_is_warned_of(bin, model, valid, tmp_path):
    """Where --mode raw would find words. A text of separated words has as many unknown ones, and no
    warning."""
    separated = "".join(valid.read_text().splitlines(keepends=True)[:1000])
    prose = re.sub(r" (['.,;:!?)]+)", r"\1", separated)

    def unknown_and_said(text, *options):
        done = run(bin, "tokenize", "-m", model, *options, stdin=text.encode(), cwd=tmp_path)
        assert done.returncode == 0
        trailer = streams.read(done.stdout).trailer
        return trailer["unknown"] / trailer["tokens"], done.stderr.decode()

    share, said = unknown_and_said(prose)
    assert share > 0.1 and said.count("\n") == 1
    assert said.startswith(f"tokenize: standard input: {100 * share:.1f} % of the words are not in the "
                           "model's dictionary and became <unk>")
    assert "--mode raw" in said
    share, said = unknown_and_said(separated)
    assert share > 0.05 and said == ""
    assert unknown_and_said(prose, "--mode", "raw")[1] == ""
    few = "The man said that he had seen the house of the old school in the city.\n"
    assert 0.05 < unknown_and_said(few)[0] < 0.07 and unknown_and_said(few)[1] != ""
    many = few.replace(" in", " in the day , and the night , and in")
    assert 0 < unknown_and_said(many)[0] < 0.05 and unknown_and_said(many)[1] == ""


def test_shipped_dictionary(bin, model, valid):
    """Oracle: Python's dictionary and str.split, on 500 lines."""
    lines = valid.read_text(encoding="utf-8").split("\n")[:500]
    words = oracle.load_dictionary(model)
    stream = read(bin, model, "\n".join(lines))
    assert sentences_of(stream) == [oracle.encode(words, line) for line in lines if line.split()]
    assert stream.trailer["unknown"] == sum(tokens.count(3) for tokens in sentences_of(stream)) > 0


def test_white_space_is_pythons(bin, small_model):
    """Oracle: Python's str.split, for every character of the Unicode planes in
    use; a line ends with a line feed only."""
    characters = [chr(i) for i in range(1, 0x30000) if not 0xd800 <= i < 0xe000 and chr(i) != "\n"]
    rows = ["w5" + "w6".join(characters[i:i + 64]) + "w6" for i in range(0, len(characters), 64)]
    words = oracle.load_dictionary(small_model)
    stream = read(bin, small_model, "\n".join(rows))
    found = sentences_of(stream)
    expected = [oracle.encode(words, row) for row in rows]
    for row, tokens, wanted in zip(rows, found, expected):
        assert tokens == wanted, ascii(row)
    assert len(found) == len(expected)


def test_white_space_separates_words(bin, small_model):
    """Oracle: str.isspace, each such character alone between two words."""
    spaces = [chr(i) for i in range(sys.maxunicode + 1) if chr(i).isspace() and chr(i) != "\n"]
    assert len(spaces) > 20
    found = sentences_of(read(bin, small_model, "".join(f"{c}w5{c}{c}w6{c}\n" for c in spaces)))
    assert found == [[5, 6]] * len(spaces)


@pytest.mark.parametrize("data",
                         ["w5 w6\nw7", "w5 w6\nw7\n", "w5 w6\r\nw7\r\n", "\n\n \t\nw5  w6\n\u2003\n w7 \n\n"])
def test_line_ends_and_blank_lines(bin, small_model, data):
    """Expected by the contract: blank lines are no sentences and have no number."""
    stream = read(bin, small_model, data)
    assert sentences_of(stream) == [[5, 6], [7]]
    assert stream.trailer["sentences"] == 2


def test_text_without_a_sentence(bin, small_model):
    """Expected by the contract: nothing to do is an error."""
    for data in b"", b"\n", b" \n\n":
        fails(bin, "tokenize", "-m", small_model, stdin=data, says="no sentence")


def test_line_longer_than_the_reading_buffer(bin, small_model):
    """Oracle: str.split, for lines of up to a million bytes."""
    random = np.random.default_rng(1)
    sentences = [random.integers(4, 100, n).tolist() for n in (1, 16000, 65535, 2, 40000)]
    stream = read(bin, small_model, text(sentences), "--max-length", 65535)
    assert sentences_of(stream) == sentences


@pytest.mark.release_only
@pytest.mark.parametrize("part, sentences, tokens", [("train", 52596, 1060907), ("valid", 4744, 94331)])
def test_brown_corpus(bin, model, part, sentences, tokens, request):
    """Expected: the counts of the corpus that the model was trained on."""
    path = request.getfixturevalue(part)
    stream = streams.read(ok(bin, "tokenize", "-m", model, path))
    assert (stream.trailer["sentences"], stream.trailer["tokens"]) == (sentences, tokens)
    words = oracle.load_dictionary(model)
    with open(path, encoding="utf-8", newline="\n") as lines:
        expected = [oracle.encode(words, line) for line in lines if line.split()]
    assert sentences_of(stream) == expected


# --------------------------------------------------------------------- batches

def pack(lengths, budget):
    """The rule: sentences in order, while they fit; [(first sentence, sentences)]."""
    batches, used = [], 0
    for i, length in enumerate(lengths):
        if not batches or used + length > budget:
            batches.append([i, 0])
            used = 0
        batches[-1][1] += 1
        used += length
    return batches


@pytest.mark.parametrize("budget", [1, 7, 20, 64, 512, 100000])
def test_batches(bin, small_model, budget):
    """Recomputation of the packing rule."""
    sentences = random_sentences(300, 100, seed=2) + [[5] * 20, [6] * 21, [7] * 64, [8], [9] * 65]
    stream = read(bin, small_model, text(sentences), "--batch", budget)
    assert sentences_of(stream) == sentences
    assert [[r["id"], len(r["len"])] for r in stream.records] == pack(list(map(len, sentences)), budget)
    assert stream.header["batch"] == {"positions": budget}
    assert all(len(r["tok"]) <= budget or len(r["len"]) == 1 for r in stream.records)


def test_default_batch_is_512(bin, small_model):
    """Two ways to say the same."""
    data = text(random_sentences(300, 100))
    assert ok(bin, "tokenize", "-m", small_model, stdin=data) \
        == ok(bin, "tokenize", "-m", small_model, "--batch", 512, "--name", "text", "--mode", "lines",
              "--max-length", 4096, "--long", "error", stdin=data)


def test_limit(bin, small_model):
    """Recomputation: the first sentences, packed as if there were no others."""
    sentences = random_sentences(50, 100, seed=3)
    for limit in 1, 13, 50, 51:
        stream = read(bin, small_model, text(sentences), "--limit", limit, "--batch", 30)
        assert sentences_of(stream) == sentences[:limit]
        assert [[r["id"], len(r["len"])] for r in stream.records] \
            == pack(list(map(len, sentences[:limit])), 30)


def test_long_sentences(bin, small_model):
    """Recomputation: cut or left out, counted; numbers go to the sentences kept."""
    sentences = random_sentences(60, 100, seed=4, longest=12)
    data = text(sentences)
    longer = sum(len(tokens) > 8 for tokens in sentences)
    assert 5 < longer < 50
    options = ["--max-length", 8, "--batch", 16]
    stream = read(bin, small_model, data, *options, "--long", "truncate")
    assert sentences_of(stream) == [tokens[:8] for tokens in sentences]
    assert (stream.trailer["truncated"], stream.trailer["skipped"]) == (longer, 0)
    unknown = sum(tokens[:8].count(3) for tokens in sentences)
    assert stream.trailer["unknown"] == unknown
    kept = [tokens for tokens in sentences if len(tokens) <= 8]
    stream = read(bin, small_model, data, *options, "--long", "skip")
    assert sentences_of(stream) == kept
    assert (stream.trailer["truncated"], stream.trailer["skipped"]) == (0, longer)
    assert [[r["id"], len(r["len"])] for r in stream.records] == pack(list(map(len, kept)), 16)
    first = next(i for i, tokens in enumerate(sentences, 1) if len(tokens) > 8)
    fails(bin, "tokenize", "-m", small_model, *options, stdin=data, says=f"line {first}: ")
    fails(bin, "tokenize", "-m", small_model, *options, "--long", "error", stdin=data)
    shards = [read(bin, small_model, data, *options, "--long", "skip", "--shard", f"{i}/3").trailer
              for i in range(3)]
    assert sum(trailer["skipped"] for trailer in shards) == longer


def test_header(bin, small_model, english):
    """Expected by the contract: what shapes the result is in the header."""
    header = read(bin, small_model, "w5", "--name", "na\u00efve", "--limit", 5, "--shard", "0/1").header
    assert header["kind"] == "tokens"
    assert header["corpus"] == {"name": "na\u00efve"}
    assert (header["tokenizer"]["vocabulary"], header["tokenizer"]["bos"]) == (100, 2)
    assert header["tokenizer"]["id"] != read(bin, english, "cat").header["tokenizer"]["id"]
    (stage,) = header["history"]
    assert stage["tool"] == "tokenize" and stage["options"]["limit"] == 5
    assert "shard" not in stage["options"]


# -------------------------------------------------------------------- wikitext

WIKITEXT = """
 = the cat =\x20
\x20
 the cat sat . He ( she ran . ) ran ! " yes . " the cat ? ? !\x20
 = = He ran = =\x20

 the cat = = sat
 " the cat . He sat . " she ran ? ) the . '' of . ] sat
 of " the cat " . of . \N{RIGHT DOUBLE QUOTATION MARK} the 3.14 Dr . " yes\x20
 . ? the
 =\x20
 = =
 = the . cat = "
"""
WIKITEXT_SENTENCES = [
    # the paragraph's stops, and what closes behind them
    "the cat sat .", "He ( she ran . )", "ran !", '" yes . "', "the cat ? ? !",
    "the cat = = sat",
    # a quotation of two sentences is closed in the second one
    '" the cat .', 'He sat . "', "she ran ? )", "the . ''", "of . ]", "sat",
    # a mark that opens does not belong to the sentence before
    'of " the cat " .', "of . \N{RIGHT DOUBLE QUOTATION MARK}", "the 3.14 Dr .", '" yes',
    ". ?", "the",
    # headings have = at both ends
    "=",
    "= the .", 'cat = "',
]


def test_wikitext(bin, english):
    """Expected by hand."""
    assert words_of(read(bin, english, WIKITEXT, "--mode", "wikitext"), english) == WIKITEXT_SENTENCES


def test_wikitext_loses_no_word(bin, english):
    """Recomputation: all words of all paragraphs, in order, without headings."""
    random = np.random.default_rng(2)
    lines = [" ".join(random.choice(WORDS[:12] + ["."] * 3, random.integers(0, 40))) for _ in range(300)]
    stream = read(bin, english, "\n".join(lines), "--mode", "wikitext", "--batch", 64)
    kept = [line for line in lines if not (line.startswith("= ") and line.endswith(" ="))]
    assert " ".join(words_of(stream, english)).split() == " ".join(kept).split()
    # A sentence has no stop but at its end.
    for sentence in words_of(stream, english):
        body = sentence.rstrip(".!? )]'\"\N{RIGHT DOUBLE QUOTATION MARK}")
        assert not any(stop in body.split() for stop in ".!?"), sentence


# ------------------------------------------------------------------------- raw

@pytest.mark.parametrize("data, expected", [
    ("the cat sat. He ran!", ["the cat sat .", "He ran !"]),
    ("the cat\nsat. He\n ran!\n", ["the cat sat .", "He ran !"]),        # hard-wrapped
    ("the cat\r\nsat. He\r\nran!\r\n\r\nsat\r\n", ["the cat sat .", "He ran !", "sat"]),
    ("the cat\n\nsat\n \t\n\n\nHe ran", ["the cat", "sat", "He ran"]),  # paragraphs
    ("don't, she (ran) 3.14", ["don't , she ( ran ) 3.14"]),            # words
    ('He sat. "He ran." He', ['He sat .', '" He ran . "', "He"]),
    ("the 3.14 cat. sat", ["the 3.14 cat . sat"]),       # a small letter goes on
    ("he!He?Dr", ["<unk> !", "He ?", "Dr"]),
    ("na\u00efve \u03a9. The", ["na\u00efve \u03a9 .", "<unk>"]),
    ("\n\n the \n", ["the"]),
])
def test_raw(bin, english, data, expected):
    """Expected by hand, from the rules of Unicode Standard Annex 29."""
    assert words_of(read(bin, english, data, "--mode", "raw"), english) == expected


@pytest.mark.parametrize("language, paragraph, sentences", [
    ("en", "Mr. and Mrs. Brown saw Dr. Jones. He ran!", ["Mr. and Mrs. Brown saw Dr. Jones.", "He ran!"]),
    ("en", "He saw Prof. Smith,\nGen.\nLee and (Sen. Ives).  She ran.",
     ["He saw Prof. Smith, Gen. Lee and (Sen. Ives).",
    "She ran."]),
    ("en", "He is a Dr.", ["He is a Dr."]), ("en", "Dr.\n\nHe ran.", ["Dr.", "He ran."]),
    ("en", "He saw XDr. She ran.", ["He saw XDr.", "She ran."]),
    ("en", "Dr. Dr. Maier ran. Yes.", ["Dr. Dr. Maier ran.", "Yes."]),
    ("en", "It is so. He said no. I ran at 5 p.m. on Monday. Yes!",
     ["It is so.", "He said no.", "I ran at 5 p.m. on Monday.", "Yes!"]),
    ("en", "He saw Mr.\u00a0Lee. They left NATO. He ran to A-F. It ran.",
     ["He saw Mr.\u00a0Lee.", "They left NATO.", "He ran to A-F.", "It ran."]),
    ("de", "Er kam fr\u00fcher. Sie kam am Abend. Das nahm er.",
     ["Er kam fr\u00fcher.", "Sie kam am Abend.", "Das nahm er."]),
    ("de", "Hr. Maier kam. Dr. Lang ging.", ["Hr. Maier kam.", "Dr. Lang ging."]),
    ("de", "Er kam mit Mrs. Brown. Sie ging.", ["Er kam mit Mrs.", "Brown.", "Sie ging."]),
    ("fr", "Il est venu. M. Blanc est parti. Gen. Oui.",
     ["Il est venu.", "M. Blanc est parti.", "Gen.", "Oui."]),
    ("fi", "Dr. Virta tuli. Mr. Virta.", ["Dr.", "Virta tuli.", "Mr.", "Virta."]),
    ("ja", "\u3053\u308c\u3002\u306f\u3044\u3002", ["\u3053\u308c\u3002", "\u306f\u3044\u3002"]),
])
def test_abbreviations_end_no_sentence(bin, tmp_path, language, paragraph, sentences):
    """Expected by hand.  A byte is a token: the sentences come back as they are."""
    model = tmp_path / "model"
    llama_folder(model, 4)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary = {character: i for i, character in enumerate(gpt2_characters())}
    tokenizer["model"].update(vocab=vocabulary, merges=[])
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (model / "config.json").write_text(json.dumps({**LLAMA, "bos_token_id": 4, "vocab_size": 256}))
    stream = read(bin, model, paragraph, "--mode", "raw",
                  *([] if language == "en" else ["--language", language]))
    assert [bytes(tokens).decode() for tokens in sentences_of(stream)] == sentences
    assert stream.header["history"][0]["options"]["language"] == language


def gpt2_characters():
    """By byte, the character that stands for it in a vocabulary (GPT-2's encoder.py)."""
    itself = [*range(ord("!"), ord("~") + 1), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [byte for byte in range(256) if byte not in itself]
    return [chr(byte if byte in itself else 0x100 + others.index(byte)) for byte in range(256)]


def test_language_is_of_raw_text(bin, small_model):
    for arguments, says in [(["--language", "en"], "goes with --mode raw"),
                            (["--mode", "raw", "--language", "xq"], "not 'xq'"),
                            (["--mode", "raw", "--language", ""], "not ''"),
                            (["--mode", "raw", "--language", "en@ss=none"], "not 'en@ss=none'"),
                            (["--mode", "raw", "--language", "EN"], "not 'EN'")]:
        fails(bin, "tokenize", "-m", small_model, *arguments, stdin=b"w4\n", status=2, says=says)


def prose(count, seed=1):
    """Random sentences whose ends cannot be mistaken, as text and as words."""
    random = np.random.default_rng(seed)
    plain = [["He", *random.choice(["the", "cat", "sat", "ran", "of"], random.integers(1, 30)), "!"]
             for _ in range(count)]
    return [" ".join(words[:-1]) + words[-1] for words in plain], [" ".join(words) for words in plain]


@pytest.mark.parametrize("width", [40, 1000, None])
def test_raw_paragraph_of_megabytes(bin, english, width):
    """Two ways to the same sentences: one long paragraph, and one a sentence."""
    as_text, as_words = prose(35000)
    paragraph = " ".join(as_text)
    assert len(paragraph) > 2 ** 21
    if width:
        lines, line = [], ""
        for word in paragraph.split():
            if len(line) + len(word) > width:
                lines.append(line)
                line = ""
            line += word + " "
        paragraph = "\n".join([*lines, line])
    found = sentences_of(read(bin, english, paragraph, "--mode", "raw"))
    assert found == sentences_of(read(bin, english, "\n\n".join(as_text), "--mode", "raw"))
    words = oracle.load_dictionary(english)
    assert found == [oracle.encode(words, sentence) for sentence in as_words]


def test_raw_sentence_of_megabytes(bin, english):
    """Expected by hand: one sentence, longer than what is read at a time."""
    data = "He " + "the cat " * 300000 + ".\n"
    stream = read(bin, english, data, "--mode", "raw", "--long", "truncate", "--max-length", 9)
    assert words_of(stream, english) == ["He the cat the cat the cat the cat"]
    assert stream.trailer["truncated"] == 1
    fails(bin, "tokenize", "-m", english, "--mode", "raw", stdin=data.encode(), says="600002 tokens")


def test_raw_is_lines_for_tokenized_text(bin, small_model):
    """Two ways to the same tokens: a paragraph a sentence."""
    sentences = random_sentences(200, 100)
    raw = read(bin, small_model, text(sentences).replace(b"\n", b"\n\n"), "--mode", "raw")
    assert sentences_of(raw) == sentences
