"""The classes of faults of processes and of what they run on: signals, failing calls, limits, full
disks, broken pipes, permissions.  fault_damage.py has those of inputs, fault_makes.py those of makes.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import signal
import subprocess

import surroundings
from fault_jobs import JOBS, SCRIPTS
from faults import PATIENCE, WITHOUT_RIGHTS, Bad, fault_class, judge, signal_each, tree

# --------------------------------------------------------------------- signals

SIGNALS = [signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE,
           signal.SIGQUIT]


@fault_class("signals")
def signals(case):
    """To a process of a pipeline, or to all of them, as a terminal sends them; or to one of a script."""
    if case.chance.random() < 0.25:
        return signalled_script(case)
    job, number = case.chance.choice(list(JOBS)), case.chance.choice(SIGNALS)
    moment, count = case.moment(job), len(JOBS[job])
    aimed = range(count) if case.chance.random() < 0.2 else [case.chance.randrange(count)]
    case.say(job, number.name, "to", *(JOBS[job][i][0] for i in aimed), f"after {moment:.4f} s")
    events = [(moment, i, number) for i in aimed]
    if number == signal.SIGSTOP:
        pause = case.chance.uniform(0.05, 0.5)
        events += [(moment + pause, i, signal.SIGCONT) for i in aimed]
    return case.pipeline(job, events=events)


def signalled_script(case):
    """To the shell, or to a tool that it runs, which is known by the folder among its arguments."""
    name, number = case.chance.choice(list(SCRIPTS)), case.chance.choice(SIGNALS)
    moment, pause = case.moment(f"{name}.sh"), case.chance.uniform(0.05, 0.5)
    there, aimed = case.campaign.found(name, case.out), []
    case.say(f"{name}.sh: {number.name} to one process after {moment:.4f} s")

    def send(run):
        with_folder = [pid for pid in surroundings.descendants(os.getpid())
                       if str(case.out).encode() in arguments_of(pid)]
        aimed[:] = case.chance.sample(with_folder, min(1, len(with_folder)))
        signal_each(aimed, number, run)

    def go_on(run):
        if number == signal.SIGSTOP:
            signal_each(aimed, signal.SIGCONT, run)

    run = case.campaign.script(name, case.out, events=[(moment, send), (moment + pause, go_on)])
    if run.statuses == [1] and number in run.sent[0]:
        run.statuses = [-number]  # a shell whose work was interrupted ends so, and need not say it
    return judge(run, tree(case.out), {**case.expected(f"{name}.sh"), **there})


def arguments_of(pid):
    try:
        return pathlib.Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:  # ended just now
        return b""


# --------------------------------------------------------------- failing calls

REASONS = {
    "read": [errno.EIO, errno.EINTR], "write": [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EDQUOT],
    "close": [errno.EIO, errno.ENOSPC], "fsync": [errno.EIO, errno.ENOSPC],
    "rename": [errno.ENOSPC, errno.EACCES, errno.EIO], "malloc": [errno.ENOMEM],
    "mmap": [errno.ENOMEM, errno.ENODEV], "open": [errno.EMFILE, errno.EACCES, errno.EIO],
    "stat": [errno.EIO, errno.EACCES], "pthread_create": [errno.EAGAIN], "fork": [errno.EAGAIN, errno.ENOMEM],
    "pipe": [errno.EMFILE]}


@fault_class("failing calls")
def failing_calls(case):
    """The n-th read, write, ... of one process fails, once or from then on, or is cut short."""
    job = case.chance.choice(list(JOBS))
    stage = case.chance.randrange(len(JOBS[job]))
    call, what = failing_call(case.chance, case.campaign.facts["counts"][f"{job}/{stage}"])
    case.say(f"{job}: {JOBS[job][stage][0]}'s {what}")
    return case.pipeline(job, variables={stage: {**case.campaign.failing(), "FAILING_CALL": call}})


def failing_call(chance, counts):
    """One of a process that makes so many of each: for failing_calls.c, and in words."""
    call = chance.choice([name for name in REASONS if counts.get(name)])
    number, reason = chance.randint(1, counts[call]), chance.choice(REASONS[call])
    # A call that is interrupted is made again, as often as it takes, so that is never for ever.
    mode = chance.choice(["once", "once"] + ["forever"] * (reason != errno.EINTR)
                         + ["short"] * (call in ("read", "write")))
    return (f"{call} {number} {reason} {mode}",
            f"{call} {number} of {counts[call]} fails {mode}: {os.strerror(reason)}")


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
def disk(place, size, files):
    """A file system of that many bytes and files there, in this process's own namespace."""
    options = f"size={max(1, size // 4096) * 4096},nr_inodes={files},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True, timeout=PATIENCE)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True, timeout=PATIENCE)



def fill(folder):
    """Takes all room that is left, by a file that is none of the results."""
    with contextlib.suppress(OSError), open(folder / ".filling", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


@fault_class("disk")
def full_disk(case):
    """Results go to a disk that is too small for them, or has just enough room, or is filled by something
    else meanwhile; from a pipeline or a script."""
    campaign, is_script = case.campaign, case.chance.random() < 0.5
    if not campaign.may_mount:
        return "skipped"
    name = case.chance.choice(list(SCRIPTS if is_script else JOBS))
    label = name + (".sh" if is_script else "")
    expected, events = case.expected(label), []
    size = 4096 * (4 + sum(-(-len(data) // 4096) for data in expected.values()))
    inodes = 1000
    how = case.chance.choice(["small", "small", "few files", "filled"])
    if how == "small":
        size = 4096 * case.chance.randint(1, 2 + size // 4096)
    elif how == "few files":
        inodes = 2 + case.chance.randint(0, len(expected) + 4)
    else:
        size += 8 << 20
        events = [(case.moment(label), lambda run: fill(case.out))]
    case.say(f"{label} on a disk of {size} bytes and {inodes} files", "that is filled" if events else "")
    with disk(case.out, size, inodes):
        try:
            there = campaign.found(name, case.out) if is_script else {}
        except OSError:
            return "skipped"  # not even what the script reads has room
        run = campaign.script(name, case.out, events=events) if is_script \
            else campaign.run(name, case.out, events=events)
        return judge(run, tree(case.out), {**expected, **there})


# ----------------------------------------------------------------------- pipes

@fault_class("pipes")
def pipes(case):
    """Between two stages the pipe ends early, or gives a few bytes at a time; or nobody reads what the last
    one writes to its standard output."""
    how = case.chance.choice(["ends", "ends", "trickles", "is not read"])
    if how == "is not read":
        return unread(case)
    job = case.chance.choice([job for job in JOBS if len(JOBS[job]) > 1])
    stage = case.chance.randrange(1, len(JOBS[job]))
    length = (case.campaign.place / "between" / job / str(stage - 1)).stat().st_size
    number = case.chance.randrange(length) if how == "ends" else case.chance.choice([1, 7, 100, 5000])
    between = ["/usr/bin/head", "-c", str(number)] if how == "ends" \
        else ["/bin/dd", f"bs={max(number, length // 20000)}", "status=none"]
    case.say(f"{job}: the pipe into {JOBS[job][stage][0]} {how}, {number} bytes")
    return case.pipeline(job, stages=[*JOBS[job][:stage], between, *JOBS[job][stage:]])


def unread(case):
    """The end is quiet, as it is in every pipeline whose reader has gone."""
    of_folders = "report-pages", "import-model"
    job = case.chance.choice([job for job, stages in JOBS.items()
                              if "-o" in stages[-1] and stages[-1][0] not in of_folders])
    stages = [list(stage) for stage in JOBS[job]]
    at = stages[-1].index("-o")
    del stages[-1][at:at + 2]
    case.say(f"{job}: {stages[-1][0]}'s standard output is not read")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone:
        run = case.campaign.run(job, case.out, stages, last=gone)
    if run.statuses[-1] == 0:
        raise Bad("silent", f"status 0, and nothing was read: {run}")
    if any(run.messages):
        raise Bad("mute", f"a message where there is to be none: {run}")
    if tree(case.out):
        raise Bad("silent", f"outputs beside one that was not written: {sorted(tree(case.out))}")
    return "refused"


# ----------------------------------------------------------------- permissions

@fault_class("permissions")
def permissions(case):
    """An input may not be read, or the folder of the results not be written."""
    job = case.chance.choice(list(JOBS))
    place = case.folder / "in"
    shutil.copytree(case.campaign.place / "in", place)
    inputs = {name: place / path.relative_to(case.campaign.place / "in")
              for name, path in case.campaign.inputs(job).items()
              if path.is_relative_to(case.campaign.place / "in")}
    used = [inputs[name] for name in inputs
            if any(f"{{{name}}}" in word for stage in JOBS[job] for word in stage)]
    files = [file for path in used for file in ([path] if path.is_file() else sorted(path.iterdir()))]
    path = case.chance.choice([*files, case.out, case.out])
    path.chmod(0o555 if path.is_dir() else 0)
    case.say(f"{job}: no permission for {path.relative_to(case.folder)}")
    try:
        return case.pipeline(job, before=dict.fromkeys(range(len(JOBS[job])), WITHOUT_RIGHTS), **inputs)
    finally:
        path.chmod(0o755 if path.is_dir() else 0o644)
