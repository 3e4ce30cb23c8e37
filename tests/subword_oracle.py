"""The tokenizers library as the oracle of test_subword.py; runs in the virtual
environment that test_subword.py makes.

    subword_oracle.py make DIR [GGUF]   tokenizers, texts, and each text's tokens
    subword_oracle.py train NAME SIZE FILE TOKENIZER    a tokenizer of that size, from a file's lines
    subword_oracle.py speed TOKENIZER FILE    MB/s of the library in one thread, a line a text

DIR then holds texts (each ends with a NUL byte) and for every tokenizer NAME
NAME.json and NAME.ids (a line a text).  With a GGUF file, smollm2.json and
smollm2-metadata.json come from its metadata.
"""

import json
import os
import pathlib
import random
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers  # noqa: E402
from tokenizers import pre_tokenizers as pre  # noqa: E402

from expressions import DEEPSEEK, GPT4O, LLAMA3, LLAMA_CPP, QWEN2  # noqa: E402

TEXTS = 20_000

# -------------------------------------------------------------------- the texts

SCRIPTS = {
    "latin": "abcdefghijklmnopqrstuvwxyz\u00e0\u00e9\u00ef\u00f1\u00f6\u00fc\u00df\u0142\u017f",
    "cyrillic": "".join(map(chr, range(0x430, 0x450))),
    "greek": "".join(map(chr, range(0x3b1, 0x3ca))) + "\u03ac\u03ad",
    "arabic": "".join(map(chr, range(0x627, 0x64b))) + "\u064e\u0651",
    "hebrew": "".join(map(chr, range(0x5d0, 0x5eb))),
    "devanagari": "".join(map(chr, range(0x905, 0x93a))) + "\u093e\u093f\u0940\u094d\u0902",
    "tamil": "\u0b95\u0b9a\u0b9f\u0ba4\u0baa\u0bae\u0bb0\u0bbe\u0bbf\u0bc6\u0bbe\u0bca\u0bcd",
    "thai": "".join(map(chr, range(0xe01, 0xe2f))) + "\u0e31\u0e34\u0e48",
    "georgian": "".join(map(chr, range(0x10d0, 0x10f1))),
    "ethiopic": "".join(map(chr, range(0x1200, 0x1230))),
    "han": "".join(map(chr, range(0x4e00, 0x4e80))),
    "kana": "".join(map(chr, range(0x3041, 0x3097))) + "".join(map(chr, range(0x30a1, 0x30fb))),
    "hangul": "".join(map(chr, range(0xac00, 0xac40))),
    "jamo": "\u1100\u1161\u11a8\u1102\u1165\u11ab",
    "armenian": "".join(map(chr, range(0x561, 0x587))),
    "bengali": "".join(map(chr, range(0x995, 0x9b0))) + "\u09be\u09bf\u09cd\u0982",
    "gurmukhi": "".join(map(chr, range(0xa15, 0xa29))) + "\u0a3e\u0a3f\u0a70",
    "gujarati": "".join(map(chr, range(0xa95, 0xaa9))) + "\u0abe\u0abf\u0acd",
    "telugu": "".join(map(chr, range(0xc15, 0xc29))) + "\u0c3e\u0c3f\u0c4d",
    "kannada": "".join(map(chr, range(0xc95, 0xca9))) + "\u0cbe\u0cbf\u0ccd",
    "malayalam": "".join(map(chr, range(0xd15, 0xd29))) + "\u0d3e\u0d3f\u0d4d",
    "sinhala": "".join(map(chr, range(0xd9a, 0xdb2))) + "\u0dcf\u0dd2\u0dca",
    "lao": "".join(map(chr, [*range(0xe94, 0xe98), *range(0xe99, 0xea0)])) + "\u0eb1\u0eb4\u0ec8",
    "tibetan": "".join(map(chr, range(0xf40, 0xf48))) + "\u0f72\u0f74\u0f0b",
    "burmese": "".join(map(chr, range(0x1000, 0x1021))) + "\u102b\u102d\u1039",
    "khmer": "".join(map(chr, range(0x1780, 0x17a0))) + "\u17b6\u17d2",
    "mongolian": "".join(map(chr, range(0x1820, 0x1840))),
    "cherokee": "".join(map(chr, range(0x13a0, 0x13c0))) + "".join(map(chr, range(0xab70, 0xab90))),
    "bopomofo": "".join(map(chr, range(0x3105, 0x312a))),
    "vietnamese": "a\u0103\u00e2e\u00eao\u00f4\u01a1u\u01b0\u1ea1\u1ebf\u1ed9\u0301\u0323d\u0111nghti",
    "young": "".join(map(chr, [*range(0x1c89, 0x1c8b), *range(0x10d4a, 0x10d52), *range(0x11f12, 0x11f20),
                               0x2ebf0, 0x31350, 0x1e4d0, 0x11938, 0x11935, 0x11930])),
}
SPACES = [" ", "  ", "   ", "    ", "\t", "\n", "\r\n", "\n\n", " \n", "\u00a0", "\u3000", "\u2003", "\u2028",
          "\u2029", "\u0085", "\u180e", "\u200b", "\u1680", "\u202f", "\ufeff", "\x0b", "\x0c", "\x1c",
          "\x1f", " " * 9, " " * 24, " " * 40, "\t\t\t", "\n    "]
MARKS = ["\u0301", "\u0300", "\u0327", "\u0308", "\u0323", "\u0334", "\u093c", "\u3099", "\u08d4", "\u1dfb",
         "\U000e0100", "\u20dd", "\u05b8", "\ufe0f", "\u1ac1", "\u200d"]
EMOJI = ["\U0001f600", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
         "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "1\ufe0f\u20e3", "\U0001fae8", "\U0001f6dc"]
SIGNS = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "--", "->", "=>", "!=", "&&", "\u2014", "\u00ab",
         "\u00bb", "\u3002", "\u20ac", "\u221e", "``", "''", "\u00ac", "\u00ad", "\x7f", "\x80"]
DIGITS = ["0", "7", "42", "100", "2024", "3.14", "1,000,000", "0x1F", "\u0663\u0664", "\u0967\u0968",
          "\u00b2", "\u2460", "\u216b", "\u00bd", "\u4e09", "123456789", "\U00011f50", "\U0001d7d8"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'LL", "'\u017f", "\u2019s",
                "''s", "don't", "I'll", "we'Ve", "'x", "'l", "they'd've"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|end", "of|>", "<|", "|>", "<|im_<|im_start|>",
            "<s>", "</s>", "<mask>", "word", "Word", "e\u0301te\u0301", "\u00e9t\u00e9", "<s", "<s><s>"]


def code_lines():
    """Lines of Python's own library."""
    lines = []
    for name in ("argparse", "ast", "json/decoder", "random", "tokenize", "typing"):
        path = pathlib.Path(os.__file__).parent / f"{name}.py"
        if path.exists():
            lines += path.read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line]


class Writer:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.code = code_lines()
        self.english = sorted({word for line in self.code for word in line.split() if word.isalpha()})
        self.words = {script: [self.word(letters) for _ in range(400)] for script, letters in SCRIPTS.items()}

    def word(self, letters):
        return "".join(self.random.choices(letters, k=self.random.randint(1, 9)))

    def piece(self):
        kind = self.random.randrange(20)
        choose = self.random.choice
        if kind < 6:
            return choose(self.english)
        if kind < 10:
            words = self.words[choose(list(SCRIPTS))]
            return words[min(int(self.random.expovariate(0.02)), len(words) - 1)]
        if kind == 10:
            return choose(self.english).upper()
        if kind == 11:
            return choose(self.english) + choose(MARKS) + choose(["", choose(MARKS)])
        if kind == 19:
            return "".join(
                chr(self.random.choice([self.random.randrange(1, 0x250), self.random.randrange(1, 0xd800),
                                        self.random.randrange(0xe000, 0x32400)]))
                for _ in range(self.random.randint(1, 4)))
        return choose([DIGITS, DIGITS, SIGNS, SIGNS, CONTRACTIONS, SPECIALS, EMOJI, SPACES][kind - 12]
                      if kind < 19
                      else SPACES)

    def text(self):
        if self.random.random() < 0.2:
            return self.random.choice(self.code)
        parts = []
        for _ in range(self.random.randint(1, 16)):
            parts += [self.piece(), self.random.choice(["", " ", " ", " ", self.random.choice(SPACES)])]
        return "".join(parts)

    def training_text(self):
        """Without what only tests the edges."""
        words = []
        for _ in range(12):
            script = self.words[self.random.choice(list(SCRIPTS))]
            words.append(
                self.random.choice([self.random.choice(self.english)] * 3 + [self.random.choice(script)]))
        return self.random.choice([" ".join(words), self.random.choice(self.code)])


def every_character():
    """Each character of the planes in use, some of them beside letters, digits and spaces."""
    characters = [chr(i) for i in [*range(1, 0xd800), *range(0xe000, 0x32400), *range(0xe0000, 0xe01f0)]]
    separators = ["", " ", "a", "1", ".", "\u0301", "\n"]
    return [separators[i // 48 % len(separators)].join(characters[i:i + 48])
            for i in range(0, len(characters), 48)]


def test_texts():
    writer = Writer(seed=1)
    return ["", " ", "\n"] + [writer.text() for _ in range(TEXTS)] + every_character() \
        + ["a" * 5000, " " * 5000, "\u00e9'" * 3000]


# --------------------------------------------------------------- the tokenizers

def byte_level(prefix=False, regex=True):
    return pre.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def split(*rules):
    """(expression, behavior, invert) ... before a ByteLevel."""
    return pre.Sequence([pre.Split(Regex(expression), behavior, invert)
                         for expression, behavior, invert in rules]
                        + [byte_level(regex=False)])


PRE_TOKENIZERS = {
    "gpt2": byte_level(),
    "prefix": byte_level(prefix=True),
    "llama3": split((LLAMA3, "isolated", False)),
    "qwen2": split((QWEN2, "isolated", False)),
    "smollm": pre.Sequence([pre.Digits(individual_digits=True), byte_level()]),
    "gpt4o": split((GPT4O, "isolated", False)),
    "llama.cpp": split(*((expression, "isolated", False) for expression in LLAMA_CPP)),
    "deepseek": split(*((expression, "isolated", False) for expression in DEEPSEEK)),
    "removed": split((r"\s+", "removed", False)),
    "inverted": split((r"\p{L}+|\p{N}+", "removed", True)),
    "previous": split((r"\p{P}", "merged_with_previous", False), (r"\p{N}", "contiguous", False)),
    "next": split((r"\s", "merged_with_next", False), (r"\S\d", "merged_with_next", True)),
    "digits": pre.Sequence([pre.Digits(individual_digits=False), pre.Split(" ", "contiguous"),
                            byte_level(prefix=True)]),
}
NORMALIZERS = {"qwen2": normalizers.NFC(), "flags": normalizers.Sequence([normalizers.NFC()]),
               "spaces": normalizers.NFC()}
FLAGS = [AddedToken("<s>", lstrip=True, rstrip=True, special=True),
         AddedToken("</s>", rstrip=True, special=True), AddedToken("<mask>", lstrip=True, special=True),
         AddedToken("word", single_word=True, normalized=False),
         AddedToken("e\u0301te\u0301", normalized=True), AddedToken("<s><s>", special=True),
         AddedToken("\t", normalized=False), AddedToken("  ", normalized=True)]


def trained(name, corpus, special_tokens=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), alphabet=True,
            size=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = PRE_TOKENIZERS.get(name, PRE_TOKENIZERS["gpt2"])
    tokenizer.decoder = decoders.ByteLevel()
    if name in NORMALIZERS:
        tokenizer.normalizer = NORMALIZERS[name]
    trainer = trainers.BpeTrainer(vocab_size=size or (3000 if alphabet else 1000),
                                  special_tokens=list(special_tokens),
                                  initial_alphabet=pre.ByteLevel.alphabet() if alphabet else [],
                                  show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    if name == "flags":
        tokenizer.add_tokens(FLAGS)
    if name == "spaces":
        tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    return json.loads(tokenizer.to_str())


def pair(merge):
    return merge.split(" ") if isinstance(merge, str) else merge


def tangle(tokenizer, seed=2):
    """Merges in another order, and more than one way to a token: what heaps get wrong."""
    shuffle = random.Random(seed)
    model = tokenizer["model"]
    merges = [pair(merge) for merge in model["merges"]]
    for token in model["vocab"]:
        for at in range(1, len(token)):
            if token[:at] in model["vocab"] and token[at:] in model["vocab"] and shuffle.random() < 0.3:
                merges.append([token[:at], token[at:]])
    merges = [list(merge) for merge in sorted({tuple(merge) for merge in merges})]
    shuffle.shuffle(merges)
    model["merges"] = merges


def thin(tokenizer, seed=3):
    """Some merges are missing: words that only ignore_merges makes tokens."""
    some = random.Random(seed)
    model = tokenizer["model"]
    model["merges"] = [merge for merge in model["merges"] if some.random() < 0.9]
    model["ignore_merges"] = True


def unknown(tokenizer, token, fuse):
    tokenizer["model"]["unk_token"] = token
    tokenizer["model"]["fuse_unk"] = fuse


def make_tokenizers():
    writer = Writer(seed=5)
    corpus = [writer.training_text() for _ in range(8000)]
    made = {name: trained(name, corpus) for name in [*PRE_TOKENIZERS, "spaces"]}
    made["flags"] = trained("flags", corpus, special_tokens=())
    thin(made["llama3"])
    made["tangled"] = trained("tangled", corpus)
    tangle(made["tangled"])
    few = trained("few-bytes", ["the cat sat on the mat", "1 2 3", "caf\u00e9"], alphabet=False)
    made["few-bytes"] = few
    for name, fuse in (("unknown", False), ("fused", True)):
        made[name] = json.loads(json.dumps(few))
        unknown(made[name], "<|endoftext|>", fuse)
    return made


# --------------------------------------------------------------------- SmolLM2

def smollm2(path):
    """(tokenizer.json, metadata) as objects, from a GGUF file."""
    import gguf
    fields = gguf.GGUFReader(path).fields
    tokens, types, merges, name = (fields[f"tokenizer.ggml.{key}"].contents()
                                   for key in ("tokens", "token_type", "merges", "pre"))
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)},
                                     [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS["smollm"]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, types) if kind == 3])
    return json.loads(tokenizer.to_str()), \
        {"tokens": tokens, "types": list(map(int, types)), "merges": merges,
         "pre": name}


# ------------------------------------------------------------------------ main

def encode(tokenizer, texts):
    library = Tokenizer.from_str(json.dumps(tokenizer))
    return [encoding.ids for encoding in library.encode_batch_fast(texts, add_special_tokens=False)]


def make(directory, gguf_path=None):
    texts = test_texts()
    (directory / "texts").write_bytes("".join(text + "\0" for text in texts).encode())
    tokenizers = make_tokenizers()
    if gguf_path:
        tokenizers["smollm2"], metadata = smollm2(gguf_path)
        (directory / "smollm2-metadata.json").write_text(json.dumps(metadata))
    for name, tokenizer in tokenizers.items():
        (directory / f"{name}.json").write_text(json.dumps(tokenizer))
        rows = encode(tokenizer, texts)
        (directory / f"{name}.ids").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def train(name, size, path, tokenizer_path):
    tokenizer = trained(name, pathlib.Path(path).read_text().split("\n"), size=int(size))
    pathlib.Path(tokenizer_path).write_text(json.dumps(tokenizer))


def speed(tokenizer_path, path):
    """Rates of the library in one thread: a line a call, and all lines in one call of its batch form."""
    library = Tokenizer.from_file(tokenizer_path)
    data = pathlib.Path(path).read_bytes()
    lines = data.decode().split("\n")

    def one_by_one():
        for line in lines:
            library.encode(line, add_special_tokens=False)

    for name, work in (("a line a call", one_by_one),
                       ("one call", lambda: library.encode_batch_fast(lines, add_special_tokens=False))):
        start = time.process_time()
        work()
        print(f"{name}: {len(data) / 1e6 / (time.process_time() - start):.1f} MB/s")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(pathlib.Path(sys.argv[2]), *sys.argv[3:])
    elif sys.argv[1] == "train":
        train(*sys.argv[2:])
    else:
        speed(*sys.argv[2:])
