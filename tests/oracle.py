"""An independent implementation of what the tools compute, in plain NumPy.

It shares no code with the tools and prefers the shortest statement of each
definition over speed.  Arithmetic is float64 unless the model is loaded with
another dtype.  Layers and cells count from 0, except in the rows of CSV files.

Sources: Geva et al. 2021 (the experiments), Baevski and Auli 2019 (adaptive
input and softmax), Vaswani et al. 2017 (the block), and fairseq's modules,
where the papers leave a choice.

Shapes: n tokens of a sentence, d model width, m cells a layer, L layers,
V vocabulary.
"""

import collections
import itertools
import json
import pathlib
import re
import struct

import numpy as np

import intervals

Model = collections.namedtuple("Model", "config tensors dtype candidates")
Activations = collections.namedtuple("Activations", "resid coef ffn out final")

SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3 in fairseq


# ---------------------------------------------------------------- the model

def load_safetensors(path, dtype=np.float64):
    """Returns {name: array of dtype}; F16, BF16, F32 and F64 tensors.

    File: uint64 length, that many bytes of JSON {name: {dtype, shape,
    data_offsets}}, then the tensors; offsets count from the end of the JSON.
    """
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    stored = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + length + begin:8 + length + end],
                               stored[entry["dtype"]])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            values = (values.astype("<u4") << 16).view("<f4")
        tensors[name] = values.astype(dtype).reshape(entry["shape"])
    return tensors


def load_model(directory, dtype=np.float64, all_tokens=False):
    """Reads config.json and model.safetensors; all arithmetic is in dtype.  candidates
    (V, bool) are the tokens that can follow, or all tokens."""
    directory = pathlib.Path(directory)
    config = json.loads((directory / "config.json").read_text())
    if config["activation_function"] != "relu" or not config["normalize_before"]:
        raise ValueError("only pre-norm models with ReLU")
    vocabulary = config["vocab_size"]
    return Model(config, load_safetensors(directory / "model.safetensors", dtype), np.dtype(dtype),
                 np.ones(vocabulary, bool) if all_tokens else candidates(directory, vocabulary))


def candidates(directory, vocabulary):
    """(V, bool): the tokens that a text can have at all, by the model's dict.txt or tokenizer.json.

    Not the special symbols, but for <unk>, nor fairseq's words without a count that fill its dictionary up;
    not what tokenizer.json adds as special, nor numbers without a token; all of them without either file."""
    directory, can = pathlib.Path(directory), np.zeros(vocabulary, bool)
    if (directory / "dict.txt").exists():
        lines = (directory / "dict.txt").read_text(encoding="utf-8").split("\n")[:-1]
        can[:len(SPECIAL_SYMBOLS) + len(lines)] = [symbol == "<unk>" for symbol in SPECIAL_SYMBOLS] + [
            not re.fullmatch(r"madeupword\d+ 0", line) for line in lines]
    elif (directory / "tokenizer.json").exists():
        tokenizer = json.loads((directory / "tokenizer.json").read_text())
        can[list(tokenizer["model"]["vocab"].values())] = True
        for token in tokenizer["added_tokens"]:
            can[token["id"]] = not token["special"]
    else:
        can[:] = True
    return can


def load_dictionary(directory):
    """Returns {word: id}: the special symbols, then dict.txt in its order."""
    words = {word: i for i, word in enumerate(SPECIAL_SYMBOLS)}
    with open(pathlib.Path(directory) / "dict.txt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            words[line.rstrip("\n").rsplit(" ", 1)[0]] = len(words)
    return words


def encode(words, line):
    """Ids of a line's words, separated by white space."""
    return [words.get(word, words["<unk>"]) for word in line.split()]


def clusters(config, kind="softmax"):
    """[(first id, end id)] of the head and of each tail; kind: input or softmax."""
    edges = [0] + list(config[f"adaptive_{kind}_cutoffs"])
    if edges[-1] < config["vocab_size"]:
        edges.append(config["vocab_size"])
    return list(zip(edges[:-1], edges[1:]))


# --------------------------------------------------------- the forward pass

def embed(model, ids):
    """ids (n) -> (n, d): words' embeddings, scaled, without positions.

    Adaptive input: cluster i has its own width, and a projection to d, the
    head's included (fairseq AdaptiveInput).
    """
    config, tensors = model.config, model.tensors
    ids = np.asarray(ids, dtype=np.int64)
    rows = np.empty((len(ids), config["hidden_size"]), model.dtype)
    for i, (first, end) in enumerate(clusters(config, "input")):
        prefix = f"decoder.embed_tokens.embeddings.{i}."
        here = (first <= ids) & (ids < end)
        rows[here] = (tensors[prefix + "0.weight"][ids[here] - first]
                      @ tensors[prefix + "1.weight"].T)
    return model.dtype.type(config["embed_scale"]) * rows


def positions(count, width, offset, dtype=np.float64):
    """(count, width): sines in the first half, cosines in the second, of
    (offset + j) exp(-k log(10000) / (half - 1)); an odd width ends with zeros
    (fairseq SinusoidalPositionalEmbedding).  Width is at least 4."""
    half = width // 2
    frequency = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half))
    angle = (offset + np.arange(count))[:, None] * frequency
    table = np.zeros((count, width))
    table[:, :half] = np.sin(angle)
    table[:, half:2 * half] = np.cos(angle)
    return table.astype(dtype)


def layer_norm(x, weight, bias, eps):
    """(n, d) -> (n, d), with the biased variance."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred ** 2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + x.dtype.type(eps)) * weight + bias


def attention(model, prefix, x):
    """Causal self-attention (n, d) -> (n, d), head after head."""
    n, d = x.shape
    width = d // model.config["num_attention_heads"]

    def linear(name, rows):
        return (rows @ model.tensors[f"{prefix}{name}.weight"].T
                + model.tensors[f"{prefix}{name}.bias"])

    query, key, value = (linear(name, x) for name in ("q_proj", "k_proj", "v_proj"))
    future = np.triu(np.ones((n, n), bool), 1)
    mixed = np.empty_like(x)
    for first in range(0, d, width):
        head = slice(first, first + width)
        score = query[:, head] @ key[:, head].T / np.sqrt(x.dtype.type(width))
        score[future] = -np.inf
        mixed[:, head] = np.exp(log_softmax(score)) @ value[:, head]
    return linear("out_proj", mixed)


def forward(model, tokens, edit=None):
    """One sentence w_1..w_n; the model reads BOS, w_1, .., w_{n-1}, or, where its configuration's
    bos_token_id is None, w_1, .., w_{n-1}: position 0 has NaN then.
    edit(layer, coef): what becomes of a layer's coefficients (n, m) before its values are added up.

    Returns resid (L, n, d): r^l, what enters the feed-forward block;
    coef (L, n, m): memory coefficients; ffn (L, n, d): y^l = sum_i m_i v_i + b2;
    out (L, n, d): o^l = r^l + y^l; final (n, d): what the softmax sees.
    """
    config, tensors = model.config, model.tensors
    eps, d = config["layer_norm_eps"], config["hidden_size"]
    if config["bos_token_id"] is None:
        return without_bos(model, tokens, edit)
    ids = [config["bos_token_id"]] + list(tokens)[:-1]
    h = embed(model, ids) + positions(len(ids), d, config["position_offset"], model.dtype)
    layers = []
    for layer in range(config["num_hidden_layers"]):
        prefix = f"decoder.layers.{layer}."

        def get(name):
            return tensors[prefix + name]

        x = layer_norm(h, get("self_attn_layer_norm.weight"),
                       get("self_attn_layer_norm.bias"), eps)
        resid = h + attention(model, prefix + "self_attn.", x)
        x = layer_norm(resid, get("final_layer_norm.weight"),
                       get("final_layer_norm.bias"), eps)
        coef = np.maximum(x @ get("fc1.weight").T + get("fc1.bias"), 0)
        if edit:
            coef = edit(layer, coef)
        ffn = coef @ get("fc2.weight").T + get("fc2.bias")
        h = resid + ffn
        layers.append((resid, coef, ffn, h))
    final = h
    if config["final_norm"]:
        final = layer_norm(h, tensors["decoder.layer_norm.weight"],
                           tensors["decoder.layer_norm.bias"], eps)
    return Activations(*(np.stack(arrays) for arrays in zip(*layers)), final)


def without_bos(model, tokens, edit=None):
    """forward() of a model that reads no BOS.  What it reads first stands where BOS would."""
    def read_after(first, rest):
        return forward(model._replace(config={**model.config, "bos_token_id": first}), rest, edit)

    *ids, _ = tokens
    found = read_after(ids[0], tokens[1:]) if ids else read_after(0, tokens)
    nothing = [np.full_like(array[..., :1, :], np.nan) for array in found]
    return Activations(*(np.concatenate([row, array[..., :len(ids), :]], axis=-2)
                         for row, array in zip(nothing, found)))


# --------------------------------------------------------------- vocabulary

def log_softmax(x):
    """Over the last axis."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def log_probs(model, vectors):
    """(rows, d) -> (rows, V): the whole log-softmax; rows x V numbers.

    The head is a softmax over its words and one class a tail; a tail's word
    has log p(class) + log p(word | class) (Baevski and Auli; fairseq
    AdaptiveSoftmax.get_log_prob).  Words and projections are the input
    embedding's where they are tied, each by itself; the head does not use its
    projection.
    """
    config, tensors = model.config, model.tensors
    vectors = np.asarray(vectors, model.dtype)
    (_, head_end), *tails = clusters(config)
    if config["tie_adaptive_weights"]:
        words = tensors["decoder.embed_tokens.embeddings.0.0.weight"]
        if words.shape[1] != config["hidden_size"]:
            raise ValueError("a head narrower than the model needs a projection of its own")
        if tails:
            classes = tensors["decoder.adaptive_softmax.head.class_proj.weight"]
            words = np.concatenate([words, classes])
    else:
        words = tensors["decoder.adaptive_softmax.head.weight"]
    head = log_softmax(vectors @ words.T)
    parts = [head[:, :head_end]]
    for i in range(1, len(tails) + 1):
        tied, own = f"decoder.embed_tokens.embeddings.{i}.", f"decoder.adaptive_softmax.tail.{i - 1}."
        projection = tensors[tied + "1.weight"] if config["tie_adaptive_proj"] \
            else tensors[own + "0.weight"].T
        words = tensors[tied + "0.weight" if config["tie_adaptive_weights"] else own + "2.weight"]
        parts.append(head[:, head_end + i - 1, None] + log_softmax(vectors @ projection @ words.T))
    return np.concatenate(parts, axis=1)


def value_vectors(model, layer):
    """(m, d): row i is v_i of the layer, a column of fairseq's fc2."""
    return model.tensors[f"decoder.layers.{layer}.fc2.weight"].T


def top(log_p, k, can=True):
    """(V) -> ids of the k largest of the tokens that can follow, ties to the lower id."""
    return np.argsort(-np.where(can, log_p, -np.inf), kind="stable")[:k]


def rank(log_p, token, can=True):
    """Rank of token in (V) among the tokens that can follow, from 1; equals rank by lower id first.
    One that cannot has the rank that it would have among them."""
    before = (log_p > log_p[token]) | ((log_p == log_p[token]) & (np.arange(len(log_p)) < token))
    return 1 + int((before & can).sum())


# ----------------------------------------------------------------- triggers

def sentence_max(coef, first=1):
    """(L, n, m) of one sentence -> max (L, m), argmax (L, m) over positions
    first..n-1; ties to the lower position, -inf and 0 without a position."""
    layers, n, cells = coef.shape
    if n <= first:
        return (np.full((layers, cells), -np.inf, coef.dtype),
                np.zeros((layers, cells), np.int64))
    return coef[:, first:].max(axis=1), coef[:, first:].argmax(axis=1) + first


def triggers(coefs, t=25, every=False, first=1):
    """Trigger examples (Geva et al. section 3).

    coefs: for each sentence (from 0) its coefficients (L, n, m), compared as
    float32, like the stream's: sentences that begin alike then tie, although
    products of different shapes differ in their last bits.
    every: every prefix competes, not only each sentence's best.
    Returns {(layer, cell): [(coef, sentence, position)]}, at most t (None: all),
    largest first, ties to the lower sentence, then the lower position; only
    coefficients > 0.  Holds all candidates: pass few layers for large corpora.
    """
    coef, sentence, position = [], [], []  # candidates: (L, m), scalar, (L, m)
    for number, array in enumerate(coefs):
        array = np.asarray(array, np.float32)
        layers, n, cells = array.shape
        if every:
            for j in range(first, n):
                coef.append(array[:, j])
                sentence.append(number)
                position.append(np.full((layers, cells), j))
        elif n > first:
            largest, where = sentence_max(array, first)
            coef.append(largest)
            sentence.append(number)
            position.append(where)
    if not coef:
        return {}
    coef, sentence, position = np.array(coef), np.array(sentence), np.array(position)
    result = {}
    for layer in range(coef.shape[1]):
        for cell in range(coef.shape[2]):
            c, p = coef[:, layer, cell], position[:, layer, cell]
            order = [i for i in np.lexsort((p, sentence, -c))[:t] if c[i] > 0]
            result[layer, cell] = [(float(c[i]), int(sentence[i]), int(p[i])) for i in order]
    return result


def trigger_differences(found, everything, t, tolerance):
    """Keys whose triggers are not the t largest, but for ties.

    found: {(layer, cell): [(coef, sentence, position)]} to check; everything:
    triggers(..., t=None).  Arithmetic in another order swaps coefficients that
    are nearly equal, so that position in the list and, at its end, membership
    may differ: what must hold is that the i-th coefficient is right, and that
    each trigger, named once, has the coefficient it is said to have.
    Returns [((layer, cell), found, expected)], empty when all is well.
    """
    different = []
    for key in sorted(found.keys() | everything.keys()):
        mine, all_items = found.get(key, []), everything.get(key, [])
        expected = all_items[:t]
        actual = {(s, p): c for c, s, p in all_items}
        # A coefficient near 0 may be missing on one side.
        pairs = itertools.zip_longest(mine, expected, fillvalue=(0.0, 0, 0))
        if (len(mine) > t or len({item[1:] for item in mine}) < len(mine)
                or any(not abs(a[0] - b[0]) <= tolerance for a, b in pairs)
                or any(not abs(actual.get((s, p), 0.0) - c) <= tolerance for c, s, p in mine)):
            different.append((key, mine, expected))
    return different


NO_FOLLOWING = 2**32 - 1  # behind a sentence's end


def trigger_records(found, sentences, layers=None, cells=None, following=0):
    """Triggers as the records of a triggers stream, ordered by layer and cell.

    sentences: tokens w_1..w_n of each.  following: of each trigger so many tokens
    behind the next one, (triggers, following), if not 0.  layers and cells: the numbers of those
    that the coefficients held, when they were a selection.
    """
    records = []
    for (layer, cell), items in sorted(found.items()):
        prefixes = [list(sentences[s][:p]) for _, s, p in items]
        records.append({
            "layer": layers[layer] if layers is not None else layer,
            "cell": cells[cell] if cells is not None else cell,
            "coef": np.array([c for c, _, _ in items]),
            "sentence": np.array([s for _, s, _ in items], np.int64),
            "position": np.array([p for _, _, p in items], np.int64),
            "next": np.array([sentences[s][p] for _, s, p in items], np.int64),
            "prefix": np.array(sum(prefixes, []), np.int64),
        })
        if following:
            behind = [list(sentences[s][p + 1:p + 1 + following]) for _, s, p in items]
            records[-1]["following"] = np.array(
                [tokens + [NO_FOLLOWING] * (following - len(tokens)) for tokens in behind],
                np.int64).reshape(-1, following)
    return records


def prefix_coefficients(coefs, found):
    """Along each trigger's prefix its key's coefficients, of the first token on, one prefix behind the
    other: {key: numbers}.  coefs and found as in triggers()."""
    return {(layer,
             cell): np.concatenate([coefs[s][layer, 1:p + 1, cell] for _, s, p in items] or [np.zeros(0)])
            for (layer, cell), items in found.items()}


# Where the bins of coefficients of one sign begin, but that the first has all that is nearer to 0.
COEFFICIENT_EDGES = sorted(factor * 2.0 ** e for e in range(-12, 12) for factor in (1, 1.5))


def coefficient_counts(values):
    """(97): how many of the values fall into each bin: negative ones, 0, positive ones."""
    values = np.asarray(values, np.float64)
    edges = [0, *COEFFICIENT_EDGES[1:], np.inf]
    below, above = (np.histogram(sign * values[sign * values > 0], edges)[0] for sign in (-1, 1))
    return np.concatenate([below[::-1], [np.count_nonzero(values == 0)], above])


def corpus_counts(coefs, first=1):
    """{key: coefficient_counts} of the positions from first on."""
    every = np.concatenate([array[:, first:] for array in coefs], axis=1)
    return {(layer, cell): coefficient_counts(every[layer, :, cell])
            for layer in range(every.shape[0]) for cell in range(every.shape[2])}


def token_counts(sentences, vocabulary):
    """(V): how often each token occurs; BOS that the model reads not counted."""
    counts = np.zeros(vocabulary, np.int64)
    for tokens in sentences:
        np.add.at(counts, np.asarray(tokens, np.int64), 1)
    return counts


# ---------------------------------------------------------------- agreement

def last_tokens(record, bos):
    """Each trigger's last token of the prefix; BOS for an empty prefix."""
    ends = np.cumsum(record["position"], dtype=np.int64)
    return [int(record["prefix"][end - 1]) if length else bos
            for end, length in zip(ends, record["position"])]


def project_values(model, records, k=10):
    """Yields copies of the records with the fields of project-values: top,
    top_p, and rank and probability of each trigger's next and last token in
    p = softmax(v E) (Geva et al. section 4)."""
    bos = model.config["bos_token_id"]
    for record in records:
        value = value_vectors(model, record["layer"])[record["cell"]]
        log_p = log_probs(model, value[None])[0]
        first = top(log_p, k, model.candidates)
        new = dict(record, top=first, top_p=np.exp(log_p[first]))
        for name, tokens in ("next", record["next"]), ("last", last_tokens(record, bos)):
            tokens = np.asarray(tokens, np.int64)
            new[name + "_rank"] = np.array([rank(log_p, i, model.candidates) for i in tokens], np.int64)
            new[name + "_p"] = np.exp(log_p[tokens])
        yield new


def agreement(records, counts, bos=2, can=True):
    """Rows of agreement.csv (figure 4), layers from 1.

    records need next, prefix, position and top; a key is live when it has a
    trigger, and shares are of live keys, by the first trigger.  Baselines are of
    the tokens that can follow, of len(counts); the most frequent one is the lowest id among equals.
    """
    can = np.broadcast_to(can, len(counts))
    frequent = int(np.argmax(np.where(can, np.asarray(counts, np.int64), -1)))
    rows = []
    for layer in sorted({record["layer"] for record in records}):
        here = [record for record in records if record["layer"] == layer]
        live = [record for record in here if len(record["next"])]

        def share(hits):
            return sum(hits) / len(live) if live else float("nan")

        rows.append(intervals.of_all({
            "layer": layer + 1, "keys": len(here), "live_keys": len(live),
            "agree_next": share([r["top"][0] == r["next"][0] for r in live]),
            "agree_last": share([r["top"][0] == last_tokens(r, bos)[0] for r in live]),
            "random": 1 / can.sum(),
            "frequent": share([r["next"][0] == frequent for r in live]),
        }, len(live), "agree_next", "agree_last", "frequent"))
    return rows


def rank_quantiles(records, percentages=(10, 25, 50, 75, 90)):
    """Rows of rank.csv (figure 5), layers from 1: quantiles, interpolated
    linearly, of the rank of each live key's first trigger's next token."""
    rows = []
    for layer in sorted({record["layer"] for record in records}):
        ranks = [int(r["next_rank"][0]) for r in records
                 if r["layer"] == layer and len(r["next_rank"])]
        row = {"layer": layer + 1, "live_keys": len(ranks)}
        for q in percentages:
            row[f"p{q}"] = float(np.percentile(ranks, q)) if ranks else float("nan")
        rows.append(row)
    return rows


# ------------------------------------------------- memories are aggregated

def apply_norm(model, vectors, how="full"):
    """(rows, d) -> (rows, d): what is done with the final norm before vectors
    are projected: none, its gain only, or the full norm with each row's own
    statistics.  A model without a final norm has nothing to apply."""
    vectors = np.asarray(vectors, model.dtype)
    if how == "none" or not model.config["final_norm"]:
        return vectors
    gain = model.tensors["decoder.layer_norm.weight"]
    if how == "gain":
        return vectors * gain
    return layer_norm(vectors, gain, model.tensors["decoder.layer_norm.bias"], model.config["layer_norm_eps"])


def tops(model, vectors, norm="full"):
    """(rows, d) -> (rows): each one's most probable token that can follow, the lowest of equals."""
    return best(model, log_probs(model, apply_norm(model, vectors, norm)))


def best(model, log_p):
    """(rows, V) -> (rows): the same of distributions."""
    return np.argmax(np.where(model.candidates, log_p, -np.inf), axis=1)


def bottoms(model, vectors, norm="full"):
    """(rows, d) -> (rows): each one's least probable token, the lowest of equals."""
    return np.argmin(log_probs(model, apply_norm(model, vectors, norm)), axis=1)


def active(coef, rank="value", threshold=0.0, relative=None):
    """coef (rows, cells) -> bool: scores above threshold, or positive ones that are at least a part of the
    row's largest."""
    score = {"value": 1, "abs": np.sign(coef), "min": -1}[rank] * np.asarray(coef, np.float64)
    if relative is None:
        return score > threshold
    return (score > 0) & (score >= relative * score.max(axis=1, keepdims=True))


def active_words(rank="value", threshold=0.0, relative=None):
    """The same in words, as active.csv has them."""
    score = {"value": "m", "abs": "|m|", "min": "-m"}[rank]
    return f"{score} > {threshold:g}" if relative is None else f"{score} >= {relative:g} max {score}"


def agreeing(model, layer, coef, ffn, is_active, cells, norm="none", scaled=False):
    """coef (rows, cells), ffn (rows, d), is_active (rows, cells), cells: their
    numbers.  Returns of each row the layer's token, and how many active memories'
    token it is: top(v_i), of m_i < 0 the least probable one; or scaled top(m_i v_i)
    (Geva et al. section 5.1)."""
    values, own = value_vectors(model, layer)[cells], tops(model, ffn, norm)
    if scaled:
        token = np.stack([tops(model, m[:, None] * values, norm) for m in np.asarray(coef, model.dtype)]) \
            if len(coef) else np.zeros(is_active.shape)
    else:
        token = np.where(np.asarray(coef) < 0, bottoms(model, values, norm)[None],
                         tops(model, values, norm)[None])
    return own, (is_active & (token == own[:, None])).sum(axis=1)


def composition(layers, counts, position, stop_words=(), frequent=100, short=5, words="m > 0", comparable=1):
    """Rows of active.csv (figure 7) and of composition.csv (figure 8).

    layers: [(number from 0, active (rows, cells) bool, tokens (rows), agreeing
    (rows))]; counts: of the vocabulary's tokens in the text; position (rows); words:
    what active means; comparable: 1 where that is what the paper means.
    """
    common = set(np.lexsort((np.arange(len(counts)), -counts))[:frequent][
        np.sort(-counts)[:frequent] < 0].tolist())
    active_rows, rows = [], []
    for layer, active, token, agree in layers:
        share = active.mean(axis=1) if len(active) else np.array([])
        active_rows.append({"layer": layer + 1, "prefixes": len(active), "mean": nan_mean(share),
                            **{f"p{q}": percentile(share, q) for q in (25, 50, 75)},
                            "active": words, "comparable": comparable,
                            **intervals.named({"mean": intervals.clustered(
                                active.sum(axis=1), np.full(len(active), active.shape[1]), active.size)})})
        here = agree > 0
        row = {
            "layer": layer + 1, "prefixes": len(active), "zero_agreement": nan_mean(~here),
            "stop_word": nan_mean([t in stop_words for t in token[here].tolist()]) if stop_words else np.nan,
            "frequent": nan_mean([t in common for t in token[here].tolist()]),
            "short_prefix": nan_mean(position[here] < short), "memories": nan_mean(agree[here]),
            "agreeing": int(here.sum()), **{f"p{q}": percentile(agree[here], q) for q in (25, 50, 75)}}
        rows.append({**row, **intervals.of_row(row, zero_agreement=len(active), stop_word=here.sum(),
                                               frequent=here.sum(), short_prefix=here.sum())})
    return active_rows, rows


def nan_mean(numbers):
    return float(np.mean(numbers)) if len(numbers) else float("nan")


def percentile(numbers, q):
    return float(np.percentile(numbers, q)) if len(numbers) else float("nan")


Refinement = collections.namedtuple("Refinement", "residual ffn output p rank final next_logp p_old p_new")


def refinement(model, resid, ffn, following, norm="none"):
    """resid and ffn (L, rows, d), following (rows): next tokens.  Returns the
    tokens that r^l, y^l and o^l predict (L, rows); of the final token, that of
    o^L (rows), the probability and the rank in p(r^l) (L, rows); and (rows):
    log p(o^L) of the next token, p(r^L) of its own token, p(o^L) of the final
    one (Geva et al. section 5.2)."""
    resid, ffn = np.asarray(resid, model.dtype), np.asarray(ffn, model.dtype)
    rows = np.arange(resid.shape[1])
    last = log_probs(model, apply_norm(model, resid[-1] + ffn[-1]))
    final = best(model, last)
    log_p = [log_probs(model, apply_norm(model, r)) for r in resid]
    residual = np.stack([best(model, lp) for lp in log_p])
    return Refinement(
        residual, np.stack([tops(model, y, norm) for y in ffn]),
        np.stack([tops(model, r + y) for r, y in zip(resid, ffn)]),
        np.stack([np.exp(lp[rows, final]) for lp in log_p]),
        np.stack([[rank(lp[i], final[i], model.candidates) for i in rows]
                  for lp in log_p]).reshape(len(resid), len(rows)),
        final, last[rows, following], np.exp(log_p[-1][rows, residual[-1]]), np.exp(last[rows, final]))


def refinement_rows(found):
    """Rows of refinement.csv, cases.csv and settled.csv (figures 9 to 11)."""
    layers, prefixes = found.residual.shape
    table = [intervals.of_all({
        "layer": l + 1, "prefixes": prefixes,
        "residual_is_final": nan_mean(found.residual[l] == found.final), "probability": nan_mean(found.p[l]),
        **{f"p{q}": percentile(found.p[l], q) for q in (25, 50, 75)},
        "rank_p50": percentile(found.rank[l], 50)}, prefixes, "residual_is_final") for l in range(layers)]
    cases = []
    for l in range(layers):
        r, y = found.output[l] == found.residual[l], found.output[l] == found.ffn[l]
        cases.append(intervals.of_all({
            "layer": l + 1, "prefixes": prefixes, "residual": nan_mean(r & ~y), "ffn": nan_mean(y & ~r),
            "agreement": nan_mean(r & y), "composition": nan_mean(~r & ~y)},
            prefixes, "residual", "ffn", "agreement", "composition"))
    # The first layer such that it and all later ones predict the final token.
    first = np.array([max([l + 1 for l in range(layers) if found.residual[l, i] != found.final[i]], default=0)
                      for i in range(prefixes)], np.int64)
    settled = [intervals.of_all({
        "layer": l + 1, "prefixes": int((first == l).sum()), "share": nan_mean(first == l),
        "cumulative": nan_mean(first <= l), "total": prefixes}, prefixes, "share", "cumulative")
        for l in range(layers + 1)]
    return table, cases, settled


def output_embedding(model, token):
    """The vector whose product with h is the token's logit within its cluster: a
    row of the head's words, or P e of a further cluster's.  Tied weights only."""
    for i, (start, end) in enumerate(clusters(model.config)):
        if start <= token < end:
            word = model.tensors[f"decoder.embed_tokens.embeddings.{i}.0.weight"][token - start]
            return word if i == 0 else model.tensors[f"decoder.embed_tokens.embeddings.{i}.1.weight"] @ word
    raise ValueError(token)
