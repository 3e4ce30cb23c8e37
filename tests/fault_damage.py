"""The classes of faults of inputs: damaged streams, intermediate files, models, tokenizers, texts."""

import gzip
import json
import os
import pathlib
import re
import shutil
import struct

import fault_inputs
import streams
from fault_jobs import FORMS, JOBS
from faults import fault_class, tree

# ------------------------------------------------------------- damaged streams

def flipped(chance, data, most=8, end=None):
    """Up to so many bits, in the bytes before end."""
    data = bytearray(data)
    for _ in range(chance.randint(1, most)):
        data[chance.randrange(end or len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def cut(chance, data):
    return data[:chance.randrange(len(data))]


def overwritten(chance, data, end=None):
    begin = chance.randrange(end or len(data))
    length = min(chance.randint(1, 4096), len(data) - begin)
    filling = bytes(length) if chance.random() < 0.5 else chance.randbytes(length)
    return data[:begin] + filling + data[begin + length:]


def doubled(chance, data):
    begin, end = sorted(chance.randrange(len(data)) for _ in range(2))
    return data[:end] + data[begin:]


def left_out(chance, data):
    begin, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:begin] + data[end:]


def followed(chance, data):
    """By what is no further member of gzip's."""
    return data + chance.choice([b"\0", b"\xc0", b"x" * 100, b"\x1f\x8b", data[:100]])


def lying_length(chance, data):
    """A binary value's length is another than that of its bytes, in a stream whose checksum is right."""
    items = streams.items(data)
    body = [data[item.start:item.end] for item in items[:-1]]
    i, name = chance.choice([(i, name) for i, item in enumerate(items[:-1])
                             for name, value in item.value.items()
                             if isinstance(value, bytes)])
    value = items[i].value[name]
    key, size = streams.pack(name), len(streams.pack(value)) - len(value) - 1
    at = body[i].index(key + streams.pack(value)) + len(key) + 1
    lie = chance.choice([b"\xff" * size, bytes(size), chance.randbytes(size)])
    body[i] = body[i][:at] + lie + body[i][at + size:]
    return with_trailer(b"".join(body), items[-1].value)


def lying_trailer(chance, data):
    """There is not the number of records that it says, or a count is beyond all that can be."""
    items = streams.items(data)
    trailer = dict(items[-1].value)
    name = chance.choice(["records", *streams.COUNTS])
    trailer[name] = chance.choice([1 << 63, (1 << 64) - 1, (1 << 63) - 1] + [trailer[name] + 1]
                                  * (name == "records"))
    return with_trailer(data[:items[-1].start], trailer)


def with_trailer(body, trailer):
    more = {name: value
            for name, value in trailer.items() if name not in ("end", "records", "crc", *streams.COUNTS)}
    return streams.finish(body, trailer["records"], trailer, **more)


BLIND = [cut, flipped, overwritten, doubled, left_out, followed]  # to what the bytes mean


def damage(chance, data, kinds=BLIND):
    """(what was done, other bytes than data)"""
    while True:
        kind = chance.choice(kinds)
        result = kind(chance, data)
        if result != data:
            return kind.__name__, result


@fault_class("streams")
def damaged_streams(case):
    """Between two stages of a pipeline, plain or compressed."""
    job = case.chance.choice([job for job in JOBS if len(JOBS[job]) > 1])
    stage = case.chance.randrange(1, len(JOBS[job]))
    data = (case.campaign.place / "between" / job / str(stage - 1)).read_bytes()
    is_plain = case.chance.random() < 0.7
    if is_plain:
        what, data = damage(case.chance, data, [*BLIND, lying_length, lying_trailer])
    else:
        what, data = damage(case.chance, gzip.compress(data, mtime=0))
    path = case.folder / "stream"
    path.write_bytes(data)
    case.say(f"{job}: {what}", "plain" if is_plain else "compressed", "stream into", JOBS[job][stage][0])
    return case.pipeline(job, stages=JOBS[job][stage:], stdin=path)


def files_read(job):
    """Streams that a pipeline reads from files: words of its stages."""
    return sorted({word for stage in JOBS[job] for word in stage
                   if word.startswith(("{made}/", "{expected}/")) and not word.endswith(".csv")})


@fault_class("files")
def damaged_files(case):
    """Streams that other pipelines have left in files."""
    job = case.chance.choice([job for job in JOBS if files_read(job)])
    word = case.chance.choice(files_read(job))
    data = pathlib.Path(word.format(**case.campaign.inputs(job))).read_bytes()
    kinds = BLIND if data[:2] == b"\x1f\x8b" else [*BLIND, lying_length, lying_trailer]
    what, data = damage(case.chance, data, kinds)
    path = case.folder / "damaged"
    path.write_bytes(data)
    case.say(f"{job}: {what} {word}")
    stages = [[str(path) if part == word else part for part in stage] for stage in JOBS[job]]
    return case.pipeline(job, stages=stages)


# -------------------------------------------------------------- damaged models

def header_of(path):
    header = streams.items(path.read_bytes())[0].value
    return {name: header.get(name, {}).get("id") for name in ("model", "tokenizer")}


def is_other_input(case, job, *names):
    """Whether a stream says that it is of another model or tokenizer than the undisturbed one."""
    def says(after):
        for name in after:
            found, known = header_of(case.out / name), header_of(case.campaign.expected / job / name)
            if all(found[what] == known[what] for what in names):
                return False
        return bool(after)
    return says


def copied(case, path):
    place = case.folder / "in"
    place.mkdir()
    (shutil.copytree if path.is_dir() else shutil.copy)(path, place / path.name)
    return place / path.name


def with_lying_length(chance, data):
    """Of a safetensors file: the first 8 bytes."""
    (length,) = struct.unpack_from("<Q", data)
    other = chance.choice([length + 1, length - 1, length + 8, 0, len(data), 1 << 40, (1 << 64) - 1,
                           chance.randrange(1 << 16)])
    return struct.pack("<Q", other) + data[8:]


def other_setting(chance, data):
    """A number or a word of config.json is another, or is missing."""
    config = json.loads(data)
    key = chance.choice(list(config))
    value = config.pop(key)
    if chance.random() < 0.7:
        config[key] = chance.choice([None, "x", -1, 0, [],
                                     value + 1 if isinstance(value, (int, float)) else f"{value}x",
                                     1e308, 1 << 62, not value])
    return json.dumps(config).encode()


def copied_model(case, job):
    """A copy of all that a job's model is made of, and where in it the job's word for it is."""
    model = case.campaign.inputs(job)["checkpoint" if job == "import" else "model"]
    root = model.parent if model.parent.name == "split" else model
    copy = copied(case, root)
    return copy, copy / model.relative_to(root)


def damaged_parts(case, folder):
    """Of a split model: a part is missing, comes twice, is exchanged, is another one's, is cut, or is the
    whole model's last."""
    parts, chance = sorted(folder.iterdir()), case.chance
    first, second = chance.sample(parts, 2)
    kind = chance.choice(["missing", "exchanged", "twice", "cut", "header damaged"])
    data = first.read_bytes()
    if kind == "missing":
        first.unlink()
    elif kind == "exchanged":
        first.write_bytes(second.read_bytes())
        second.write_bytes(data)
    elif kind == "twice":
        first.write_bytes(second.read_bytes())
    elif kind == "cut":
        first.write_bytes(cut(chance, data))
    else:
        first.write_bytes(damage(chance, data[:fault_inputs.gguf_header_bytes(data)],
                                 [flipped, overwritten])[1] + data[fault_inputs.gguf_header_bytes(data):])
    case.say(f"split: {first.name} {kind}")
    return is_other_input(case, "split", "model") if kind == "header damaged" else None


@fault_class("models")
def damaged_models(case):
    """Tensors, settings, checkpoints and parts: cut, flipped, overwritten, missing, with lengths that lie, or
    cut while they are read."""
    job = case.chance.choice(["few", "llama", "experts", "packed experts", "gguf", "gguf pieces",
                              "gguf experts", "split", "split", "import"])
    copy, model = copied_model(case, job)
    path = copy
    if job == "split" and case.chance.random() < 0.8:
        return case.pipeline(job, is_other=damaged_parts(case, copy), model=model)
    if copy.is_dir():
        path = case.chance.choice([file for file in sorted(copy.iterdir())
                                   if file.suffix in (".safetensors", ".gguf") or file.name == "config.json"])
    data, chance = path.read_bytes(), case.chance
    if chance.random() < 0.15 or job == "split":
        moment, length = case.moment(job), chance.randrange(len(data))
        case.say(f"{job}: {path.name} is cut to {length} bytes after {moment:.4f} s")
        return case.pipeline(job, model=model, checkpoint=path,
                             events=[(moment, lambda run: os.truncate(path, length))])
    kinds = [cut]
    if path.suffix == ".safetensors":
        header = 8 + struct.unpack_from("<Q", data)[0]
        kinds += [with_lying_length, lambda chance, data: flipped(chance, data, end=header),
                  lambda chance, data: overwritten(chance, data, end=header)]
    elif path.suffix == ".gguf":
        header = fault_inputs.gguf_header_bytes(data)
        kinds += [lambda chance, data: flipped(chance, data, 3, header),
                  lambda chance, data: overwritten(chance, data, header)]
    elif path.suffix == ".json":
        kinds += [other_setting] * 5 + [flipped]
    else:  # a checkpoint, which is a zip file with checksums
        kinds += [flipped, overwritten]
    kind = chance.choice(kinds)
    path.write_bytes(kind(chance, data))
    case.say(f"{job}: {path.name},",
             getattr(kind, "__name__", "?").replace("<lambda>", "its header flipped or overwritten"))
    # What is cut is refused. Another number or name may make another model, whose id tells.
    other = is_other_input(case, job, "model") if job != "import" \
        and kind not in (cut, with_lying_length) else None
    return case.pipeline(job, is_other=other, model=model, checkpoint=path)


# ------------------------------------------- damaged dictionaries and tokenizers

def without_lines(chance, data):
    lines = data.splitlines(keepends=True)
    begin = chance.randrange(len(lines))
    del lines[begin:begin + chance.randint(1, 3)]
    return b"".join(lines)


def line_twice(chance, data):
    lines = data.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return b"".join(lines)


def lines_exchanged(chance, data):
    lines = data.splitlines(keepends=True)
    i, j = chance.sample(range(len(lines)), 2)
    lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def with_bytes(chance, data):
    at = chance.randrange(len(data))
    return data[:at] + chance.choice([b"\0", b"\xff", b"\xc3", b"\n\n", b"\r", b" "]) + data[at:]


def emptied(chance, data):
    return b""


TOKENIZER_FILES = ("dict.txt", "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json",
                   "tokenizer.model")


@fault_class("dictionaries")
def damaged_dictionaries(case):
    """dict.txt and the files of tokenizers: what is cut is refused, what is another valid one has another
    id."""
    job = case.chance.choice([job for job, model in FORMS.items() if "." not in model])
    model = copied(case, case.campaign.inputs(job)["model"])
    path = case.chance.choice([file for file in sorted(model.iterdir()) if file.name in TOKENIZER_FILES])
    kinds = [cut, emptied, flipped, with_bytes, overwritten]
    if path.suffix == ".txt":
        kinds += [without_lines, without_lines, line_twice, lines_exchanged]
    if path.name == "tokenizer_config.json":
        kinds += [other_setting] * 3
    what, changed = damage(case.chance, path.read_bytes(), kinds)
    path.write_bytes(changed)
    case.say(f"{job}: {path.name}, {what}")
    # The id of a dictionary is that of its words: counts may change, and the line's end is no word's.
    # Fewer merges make another tokenizer, and so do fewer pieces, where the cut is between two.
    loses = what in ("cut", "emptied") and path.name not in ("merges.txt", "tokenizer.model") \
        or what == "without_lines" and path.name == "dict.txt"
    return case.pipeline(job, is_other=None if loses else is_other_input(case, job, "tokenizer"), model=model)


# ------------------------------------------------------------- damaged corpora

def members(data, count=3):
    """As gzip of several members, at lines' ends."""
    lines = data.splitlines(keepends=True)
    size = -(-len(lines) // count)
    return [gzip.compress(b"".join(lines[i:i + size]), mtime=0) for i in range(0, len(lines), size)]


@fault_class("corpora")
def damaged_corpora(case):
    """Compressed, of one or several members, damaged; not UTF-8; with NULs; with a huge line."""
    chance = case.chance
    job, name = chance.choice([("triggers", "train"), ("few", "few"), ("shallow", "train")])
    data = case.campaign.inputs(job)[name].read_bytes()
    kind = chance.choice(["gzip", "gzip", "members", "members", "UTF-8", "NUL", "huge word", "huge line"])
    at = data.index(b"w", chance.randrange(len(data) - 10))
    equal = None  # another text that must give the same
    if kind == "gzip":
        what, changed = damage(chance, gzip.compress(data, mtime=0))
    elif kind == "members":
        parts = members(data)
        i = chance.randrange(len(parts))
        what, parts[i] = damage(chance, parts[i], [cut, flipped, overwritten, left_out])
        what, changed = f"{what} {i + 1} of {len(parts)}", b"".join(parts)
    elif kind == "UTF-8":
        bad = chance.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf",
                             b"\xe2\x82"])
        what, changed = f"{bad!r} at byte {at}", data[:at] + bad + data[at:]
    elif kind == "NUL":
        what, changed = f"at byte {at}", data[:at + 1] + b"\0" + data[at + 1:]
        equal = data[:at] + b"other " + data[data.index(min(b" ", b"\n"), at):]
        end = re.compile(rb"\s").search(data, at).start()
        equal = data[:at] + b"other" + data[end:]
    elif kind == "huge word":
        what, changed = f"at byte {at}", data[:at] + b"x" * 5_000_000 + b" " + data[at:]
        equal = data[:at] + b"other " + data[at:]
    else:
        what, changed = f"at byte {at}", data[:at] + b"w5 " * 1_500_000 + data[at:]
    path = case.folder / "text"
    path.write_bytes(changed)
    case.say(f"{job}: {kind}, {what}")
    expected = None
    if equal:
        same, out = case.folder / "same", case.folder / "expected"
        same.write_bytes(equal)
        out.mkdir()
        case.campaign.run(job, out, **{name: same})
        expected = tree(out)
    return case.pipeline(job, expected=expected, **{name: path})


