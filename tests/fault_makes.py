"""The classes of faults of makes, which run the scripts of pipelines/ in a folder of results."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import surroundings
from fault_damage import copied, cut, damage, emptied, flipped, left_out, lines_exchanged, overwritten
from fault_jobs import FORMS_OF_MAKES, MAKES, OTHER_SETTINGS, SCRIPTS
from fault_processes import disk, failing_call, fill
from faults import (PATIENCE, ROOT, WITHOUT_RIGHTS, Bad, Run, check_ends, ended, fault_class, has_spoken,
                    judge, patience, signal_each, tree)

# ------------------------------------------------------------- disturbed makes

class Make:
    """A running make of MAKES, in a session of its own, with all that it starts. may_crash: a program that is
    not the project's may end by a signal, which a message of the project's tells then."""

    def __init__(self, case, name, out=None, before=(), jobs=(), variables=(), may_crash=False, **settings):
        self.log = open(case.folder / f"log-{time.monotonic()}", "w+b")
        if "SHARDS" in MAKES[name][1]:
            settings = {"TRIES": case.chance.randint(1, 3), **settings}
        self.argv = [*before, *case.campaign.make(out or case.out, name, **settings), *jobs]
        self.process = subprocess.Popen(self.argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, start_new_session=True,
                                        env={**os.environ, **dict(variables)})
        self.run, self.may_crash = Run([["make"]]), may_crash

    def processes(self):
        """Of its session, those that live."""
        return sorted(process for process, (state, _, _, session, *_) in surroundings.processes()
                      if session == str(self.process.pid) and state != "Z")

    def end(self):
        """Waits for it, and for what it has left running; a Run, as of a pipeline."""
        deadline = time.monotonic() + 2 * patience()
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
        crashes = r"Segmentation|Bus error|Aborted|Floating point"
        if self.run.statuses[0] > 0 and not self.may_crash and re.search(crashes, self.run.messages[0]):
            raise Bad("crashed", f"{self.run}")
        return self.run


def make(case, name, **settings):
    run = Make(case, name, **settings).end()
    check_ends(run)
    if run.statuses[0]:
        raise Bad("silent", f"an undisturbed make fails after the disturbed one: {run}")
    return run


def judged(case, name, run, before=None):
    """The outcome of a make that was disturbed."""
    return judge(run, tree(case.out), case.made(name), before, passing=case.shards(name))


def repaired(case, name, outcome):
    """A further make, undisturbed, gives the results of an undisturbed one: of what was divided, perhaps in
    one run, and the other way round."""
    further = case.chance.choice(FORMS_OF_MAKES) if name in FORMS_OF_MAKES else name
    if further != name:
        case.say(f"then make {further}")
    make(case, further)
    wanted, found = case.made(name), tree(case.out)
    wrong = sorted(path for path in {*wanted, *found} if wanted.get(path) != found.get(path))
    if wrong:
        raise Bad("silent", f"a further make leaves what is not right: {wrong}")
    left = sorted(str(path.relative_to(case.out)) for path in case.out.rglob("*") if ".part-" in path.name)
    if left:
        raise Bad("silent", f"a further make leaves unfinished files: {left}")
    return outcome


def killed(case, name):
    """One process of it, or all, get a signal; perhaps the next make does not wait for what still runs."""
    number = case.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
                                 signal.SIGPIPE, signal.SIGSTOP])
    moment, all_of_them = case.moment(f"make {name}"), case.chance.random() < 0.3
    waits, pause = case.chance.random() < 0.5, case.chance.uniform(0.05, 0.5)
    case.say(f"{number.name} to", "all" if all_of_them else "one process", f"after {moment:.3f} s;",
             "" if waits else "the next does not wait")
    running = Make(case, name, jobs=case.chance.choice([[], ["-j2"]]))
    time.sleep(moment)
    processes = running.processes()
    aimed = processes if all_of_them else [case.chance.choice(processes)] if processes else []
    signal_each(aimed, number, running.run)
    if number == signal.SIGSTOP:
        time.sleep(pause)
        signal_each(aimed, signal.SIGCONT, running.run)
    if not waits:
        ended(running.process, time.monotonic() + 2 * patience())
        with contextlib.suppress(Bad):  # of the next, which may find the folder in use
            Make(case, name).end()
    return repaired(case, name, judged(case, name, running.end()))


def damaged_result(case, name):
    """A file of OUT is cut, emptied, deleted, edited or overwritten between two makes; of shards also one
    that is there until they are merged, and so is left by a make that is killed."""
    files = []
    if name == "shards" and case.chance.random() < 0.8:
        moment = case.moment(f"make {name}")
        case.say(f"killed after {moment:.3f} s, then")
        running = Make(case, name)
        time.sleep(moment)
        signal_each(running.processes(), signal.SIGKILL, running.run)
        running.end()
        files = sorted(path for path in case.out.rglob("*-of-*") if path.is_file())
    else:
        make(case, name)
    files = files or sorted(path for path in case.out.rglob("*") if path.is_file())
    if not files:
        return repaired(case, name, "killed")
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
    return repaired(case, name, "right")


def edited_input(case, name):
    """An input is another one during a run, and what it was again afterwards, with its old time."""
    place = copied(case, case.campaign.place / "in")
    path = place / case.chance.choice(["train.txt", "valid.txt", "model/model.safetensors", "model/dict.txt"])
    settings = {"MODEL": place / "model", "TEXT": place / "train.txt", "VALID": place / "valid.txt"}
    data, status = path.read_bytes(), path.stat()
    if path.suffix == ".txt":
        other = lines_exchanged(case.chance, data)
    else:
        other = data[:-400] + bytes(400)
    moment = case.moment(f"make {name}")
    case.say(f"{path.name} edited after {moment:.3f} s")
    wanted = case.folder / "wanted"
    make(case, name, out=wanted / "results", **settings)
    running = Make(case, name, **settings)
    time.sleep(moment)
    path.write_bytes(other)
    check_ends(running.end())
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    make(case, name, **settings)
    if tree(case.out) != tree(wanted / "results"):
        raise Bad("silent", "results of the edited input stand as those of the other")
    return "right"


def other_times(case, name):
    """Results were made of another text, or with other options, and their times are in the future; or a clock
    was wrong when the inputs came."""
    text = case.folder / "train.txt"
    source = case.campaign.inputs("triggers")["train"]
    text.write_bytes(lines_exchanged(case.chance, source.read_bytes()))
    settings = case.chance.choice([{}, OTHER_SETTINGS])
    make(case, name, TEXT=text, **settings)
    ahead = time.time() + case.chance.choice([3600, 86400 * 400])
    of_inputs = case.chance.random() < 0.3
    for path in [text] if of_inputs else case.out.rglob("*"):
        os.utime(path, (ahead, ahead))
    if of_inputs:
        make(case, name, TEXT=text, **settings)
    shutil.copyfile(source, text)
    if case.chance.random() < 0.5:
        os.utime(text, (0, 0))
    case.say("times of", "the text" if of_inputs else "the results", "in the future, then another text")
    make(case, name, TEXT=text)
    if tree(case.out).keys() != case.made(name).keys():
        raise Bad("silent", "files are missing, or too many")
    other = [path for path, data in case.made(name).items()
             if tree(case.out)[path] != data and path not in ("options.csv",)
             and not path.startswith("report/")]
    if other:
        raise Bad("silent", f"results of another text or options stand: {other}")
    return "right"


def denied(case, name):
    """An input cannot be read, or OUT not be written, by one who may not do everything."""
    place = copied(case, case.campaign.place / "in")
    what = case.chance.choice(["train.txt", "model/model.safetensors", "model/config.json", "model/dict.txt",
                               "OUT", "a result"])
    if what == "a result":
        make(case, name)
        what = case.chance.choice(sorted(tree(case.out)))
        path = case.out / what
        path.write_bytes(path.read_bytes()[:1])
    else:
        path = case.out if what == "OUT" else place / what
    path.chmod(0o555 if path.is_dir() else 0)
    case.say("no permission for", what)
    settings = {"MODEL": place / "model", "TEXT": place / "train.txt", "VALID": place / "valid.txt"}
    try:
        run = Make(case, name, before=WITHOUT_RIGHTS, **settings).end()
    finally:
        path.chmod(0o755 if path.is_dir() else 0o644)
    wanted = {path: data for path, data in case.made(name).items() if path != "options.csv"}
    after = {path: data for path, data in tree(case.out).items() if path not in ("options.csv", what)}
    outcome = judge(run, after,
                    {**wanted, **{what: after.get(what)}} if what in wanted and run.statuses[0] else wanted,
                    passing=case.shards(name))
    return repaired(case, name, outcome)


def full(case, name):
    """OUT is on a disk with too little room, or that something else fills meanwhile; then there is room."""
    if not case.campaign.may_mount:
        return "skipped"
    size = sum(1 + -(-path.stat().st_size // 4096) for path in case.campaign.makes(name).rglob("*")) + 4
    is_filled, moment = case.chance.random() < 0.5, case.moment(f"make {name}")
    pages = 4 * size if is_filled else case.chance.randint(4, 2 * size)
    case.say(f"a disk of {pages} pages", f"that is filled after {moment:.3f} s" if is_filled else "")
    with disk(case.out, 4096 * pages, 10000):
        running = Make(case, name)
        if is_filled:
            time.sleep(moment)
            fill(case.out)
        outcome = judged(case, name, running.end())
        (case.out / ".filling").unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=100m", case.out], check=True, timeout=PATIENCE)
        return repaired(case, name, outcome)


DISTURBANCES = [killed, killed, damaged_result, damaged_result, edited_input, other_times, denied, full]


@fault_class("disturbed makes")
def disturbed_makes(case):
    how = case.chance.choice(DISTURBANCES)
    name = case.chance.choice(["all", "gated tables", "tables", "shards", "shards"]
                              if how in (killed, damaged_result, full) else ["tables", "tables", "shards"])
    case.say(f"{how.__name__}, make {name}")
    return how(case, name)


# ------------------------------------------------------------ concurrent makes

PAIRS = [("all", "all"), *[("tables", "tables")] * 4, *[("tables", "other tables")] * 4,
         ("gated tables", "gated tables"), ("tables", "gated tables"),
         *[("shards", "shards"), ("shards", "whole"), ("whole", "shards"), ("shards", "other whole")] * 2]


@fault_class("concurrent makes")
def concurrent_makes(case):
    """Several in one OUT at the same time, with the same options or others, of which one may be killed; or
    two of a script."""
    if case.chance.random() < 0.2:
        return concurrent_scripts(case)
    names, is_killed = case.chance.choice(PAIRS), case.chance.random() < 0.3
    case.say("make", " beside ".join(names), "one killed" if is_killed else "")
    first = Make(case, names[0])
    time.sleep(case.moment(f"make {names[0]}"))
    second = Make(case, names[1])
    if is_killed:
        time.sleep(case.moment(f"make {names[0]}"))
        signal_each(first.processes() if case.chance.random() < 0.5 else [first.process.pid],
                   signal.SIGKILL, first.run)
        first.run.sent[0].add(signal.SIGKILL)
    runs = [running.end() for running in (first, second)]
    for run in runs:
        check_ends(run)
        if run.statuses[0] > 0 and not has_spoken(run.messages):
            raise Bad("mute", f"{run}")
    found = tree(case.out)
    complete = [case.made(name) for name, run in zip(names, runs) if run.statuses[0] == 0]
    if complete and found not in complete:
        expected = complete[-1]
        wrong = sorted(path for path in {*expected, *found} if expected.get(path) != found.get(path))
        raise Bad("silent", f"status 0, and the folder is of neither: {wrong}; {runs[0]}; {runs[1]}")
    return repaired(case, names[0], "right" if not any(run.statuses[0] for run in runs) else "refused")


def concurrent_scripts(case):
    name, runs = case.chance.choice(list(SCRIPTS)), [None, None]
    case.say(f"two of {name}.sh")
    case.campaign.found(name, case.out)

    def run(i, delay):
        time.sleep(delay)
        runs[i] = case.campaign.script(name, case.out)

    threads = [threading.Thread(target=run, args=(i, delay))
               for i, delay in enumerate((0, case.chance.uniform(0, 0.1)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = case.expected(f"{name}.sh")
    outcomes = [judge(run, tree(case.out), wanted) for run in runs]
    return max(outcomes, key=["right", "killed", "refused"].index)


# ------------------------------------------------------ failing calls in makes

# Not disturbed: make and the shells, of whose own calls (not those of what they start) scripts cannot tell
# which failed; and what draws, which does not tell of what it could not write, so that it writes to a pipe.
SPARED = ("make", "sh", "gnuplot")


def earlier(case, name):
    """In two of three cases something is in OUT before: results, or shards, of other options, and perhaps of
    another model; all of its files."""
    what = case.chance.choice(["nothing", "results", "shards"])
    if what == "results":
        made = {"shards": "whole", "tables": "gated tables"}.get(name, name)
        make(case, made, **OTHER_SETTINGS)
    elif what == "shards":
        shutil.copytree(case.campaign.shards("other") / "shards", case.out / "shards")
    if what != "nothing":
        case.say(what, "of other options were there")
    return tree(case.out)


def says_why(run):
    """Not only make, which says which step failed."""
    return has_spoken([re.sub(r"^make(\[\d+\])?: .*$", "", message, flags=re.MULTILINE)
                       for message in run.messages])


@fault_class("failing calls in makes")
def failing_calls_in_makes(case):
    """The n-th read, write, ... fails in one of the processes that a make starts, or in all of its program
    from one on: a tool, or what scripts run, such as mv, sort or awk."""
    name = case.chance.choice(["shards", "gated tables", "all", "whole", "shards", "tables"])
    before, starts = earlier(case, name), case.campaign.facts["starts"][name]
    programs = {program: [i for i, counts in enumerate(found) if counts]
                for program, found in starts.items() if program not in SPARED and any(found)}
    ours = [program for program in programs if (case.campaign.bin / program).exists()]
    others = [program for program in programs if program not in ours]
    program = case.chance.choice(case.chance.choice([ours, others]))
    number, how = case.chance.choice(programs[program]), case.chance.choice(["only", "only", "only", "later"])
    call, what = failing_call(case.chance, starts[program][number])
    case.say(f"make {name}: {program} {number + 1} of {len(starts[program])}",
             "and those after it:" if how == "later" else "alone:", what)
    return failing_make(case, name, f"{program} {number + 1} {how}", call, before, program in others)


def failing_make(case, name, process, call, before, may_crash=False):
    """process and call are FAILING_PROCESS and FAILING_CALL of failing_calls.c."""
    counted, said = case.folder / "starts", case.folder / "said"
    counted.mkdir()
    run = Make(case, name, may_crash=may_crash, jobs=case.chance.choice([[], ["-j2"]]),
               variables={**case.campaign.failing(counted), "FAILING_PROCESS": process,
                          "FAILING_CALL": call, "FAILING_SAID": str(said)}).end()
    if not said.exists():
        case.say("which was not made")
    outcome = judged(case, name, run, before)
    if outcome == "refused" and not says_why(run):
        raise Bad("mute", f"only make says that it failed: {run}")
    return repaired(case, name, outcome)
