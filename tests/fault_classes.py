"""The classes of faults that faults.py counts: each is a function that takes a case, draws
what happens, lets it happen, and gives the outcome.
"""

import contextlib
import errno
import gzip
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import threading
import time

import fault_inputs
import streams
import surroundings
from faults import (FOUND, JOBS, OTHER, PATIENCE, ROOT, SCRIPTS, TABLES, Bad, Run, check_ends, ended,
                    has_spoken, judge, tree)

CLASSES = {}
may_mount = False  # set by the driver: whether this process has a mount namespace of its own


def fault_class(name):
    def add(function):
        CLASSES[name] = function
        return function
    return add


# --------------------------------------------------------------------- signals

SIGNALS = [signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE,
           signal.SIGQUIT]


@fault_class("signals")
def signals(case):
    """To a process of a pipeline, or to all of them, as a terminal sends them."""
    job, number = case.chance.choice(list(JOBS)), case.chance.choice(SIGNALS)
    moment, count = case.moment(job), len(JOBS[job])
    aimed = range(count) if case.chance.random() < 0.2 else [case.chance.randrange(count)]
    case.say(job, number.name, "to", *(JOBS[job][i][0] for i in aimed), f"after {moment:.4f} s")
    events = [(moment, i, number) for i in aimed]
    if number == signal.SIGSTOP:
        pause = case.chance.uniform(0.05, 0.5)
        events += [(moment + pause, i, signal.SIGCONT) for i in aimed]
    return case.pipeline(job, events=events)


# --------------------------------------------------------------- failing calls

REASONS = {
    "read": [errno.EIO, errno.EINTR], "write": [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EDQUOT],
    "close": [errno.EIO, errno.ENOSPC], "fsync": [errno.EIO, errno.ENOSPC],
    "rename": [errno.ENOSPC, errno.EACCES, errno.EIO], "malloc": [errno.ENOMEM],
    "mmap": [errno.ENOMEM, errno.ENODEV], "open": [errno.EMFILE, errno.EACCES, errno.EIO],
    "stat": [errno.EIO, errno.EACCES], "pthread_create": [errno.EAGAIN]}


@fault_class("failing calls")
def failing_calls(case):
    """The n-th read, write, ... of one process fails, once or from then on, or is cut short."""
    job = case.chance.choice(list(JOBS))
    stage = case.chance.randrange(len(JOBS[job]))
    counts = case.campaign.facts["counts"][f"{job}/{stage}"]
    call = case.chance.choice([name for name in REASONS if counts[name]])
    number, reason = case.chance.randint(1, counts[call]), case.chance.choice(REASONS[call])
    mode = case.chance.choice(["once", "once", "forever"] + ["short"] * (call in ("read", "write")))
    case.say(f"{job}: {JOBS[job][stage][0]}'s {call} {number} of {counts[call]} fails {mode}: "
             f"{os.strerror(reason)}")
    return case.pipeline(job, variables={stage: {"LD_PRELOAD": str(case.campaign.place / "failing_calls.so"),
                                                 "FAILING_CALL": f"{call} {number} {reason} {mode}"}})


# ---------------------------------------------------------------------- limits

def limited(case, option, value, job=None, only=None):
    """A pipeline of which one process, or each, has a limit."""
    job = job or case.chance.choice(list(JOBS))
    stages = [only] if only is not None else range(len(JOBS[job]))
    if only is None and case.chance.random() < 0.7:
        stages = [case.chance.choice(stages)]
    case.say(f"{job}: {option} {value} of", *(JOBS[job][i][0] for i in stages))
    return case.pipeline(job, before={i: ["prlimit", f"--{option}={value}:{value}", "--"] for i in stages})


@fault_class("memory")
def memory(case):
    """From 20 to 600 MB of address space, which libraries alone fill a good part of."""
    return limited(case, "as", int(20e6 * 30 ** case.chance.random()))


MESSAGE_BYTES = 400  # messages go to a file, too


@fault_class("file size")
def file_size(case):
    job = case.chance.choice([job for job in JOBS if case.expected(job)])
    largest = max(len(data) for data in case.expected(job).values())
    most = max(MESSAGE_BYTES, int(largest * case.chance.uniform(0, 1.1)))
    return limited(case, "fsize", most, job, len(JOBS[job]) - 1)


@fault_class("descriptors")
def descriptors(case):
    return limited(case, "nofile", case.chance.randrange(3, 12))


@contextlib.contextmanager
def disk(case, place, size, files):
    """A file system of that many bytes and files there, in this process's own namespace."""
    options = f"size={max(1, size // 4096) * 4096},nr_inodes={files},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True, timeout=PATIENCE)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True, timeout=PATIENCE)


def run_script(case, name, out):
    """A script of pipelines/, as one stage; what it starts is its group's."""
    return case.campaign.run(name, out, [[f"{ROOT}/pipelines/{name}.sh", *SCRIPTS[name]]])


@fault_class("disk")
def full_disk(case):
    """Results go to a disk that is too small for them, or has just enough room; from a pipeline or a
    script."""
    if not may_mount:
        return "skipped"
    campaign, is_script = case.campaign, case.chance.random() < 0.6
    name = case.chance.choice(list(SCRIPTS if is_script else JOBS))
    expected = {path: data for path, data in tree(campaign.made).items()
                if path.startswith("figures/fig07")} \
        if name == "figures" else case.expected(name)
    found = FOUND.get(name, []) if is_script else []
    there = {file: (campaign.made / file).read_bytes() for file in found}
    pages = [sum(-(-len(data) // 4096) for data in files.values()) for files in (there, expected)]
    size = 4096 * (pages[0] + case.chance.randint(0, max(1, int(1.3 * pages[1]))))
    inodes = 1000 if case.chance.random() < 0.8 \
        else 2 + len(there) + case.chance.randint(0, len(expected) + 2)
    case.say(name + (".sh" if is_script else ""), f"on a disk of {size} bytes and {inodes} files, with",
             *found)
    with disk(case, case.out, size, inodes):
        for file, data in there.items():
            try:
                (case.out / file).write_bytes(data)
            except OSError:
                return "skipped"  # not even what the script reads has room
        run = run_script(case, name, case.out) if is_script else campaign.run(name, case.out)
        return judge(run, tree(case.out), {**expected, **there})


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


@fault_class("models")
def damaged_models(case):
    """Tensors, settings and checkpoints: cut, flipped, overwritten, with lengths that lie, or cut while they
    are read."""
    job = case.chance.choice(["few", "llama", "gguf", "import"])
    source = case.campaign.inputs(job)["checkpoint" if job == "import" else "model"]
    path = model = copied(case, source)
    if job in ("few", "llama"):
        path = model / case.chance.choice(["config.json", "model.safetensors", "model.safetensors"])
    data, chance = path.read_bytes(), case.chance
    if chance.random() < 0.15:
        moment, length = case.moment(job), chance.randrange(len(data))
        case.say(f"{job}: {path.name} is cut to {length} bytes after {moment:.4f} s")
        return case.pipeline(job, model=model, checkpoint=path,
                             events=[(moment, lambda: os.truncate(path, length))])
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


@fault_class("dictionaries")
def damaged_dictionaries(case):
    """dict.txt and tokenizer.json: what is cut is refused, what is another valid one has another id."""
    job = case.chance.choice(["few", "llama"])
    model = copied(case, case.campaign.inputs(job)["model"])
    path = model / {"few": "dict.txt", "llama": "tokenizer.json"}[job]
    data = path.read_bytes()
    lossy = [cut, emptied] + ([without_lines] * 2 if job == "few" else [])
    kinds = [*lossy, flipped, with_bytes, overwritten] + ([line_twice, lines_exchanged] if job == "few"
                                                          else [])
    what, changed = damage(case.chance, data, kinds)
    path.write_bytes(changed)
    case.say(f"{job}: {path.name}, {what}")
    # The id of a dictionary is that of its words: counts may change, and the line's end is no word's.
    loses = what in [kind.__name__ for kind in lossy]
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


# ------------------------------------------------------------- disturbed makes

class Make:
    """A running make, in a session of its own, with all that it starts."""

    def __init__(self, case, *words, out=None, before=(), **settings):
        self.log = open(case.folder / f"log-{time.monotonic()}", "w+b")
        self.argv = [*before, *case.campaign.make(out or case.out, *words, **settings)]
        self.process = subprocess.Popen(self.argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, start_new_session=True)
        self.run = Run([["make"]])

    def processes(self):
        """Of its session, those that live."""
        return sorted(process for process, (state, _, _, session, *_) in surroundings.processes()
                      if session == str(self.process.pid) and state != "Z")

    def end(self):
        """Waits for it, and for what it has left running; a Run, as of a pipeline."""
        deadline = time.monotonic() + 2 * PATIENCE
        self.run.hung = not ended(self.process, deadline)
        while not self.run.hung and self.processes():
            self.run.hung = time.monotonic() > deadline
            time.sleep(0.02)
        surroundings.kill(self.processes())
        self.process.wait(PATIENCE)
        self.log.seek(0)
        self.run.messages = [self.log.read().decode(errors="replace")]
        self.log.close()
        self.run.statuses = [self.process.returncode]
        if self.run.statuses[0] > 0 and re.search(r"Segmentation|Bus error|Aborted|Floating point",
                                                  self.run.messages[0]):
            raise Bad("crashed", f"{self.run}")
        return self.run


def made(case, words):
    """What an undisturbed make of these leaves."""
    return tree(case.campaign.place / ("make" if not words else "make-tables") / "results")


def make(case, *words, **settings):
    run = Make(case, *words, **settings).end()
    check_ends(run)
    if run.statuses[0]:
        raise Bad("silent", f"an undisturbed make fails after the disturbed one: {run}")
    return run


def repaired(case, words, outcome):
    """A further make, undisturbed, gives the results of an undisturbed one."""
    make(case, *words)
    wanted, found = made(case, words), tree(case.out)
    wrong = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if wrong:
        raise Bad("silent", f"a further make leaves what is not right: {wrong}")
    return outcome


def killed(case, words):
    """One process of it, or all, get a signal; perhaps the next make does not wait for what still runs."""
    number = case.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
                                 signal.SIGPIPE])
    seconds = case.campaign.facts["seconds"]["make" if not words else "make-tables"]
    moment, all_of_them = case.chance.uniform(0, seconds), case.chance.random() < 0.3
    waits = case.chance.random() < 0.5
    case.say(f"{number.name} to", "all" if all_of_them else "one process", f"after {moment:.3f} s;",
             "" if waits else "the next does not wait")
    running = Make(case, *words, *case.chance.choice([[], ["-j2"]]))
    time.sleep(moment)
    processes = running.processes()
    aimed = processes if all_of_them else [case.chance.choice(processes)] if processes else []
    for process in aimed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
            running.run.sent[0].add(number)
    if not waits:
        ended(running.process, time.monotonic() + 2 * PATIENCE)
        with contextlib.suppress(Bad):  # of the next, which may find the folder in use
            Make(case, *words).end()
    run = running.end()
    wanted = made(case, words)
    outcome = judge(run, tree(case.out), wanted)
    return repaired(case, words, outcome)


def damaged_result(case, words):
    """A file of OUT is cut, emptied, deleted, edited or overwritten between two makes."""
    make(case, *words)
    files = sorted(path for path in case.out.rglob("*") if path.is_file())
    path = case.chance.choice(files)
    data, status = path.read_bytes(), path.stat()
    what, changed = damage(case.chance, data or b"\n", [cut, emptied, flipped, overwritten, left_out])
    is_deleted = case.chance.random() < 0.2
    if is_deleted:
        path.unlink()
    else:
        path.write_bytes(changed)
        if case.chance.random() < 0.5:  # as rsync -t and cp -p leave it
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    case.say(path.relative_to(case.out), "deleted" if is_deleted else what)
    return repaired(case, words, "right")


def edited_input(case, words):
    """An input is another one during a run, and what it was again afterwards, with its old time."""
    place = copied(case, case.campaign.place / "in")
    path = place / case.chance.choice(["train.txt", "valid.txt", "model/model.safetensors", "model/dict.txt"])
    settings = {"MODEL": place / "model", "TEXT": place / "train.txt", "VALID": place / "valid.txt"}
    data, status = path.read_bytes(), path.stat()
    if path.suffix == ".txt":
        other = lines_exchanged(case.chance, data)
    else:
        other = data[:-400] + bytes(400)
    moment = case.chance.uniform(0, 1) * case.campaign.facts["seconds"]["make-tables"]
    case.say(f"{path.name} edited after {moment:.3f} s")
    wanted = case.folder / "wanted"
    make(case, *words, out=wanted / "results", **settings)
    running = Make(case, *words, **settings)
    time.sleep(moment)
    path.write_bytes(other)
    check_ends(running.end())
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    make(case, *words, **settings)
    if tree(case.out) != tree(wanted / "results"):
        raise Bad("silent", "results of the edited input stand as those of the other")
    return "right"


def other_times(case, words):
    """Results were made of another text, or with other options, and their times are in the future; or a clock
    was wrong when the inputs came."""
    text = case.folder / "train.txt"
    source = case.campaign.inputs("triggers")["train"]
    text.write_bytes(lines_exchanged(case.chance, source.read_bytes()))
    settings = case.chance.choice([{}, OTHER])
    make(case, *words, text=text, **settings)
    ahead = time.time() + case.chance.choice([3600, 86400 * 400])
    of_inputs = case.chance.random() < 0.3
    for path in [text] if of_inputs else case.out.rglob("*"):
        os.utime(path, (ahead, ahead))
    if of_inputs:
        make(case, *words, text=text, **settings)
    shutil.copyfile(source, text)
    if case.chance.random() < 0.5:
        os.utime(text, (0, 0))
    case.say("times of", "the text" if of_inputs else "the results", "in the future, then another text")
    make(case, *words, text=text)
    if tree(case.out).keys() != made(case, words).keys():
        raise Bad("silent", "files are missing, or too many")
    other = [name for name, data in made(case, words).items()
             if tree(case.out)[name] != data and name not in ("options.csv",)
             and not name.startswith("report/")]
    if other:
        raise Bad("silent", f"results of another text or options stand: {other}")
    return "right"


def denied(case, words):
    """An input cannot be read, or OUT not be written, by one who may not do everything."""
    place = copied(case, case.campaign.place / "in")
    what = case.chance.choice(["train.txt", "model/model.safetensors", "model/config.json", "model/dict.txt",
                               "OUT", "a result"])
    if what == "a result":
        make(case, *words)
        what = case.chance.choice(sorted(tree(case.out)))
        path = case.out / what
        path.write_bytes(path.read_bytes()[:1])
    else:
        path = case.out if what == "OUT" else place / what
    path.chmod(0o555 if path.is_dir() else 0)
    case.say("no permission for", what)
    before = () if os.getuid() else (
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
    settings = {"MODEL": place / "model", "TEXT": place / "train.txt", "VALID": place / "valid.txt"}
    try:
        run = Make(case, *words, before=before, **settings).end()
    finally:
        path.chmod(0o755 if path.is_dir() else 0o644)
    wanted = {name: data for name, data in made(case, words).items() if name != "options.csv"}
    after = {name: data for name, data in tree(case.out).items() if name != "options.csv" and name != what}
    outcome = judge(run, after,
                    {**wanted, **{what: after.get(what)}} if what in wanted and run.statuses[0] else wanted)
    return repaired(case, words, outcome)


DISTURBANCES = [killed, killed, damaged_result, damaged_result, edited_input, other_times, denied]


@fault_class("disturbed makes")
def disturbed_makes(case):
    how = case.chance.choice(DISTURBANCES)
    words = () if how in (killed, damaged_result) and case.chance.random() < 0.25 else TABLES
    case.say(how.__name__ + ("" if words else ", with figures and report"))
    return how(case, words)


# ------------------------------------------------------------ concurrent makes

@fault_class("concurrent makes")
def concurrent_makes(case):
    """Several in one OUT at the same time, with the same options or others, of which one may be killed; or
    two of a script."""
    if case.chance.random() < 0.2:
        return concurrent_scripts(case)
    words = () if case.chance.random() < 0.1 else TABLES
    differ, is_killed = not words or case.chance.random() < 0.5, case.chance.random() < 0.3
    seconds = case.campaign.facts["seconds"]["make-tables"]
    case.say("two makes,", "other options," if differ and words else "same options,",
             "one killed" if is_killed else "")
    second_settings = OTHER if differ and words else {}
    first = Make(case, *words)
    time.sleep(case.chance.uniform(0, seconds))
    second = Make(case, *words, **second_settings)
    if is_killed:
        time.sleep(case.chance.uniform(0, seconds))
        for process in first.processes() if case.chance.random() < 0.5 else [first.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        first.run.sent[0].add(signal.SIGKILL)
    runs = [running.end() for running in (first, second)]
    for run in runs:
        check_ends(run)
        if run.statuses[0] > 0 and not has_spoken(run.messages):
            raise Bad("mute", f"{run}")
    found, others = tree(case.out), tree(case.campaign.place / "make-other" / "results")
    complete = [made(case, words)] * (runs[0].statuses[0] == 0) \
        + [others if second_settings else made(case, words)] * (runs[1].statuses[0] == 0)
    if complete and found not in complete:
        expected = complete[-1]
        wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        raise Bad("silent", f"status 0, and the folder is of neither: {wrong}; {runs[0]}; {runs[1]}")
    return repaired(case, words, "right" if not any(run.statuses[0] for run in runs) else "refused")


def concurrent_scripts(case):
    name = case.chance.choice(list(SCRIPTS))
    case.say(f"two of {name}.sh")
    shutil.copytree(case.campaign.made, case.out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    runs = [None, None]

    def run(i, delay):
        time.sleep(delay)
        runs[i] = run_script(case, name, case.out)

    threads = [threading.Thread(target=run, args=(i, delay))
               for i, delay in enumerate((0, case.chance.uniform(0, 0.1)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = tree(case.campaign.made)
    outcomes = [judge(run, tree(case.out), wanted) for run in runs]
    return max(outcomes, key=["right", "killed", "refused"].index)
