"""What faults.py disturbs: pipelines, scripts, and makes.

A further pipeline is a line of JOBS, a further script one of SCRIPTS, and a further form of
models or tokenizers one of MODELS, with its files in fault_inputs.py: every class of faults takes
its cases from these lists.  What a pipeline writes goes to {out}, under names of its own.  Words in
braces are inputs() of faults.py; {made} has what an undisturbed make leaves, {expected} what
undisturbed pipelines do, each in a folder that is called as the pipeline is, and comes before those
that read it.
"""

from experiments import ROWS


def tables(*pairs):
    return [part for option, name in pairs for part in (option, f"{{out}}/{name}.csv")]


TOKENS = ["tokenize", "-m", "{model}", "--mode", "lines"]
TRAIN, VALID = [*TOKENS, "--name", "train", "{train}"], \
    [*TOKENS, "--sample", "50", "--name", "valid", "{valid}"]
TRIGGERS = "{made}/triggers.msgpack"
DUMP = ["forward-dump", "-m", "{model}", "--emit", "max,counts", "--paths", "50"]
TOP = ["topk-keys", "--top", "50", "--following", "10"]
PLAIN = ["forward-dump", "-m", "{model}", "--emit", "resid,ffn", "--positions", "random"]
COMPARED = ["intervention-stats", "-m", "{model}", "--edited", "-", "{expected}/plain/plain.msgpack"]
FEW = [[*TOKENS, "{few}"], ["forward-dump", "-m", "{model}"],
       ["topk-keys", "--top", "5", "-o", "{out}/few.msgpack"]]

# Of the jobs that run FEW: the model. Other jobs run on that of fairseq's form, "model", or as MODELS says.
FORMS = {"few": "model", "llama": "llama", "unigram": "unigram", "word pieces": "word pieces",
         "characters": "characters", "merges": "merges", "pieces": "pieces", "experts": "experts",
         "packed experts": "packed experts", "gguf": "llama.gguf", "gguf pieces": "pieces.gguf",
         "gguf experts": "experts.gguf", "split": "split/model-00001-of-00003.gguf"}
MODELS = {**FORMS, "signs": "llama", "coefficients": "llama", "mixture": "experts",
          "gated composition": "llama"}

# name: the stages of a pipeline, which are those of pipelines/*.sh where it has one.
JOBS = {
    "triggers": [TRAIN, DUMP, TOP,
                 ["project-values", "-m", "{model}", "--bottoms", "10", "-o", "{out}/triggers.msgpack"]],
    "values": [["project-values", "-m", "{model}", "--all", "--tops", "1", "--bottoms", "1", "-o",
                "{out}/values.msgpack"]],
    "agreement": [["agreement-stats", "-m", "{model}", TRIGGERS, *tables(
        ("-o", "agreement"), ("--rank", "rank"), ("--confidence", "confidence"),
        ("--top-values", "top-values"))]],
    "agreement sums": [["agreement-stats", "--sums", TRIGGERS, "-o", "{out}/sums"]],
    "merged agreement": [["agreement-stats", "-m", "{model}", "--merge", "{expected}/agreement sums/sums",
                          *tables(("-o", "agreement"), ("--top-values", "top-values"))]],
    "composition": [VALID, ["forward-dump", "-m", "{model}", "--emit", "coef,ffn", "--positions", "random"],
                    ["composition-stats", "-m", "{model}", "--values", "{made}/values.msgpack",
                     "--stop-words", "{root}/data/stop-words.txt",
                     *tables(("-o", "composition"), ("--active", "active"))]],
    "refinement": [VALID, PLAIN, ["refinement-stats", "-m", "{model}", *tables(
        ("-o", "refinement"), ("--cases", "cases"), ("--last-layer", "last-layer"), ("--settled", "settled"),
        ("--perplexity", "perplexity"))]],
    "perturbation": [["perturb-triggers", "--sample", "3", "--top", "5", TRIGGERS],
                     ["forward-dump", "-m", "{model}", "--emit", "key"],
                     ["perturbation-stats", *tables(("-o", "perturbation"))]],
    "shallow": [TRAIN, ["shallow-stats", "-m", "{model}", "--corpus", "-", TRIGGERS, *tables(
        ("-o", "shallow"), ("--keys", "shallow-keys"), ("--ngrams", "shallow-ngrams"))]],
    "annotation": [["annotation-sheet", "-m", "{model}", "-o", "{out}/annotation.html", TRIGGERS]],
    "report": [["report-pages", "-m", "{model}", "--tables", "{made}", "-o", "{out}/report", "--published",
                "{root}/data/published.csv", "--measures", "{made}/shallow-keys.csv", TRIGGERS]],
    "patterns": [["pattern-stats", "{root}/data/annotations/brown-lm.csv",
                  *tables(("-o", "patterns"), ("--kappa", "kappa"))]],
    "import": [["import-model", "-d", "{dictionary}", "-o", "{out}/imported", "{checkpoint}"]],
    "shard 0": [[*TRAIN, "--shard", "0/2"], DUMP, [*TOP, "-z", "-o", "{out}/0.gz"]],
    "shard 1": [[*TRAIN, "--shard", "1/2"], DUMP, [*TOP, "-z", "-o", "{out}/1.gz"]],
    "merge": [["topk-keys", "--merge", "{expected}/shard 0/0.gz", "{expected}/shard 1/1.gz"],
              ["stream-cat", "-o", "{out}/merged.json"]],
    "sums": [[*VALID, "--shard", "0/1"], PLAIN,
             ["refinement-stats", "-m", "{model}", "--sums", "-o", "{out}/sums"]],
    "merged sums": [["refinement-stats", "--merge", "{expected}/sums/sums", "-m", "{model}",
                     *tables(("-o", "refinement"), ("--last-layer", "last-layer"))]],
    "plain": [VALID, [*PLAIN, "-o", "{out}/plain.msgpack"]],
    "removal": [VALID, [*PLAIN, "--remove", "1:top=3", "--edit-at", "last"],
                [*COMPARED, "--ids", "5", *tables(("-o", "intervention"), ("--tokens", "tokens"),
                                                  ("--sentences", "sentences"))]],
    "edits": [VALID, [*PLAIN, "--edits", "{edits}", "--edit-where", "|m|>0.01"],
              [*COMPARED, "--sums", "-o", "{out}/sums"]],
    "merged edits": [["intervention-stats", "-m", "{model}", "--merge", "{expected}/edits/sums",
                      *tables(("-o", "intervention"))]],
    "coefficients": [TRAIN, ["forward-dump", "-m", "{model}", "--emit", "max,counts,magnitudes,signs"],
                     ["topk-keys", "--top", "5", "-o", "{out}/triggers.msgpack"]],
    "signs": [["coefficient-stats", "{expected}/coefficients/triggers.msgpack", *tables(
        ("-o", "coefficients"), ("--keys", "coefficient-keys"), ("--signs", "signs"),
        ("--sign-keys", "sign-keys"))]],
    "gated composition": [
        VALID, ["forward-dump", "-m", "{model}", "--emit", "coef,ffn", "--positions", "random"],
        ["composition-stats", "-m", "{model}", "--scaled", "--thresholds",
         "{expected}/coefficients/triggers.msgpack", "--percentile", "90", *tables(("-o", "composition"))]],
    "mixture": [VALID, ["forward-dump", "-m", "{model}", "--emit", "max,counts,magnitudes,signs", "--rank",
                        "value,signs"], ["topk-keys", "--top", "5", "--rank", "value,signs"],
                ["project-values", "-m", "{model}", "-o", "{out}/triggers.msgpack"]],
    "prompts": [["tokenize", "-m", "{model}", "--prompt", "{prompts}"],
                ["forward-dump", "-m", "{model}", "--emit", "resid,ffn,coef"],
                ["trace-prompts", "-m", "{model}", "--positions", "all", "--triggers", TRIGGERS,
                 "--memories", "3", "--page", "{out}/page.html",
                 *tables(("-o", "layers"), ("--memories-table", "memories"))]],
    "generate": [["generate", "-m", "{model}", "--edits", "{edits}", "--tokens", "9", "--sample",
                  "--seed", "7", "-o", "{out}/text", *tables(("--steps", "steps")), "w5 w7"]],
    "ranks": [["value-ranks", "-m", "{model}", "--ids", "5,9", "--top", "5", "-o", "{out}/ranks.csv"]],
    "model": [["model-info", "--rate", "1", "--threads", "2", "--json", "-o", "{out}/model.json", "{model}"]],
    **dict.fromkeys(FORMS, FEW),
}

# Scripts of pipelines/: their words, and what is in OUT before, by where it is.
SCRIPTS = {
    "search": (["{model}", "{train}", "{out}", "--mode", "lines", "--name", "train"], []),
    "triggers": (["{model}", "{out}"], ["{made}/search.msgpack"]),
    "values": (["{model}", "{out}"], []),
    "agreement": (["{model}", "{out}"], [TRIGGERS]),
    "composition": (["{model}", "{valid}", "{out}", "--prefixes", "50", "--mode", "lines", "--name", "valid"],
                    ["{made}/values.msgpack"]),
    "refinement": (["{model}", "{valid}", "{out}", "--prefixes", "50", "--mode", "lines", "--name", "valid"],
                   []),
    "perturbation": (["{model}", "{out}", "--sample", "3", "--top", "5"], [TRIGGERS]),
    "shallow": (["{model}", "{train}", "{out}", "--mode", "lines", "--name", "train"], [TRIGGERS]),
    "annotation": (["{model}", "{out}"], [TRIGGERS]),
    "signs": (["{model}", "{out}"], ["{expected}/coefficients/triggers.msgpack"]),
    "ablation": (["{model}", "{valid}", "{out}", "--prefixes", "50", "--removed", "10", "--mode", "lines"],
                 []),
    "report": (["{model}", "{out}"], [TRIGGERS, "{made}/agreement.csv", "{made}/shallow-keys.csv"]),
    "figures": (["{out}/figures", "{out}"], ["{made}/active.csv"]),
}

# Makes of paper.mk, by the folder of their results: targets (none: all), and settings. FORMS_OF_MAKES have
# the same results, in one run and in shards.
DIVIDED = tuple(row["experiment"] for row in ROWS if "shard.sh" in row["scripts"].split())
TABLES = ("triggers", "agreement", "composition", "refinement", "perturbation", "shallow", "annotation",
          "signs")
OTHER_SETTINGS = {"PREFIXES": 20, "KEYS": 2}
MAKES = {
    "all": ((), {}),
    "tables": (TABLES, {}),
    "other tables": (TABLES, OTHER_SETTINGS),
    "gated tables": (TABLES, {"MODEL": "{place}/llama"}),
    "whole": (DIVIDED, {}),
    "shards": (DIVIDED, {"SHARDS": 3}),
    "other whole": (DIVIDED, OTHER_SETTINGS),
}
FORMS_OF_MAKES = ("whole", "shards")

