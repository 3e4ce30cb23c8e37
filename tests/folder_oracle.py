"""transformers' AutoTokenizer as the oracle of test_tokenizer_folder.py; runs in the virtual environment that
the test makes.

    folder_oracle.py DIR

DIR then has folders of tokenizers, texts (a JSON list), and index.json: by folder, the model_type, and each
text's tokens, or null where transformers cannot load it.
"""

import json
import os
import pathlib
import random
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import transformers  # noqa: E402

import kinds_oracle as kinds  # noqa: E402
import subword_oracle as bpe  # noqa: E402

transformers.logging.set_verbosity_error()

END = "<|endoftext|>"
ADDED = ["<x>", "<y>", "e\u0301t", "the", "  ", "<|im_start|>"]
VOCABULARY = 1000
COMMON = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
CONFIGS = {
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64},
    **dict.fromkeys(["bloom", "falcon", "mpt", "gptj", "gpt_neo", "phi", "phi3", "gemma", "gemma2",
                     "gemma3_text", "cohere", "cohere2", "olmo", "olmo2", "granite", "starcoder2", "smollm3",
                     "stablelm"], {}),
    "opt": {"hidden_size": 32, "num_hidden_layers": 1, "ffn_dim": 48, "num_attention_heads": 4,
            "pad_token_id": 0},
    **dict.fromkeys(["gpt_neox", "llama", "mistral", "qwen2", "qwen3"], {
        "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 48, "num_attention_heads": 4}),
}
# Families whose tokenizers are not among PRE's: which of the tokenizers below they have, and the class.
FAMILIES = {
    "llama": ("llama", "LlamaTokenizer"), "mistral": ("llama", "LlamaTokenizer"),
    "phi3": ("llama", "LlamaTokenizerFast"), "gemma": ("gemma", "GemmaTokenizer"),
    "gemma2": ("gemma", "GemmaTokenizerFast"), "gemma3_text": ("gemma", None),
    "cohere": ("cohere", "CohereTokenizerFast"), "cohere2": ("cohere", None),
    "bloom": ("bloom", "BloomTokenizerFast"), "falcon": ("falcon", "PreTrainedTokenizerFast"),
    "olmo": ("spaces", None), "mpt": ("spaces", "GPTNeoXTokenizer"), "olmo2": ("llama3", "GPT2Tokenizer"),
    "granite": ("smollm", "GPT2Tokenizer"), "starcoder2": ("gpt2", "GPT2Tokenizer"),
    "smollm3": ("llama3", "PreTrainedTokenizerFast"), "stablelm": ("qwen2", "GPTNeoXTokenizerFast"),
    "gptj": ("gpt2", None), "gpt_neo": ("gpt2", "GPT2Tokenizer"), "phi": ("gpt2", "CodeGenTokenizer"),
}
PRE = {"gpt2": "gpt2", "opt": "gpt2", "gpt_neox": "spaces", "llama": "llama3", "mistral": "llama3",
       "qwen2": "qwen2", "qwen3": "qwen2"}
# Settings that are to leave the tokens of a text as they are, with values that would stand out.
HARMLESS = {
    "add_bos_token": True, "add_eos_token": True, "clean_up_tokenization_spaces": True, "errors": "strict",
    "spaces_between_special_tokens": True, "chat_template": "{{ messages }}", "padding_side": "left",
    "truncation_side": "left", "pad_token_type_id": 3, "pad_to_multiple_of": 8, "max_length": 2, "stride": 1,
    "truncation_strategy": "only_first", "model_max_length": 2, "max_len": 2,
    "model_input_names": ["input_ids"], "return_token_type_ids": True, "trim_offsets": False, "legacy": True,
    "sp_model_kwargs": {}, "name_or_path": "elsewhere", "processor_class": "X",
    "special_tokens_map_file": "elsewhere", "tokenizer_file": "elsewhere.json",
    "use_default_system_prompt": True, "vocab_file": "elsewhere.json", "merges_file": "elsewhere.txt",
    "verbose": True, "transformers_version": "4.0.0", "response_template": None, "response_schema": None,
    "chat_control_tokens": None, "files_loaded": [], "backend": "tokenizers", "is_local": False,
    "local_files_only": False, "device_map": None, "slow_tokenizer_class": None,
}


def texts():
    writer = bpe.Writer(seed=11)
    special = [END, "<|padding|>", "<pad>", "<s>", "</s>", "<img>", *ADDED]
    made = ["", " ", "a", " a", f"a  {END}  b", f"{END}{END}", "e\u0301t", "\u00e9t", "12345 don't", "don't"]
    for _ in range(40):
        parts = [writer.random.choice([writer.text(), writer.random.choice(special), " "]) for _ in range(5)]
        made.append("".join(parts))
    return made + [writer.text() for _ in range(40)]


def tokenizers():
    """tokenizer.json by pre-tokenizer, with END as its only added token."""
    writer = bpe.Writer(seed=5)
    corpus = [writer.training_text() for _ in range(2000)]
    return {name: bpe.trained(name, corpus, special_tokens=[END], size=800)
            for name in ("gpt2", "spaces", "llama3", "qwen2",
                       "smollm", "prefix")}


def of_families():
    """tokenizer.json of other kinds, by the names that FAMILIES has."""
    writer = bpe.Writer(seed=5)
    corpus = [writer.training_text() for _ in range(2000)]
    models = {"pieces": kinds.piece_vocabulary(corpus),
              "bytes": bpe.trained("gpt2", corpus, [END], size=800)["model"]}
    tokens = [kinds.added("<s>"), kinds.added("</s>"), kinds.added(kinds.SPACE * 2, special=False)]
    made = {name: kinds.whole(models[model], settings, tokens) for name, model, settings in [
        ("llama", "pieces", {"normalizer": kinds.LLAMA}),
        ("llama-first", "pieces", {"pre_tokenizer": kinds.metaspace("first", split=False)}),
        ("llama-always", "pieces", {"pre_tokenizer": kinds.metaspace("always", split=False)}),
        ("llama-never", "pieces", {"normalizer": kinds.REPLACE_SPACE}),
        ("llama-words", "pieces", {"pre_tokenizer": kinds.metaspace("first", split=True)}),
        ("gemma", "pieces", {"normalizer": kinds.REPLACE_SPACE, "pre_tokenizer": kinds.GEMMA_SPLIT}),
        ("cohere", "bytes", {"normalizer": {"type": "NFC"}, "pre_tokenizer": kinds.COHERE}),
        ("bloom", "bytes", {"pre_tokenizer": kinds.BLOOM}),
        ("falcon", "bytes", {"pre_tokenizer": kinds.FALCON})]}
    for name in "llama", "gemma":
        made[name]["model"]["unk_token"] = "<unk>"
    return made


class Folder:
    def __init__(self, directory, model_type, tokenizer, slow=False, **files):
        """files: by name, __ for a dot, what tokenizer_config.json and so on have."""
        self.path, self.model_type = directory, model_type
        directory.mkdir()
        self.write("config.json", {"model_type": model_type, **COMMON, **CONFIGS[model_type]})
        if slow:
            merges = [" ".join(merge) for merge in tokenizer["model"]["merges"]]
            self.write("vocab.json", tokenizer["model"]["vocab"])
            (directory / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n",
                                                  encoding="utf-8")
        else:
            self.write("tokenizer.json", tokenizer)
        for name, content in files.items():
            self.write(name.replace("__", "."), content)

    def write(self, name, content):
        (self.path / name).write_text(json.dumps(content), encoding="utf-8")

    def ids(self, strings):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.path)
            return [tokenizer.backend_tokenizer.encode(string, add_special_tokens=False).ids
                    for string in strings]
        except Exception as error:  # whatever it is, transformers does not read it
            print(f"{self.path.name}: {type(error).__name__}: {error}", file=sys.stderr)
            return None


def token(content, id_=None, **flags):
    made = {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True, **flags}
    return made if id_ is None else {"id": id_, **made}


def special_object(content, **flags):
    return {"__type": "AddedToken", **token(content, **flags)}


def special(draw, text, kind):
    """A special token as text or as the object that a file of this kind has."""
    if draw.random() < 0.5:
        return text
    made = token(text, lstrip=draw.random() < 0.5, rstrip=draw.random() < 0.3, normalized=draw.random() < 0.5)
    if kind == "map":
        del made["special"]
        return made
    return {"__type": "AddedToken", **made}


def random_files(draw, size):
    """What stands beside the vocabulary of this size."""
    files, settings = {}, {}
    stated = draw.choice(["GPT2Tokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer", "GPTNeoXTokenizerFast",
                          "LlamaTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend", None, None])
    if stated:
        settings["tokenizer_class"] = stated
    if draw.random() < 0.4:
        settings["add_prefix_space"] = draw.choice([True, False, False])
    for name in ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "image_token"):
        if draw.random() < 0.3:
            settings[name] = draw.choice([END, None,
                                          special(draw, draw.choice([END, "<img>", "the"]), "settings")])
    added = draw.sample(ADDED, draw.randrange(len(ADDED)))
    ids = {text: size + i for i, text in enumerate(text for text in added if text != "the")}
    if draw.random() < 0.3:
        settings["added_tokens_decoder"] = {str(i): token(text, special=draw.random() < 0.5,
                                                          lstrip=draw.random() < 0.3,
                                                          normalized=draw.random() < 0.5)
                                            for text, i in ids.items()}
        if draw.random() < 0.8:
            settings["added_tokens_decoder"]["0"] = token(END, rstrip=draw.random() < 0.2)
    elif draw.random() < 0.5:
        files["added_tokens__json"] = ids
    if draw.random() < 0.3:
        settings[draw.choice(["additional_special_tokens", "extra_special_tokens"])] = draw.sample(
            ["<s>", "</s>", "<x>", END], 2)
    if draw.random() < 0.4:
        files["special_tokens_map__json"] = {
            name: special(draw, draw.choice([END, "<s>", "<x>"]), "map")
            for name in ("bos_token", "eos_token", "pad_token", "cls_token") if draw.random() < 0.5}
        if draw.random() < 0.3:
            files["special_tokens_map__json"]["additional_special_tokens"] = ["<y>", "<s>"]
    if settings or draw.random() < 0.5:
        files["tokenizer_config__json"] = settings
    return files


def make(directory):
    strings, made, draw = texts(), tokenizers(), random.Random(7)
    folders = {}

    def folder(name, model_type, tokenizer, **options):
        folders[name] = Folder(directory / name, model_type, tokenizer, **options)

    for model_type, pre in PRE.items():
        for slow in (False, True):
            kind = f"{model_type}-{'slow' if slow else 'fast'}"
            plain, size = made[pre], len(made[pre]["model"]["vocab"])
            folder(kind, model_type, plain, slow=slow)
            folder(f"{kind}-harmless", model_type, plain, slow=slow, tokenizer_config__json=HARMLESS)
            folder(f"{kind}-prefix", model_type, plain, slow=slow,
                   tokenizer_config__json={"add_prefix_space": True})
            folder(f"{kind}-added", model_type, plain, slow=slow,
                   added_tokens__json={"<x>": size, "<y>": size + 1})
            folder(f"{kind}-decoder", model_type, plain, slow=slow,
                   tokenizer_config__json={"added_tokens_decoder": {
                       "0": token(END), str(size): token("<x>", lstrip=True),
                       str(size + 1): token("e\u0301t", normalized=True, special=False)}})
            for name in "GPT2Tokenizer", "Qwen2TokenizerFast", "GPTNeoXTokenizer", \
                    "PreTrainedTokenizerFast", "LlamaTokenizer":
                folder(f"{kind}-{name}", model_type, plain, slow=slow,
                       tokenizer_config__json={"tokenizer_class": name})
            folder(f"{kind}-map", model_type, plain, slow=slow,
                   special_tokens_map__json={"bos_token": "<s>",
                                             "eos_token": {"content": "</s>", "lstrip": True}})
    made.update(of_families())
    for model_type, (name, stated) in FAMILIES.items():
        folder(f"family-{model_type}", model_type, made[name],
               tokenizer_config__json={"tokenizer_class": stated} if stated else {})
    for name in [name for name in made if name.startswith(("llama-", "gemma"))]:
        for number, settings in enumerate([
                {"legacy": True}, {"legacy": False, "add_prefix_space": True}, {"add_prefix_space": False},
                {"unk_token": "<unk>", "bos_token": special_object("<s>", lstrip=True)},
                {"add_prefix_space": None}]):
            for stated in "LlamaTokenizer", "GemmaTokenizer", "PreTrainedTokenizerFast":
                folder(f"spaces-{name}-{number}-{stated}", "llama", made[name],
                       tokenizer_config__json={"tokenizer_class": stated, **settings})
    for number, settings in enumerate([{"add_prefix_space": True}, {"eos_token": "</s>"},
                                       {"bos_token": special_object("<s>", rstrip=True)},
                                       {"bos_token": special_object("<img>", lstrip=True)},
                                       {"mask_token": special_object("the", rstrip=True, normalized=True)}]):
        folder(f"cohere-{number}", "cohere", made["cohere"], tokenizer_config__json=settings)
    for number in range(120):
        model_type = draw.choice(list(PRE))
        tokenizer = made[PRE[model_type] if draw.random() < 0.8 else draw.choice(list(made))]
        if draw.random() < 0.3:
            tokenizer = {**tokenizer,
                         "added_tokens": [token(END, 0),
                                          token("<x>", len(tokenizer["model"]["vocab"]), special=False,
                                                normalized=draw.random() < 0.5)]}
        folder(f"random-{number}", model_type, tokenizer, slow=draw.random() < 0.4,
               **random_files(draw, len(tokenizer["model"]["vocab"])))
    (directory / "texts").write_bytes("".join(text + "\0" for text in strings).encode())
    (directory / "index.json").write_text(json.dumps({
        name: {"model_type": each.model_type, "ids": each.ids(strings)} for name, each in folders.items()}))


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]))
