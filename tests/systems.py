"""The README's two commands on bare systems: systems.py [--commands run,test] NAME...

A bare system is a release as debootstrap makes it, with make and nothing else. This
tree is copied into it, and the commands run there, in a chroot.  Its tables are compared
with this machine's, in out/brown-lm-quick (compare_tables says how).  arm64 is another
thing where this machine is x86-64: the tools are cross-compiled against Debian's arm64
libraries, run through qemu-user in a small pipeline, and its numbers are compared with
those of this machine's tools (compare_pipelines); so are those of a model of bfloat16 weights,
with --products, on an old and a new processor.  container: what the Dockerfile runs, in bare
systems in the place of its images, and an example in what comes of it.

MIRROR_DEBIAN and MIRROR_UBUNTU say where the releases come from, else this machine's apt does,
else debootstrap.  What cannot be had here (no root, no mirror) is said, and is no failure.
"""

import argparse
import collections
import contextlib
import csv
import dataclasses
import fcntl
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "systems"
TREE = "root/ffkv"  # where a system has the copy of this tree

# A system that is being tried does not try others.
INSIDE = "FFKV_INSIDE_SYSTEM"


@dataclasses.dataclass(frozen=True)
class Release:
    """components: of the archive.  within: another release, whose debootstrap and keyring
    make this one, since not every release has the keys of another distribution."""
    distribution: str
    suite: str
    components: str = "main"
    within: str = ""


RELEASES = {
    "debian-12": Release("Debian", "bookworm"),
    "debian-13": Release("Debian", "trixie"),
    "ubuntu-24.04": Release("Ubuntu", "noble", "main,universe", within="debian-13"),
}
NAMES = [*RELEASES, "arm64", "container"]


class Unavailable(Exception):
    """Why a system cannot be tried here."""


class Failed(Exception):
    """What went wrong in a system."""


def execute(argv, log, timeout, env=None):
    """Runs a command, its output at the end of a file; it and its children end after the timeout."""
    with open(log, "ab") as output:
        process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True, env=env)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {timeout} s: {log}") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def output_of(*argv):
    """Standard output of a command of this machine; empty where it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


# ------------------------------------------------------------- this machine's settings

def mirror(distribution):
    """The mirror of a distribution, or "", which leaves it to debootstrap."""
    given = os.environ.get(f"MIRROR_{distribution.upper()}")
    sites = output_of("apt-get", "indextargets", "--format", "$(LABEL) $(SITE)",
                      "Created-By: Packages").split("\n")
    return given or next((site.split()[1] for site in sites if site.startswith(f"{distribution} ")), "")


def copy_settings(system):
    """How this machine reaches its mirror and registries, for the system: names, certificates, proxies."""
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/npmrc",
                 "/usr/local/share/ca-certificates"):
        copy(pathlib.Path(name), system / name[1:])
    for name in (".npmrc", ".config/pip/pip.conf", ".pip/pip.conf"):
        copy(pathlib.Path.home() / name, system / "root" / name)
    lines = [line for line in output_of("apt-config", "dump").splitlines()
             if line.startswith(("Acquire::http::", "Acquire::https::", "Acquire::Check-",
                                 "Acquire::Retries"))]
    (system / "etc/apt/apt.conf.d/99this-machine").write_text("\n".join(lines) + "\n")
    (system / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")


def copy(source, target):
    """A file or folder, where there is one."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy(source, target)


def environment():
    """The bare one of a new machine, but for what says how to reach the network."""
    passed = {name: value for name, value in os.environ.items()
              if name.lower().endswith("_proxy")
              or name.lower().startswith(("pip_", "npm_config_", "openblas_"))
              or "CERT" in name or "CA_BUNDLE" in name}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
            INSIDE: "1", **passed}


# ------------------------------------------------------------- bare systems

def needs_root():
    if os.environ.get(INSIDE):
        raise Unavailable("this is a system that is being tried")
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise Unavailable("this is not root")


def bare(name):
    """A tar archive of a release's bare system, made once."""
    needs_root()
    FOLDER.mkdir(parents=True, exist_ok=True)
    archive = FOLDER / f"{name}.tar.gz"
    with open(FOLDER / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            bootstrap(name, archive)
    return archive


def bootstrap(name, archive):
    release = RELEASES[name]
    log = FOLDER / f"{name}.debootstrap.log"
    log.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(emptied(FOLDER / f"{name}.new"))
        command = ["debootstrap",
                   "--force-check-gpg", "--variant=minbase", f"--components={release.components}",
                   "--include=make,ca-certificates", release.suite]
        if release.within:
            outer = stack.enter_context(system(release.within))
            outer.must("apt-get update && apt-get install -y --no-install-recommends debootstrap "
                       "ubuntu-keyring", log=log)
            status = outer.run([*command, "/new", *filter(None, [mirror(release.distribution)])], log=log)
            made = outer.path / "new"
        else:
            if not shutil.which("debootstrap"):
                raise Unavailable("debootstrap is not installed")
            made = target / "system"
            # debootstrap mounts /proc; in a namespace of its own nothing stays mounted when it is killed.
            apart = ["unshare", "--mount"]
            if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
                apart = []
            status = execute([*apart, *command, made, *filter(None, [mirror(release.distribution)])], log,
                             timeout=1200)
        if status:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise Unavailable(f"debootstrap cannot make it: {' '.join(last)}")
        new = target / "archive"
        subprocess.run(["tar", "-C", made, "--one-file-system", "-czf", new, "."], check=True)
        new.rename(archive)


@contextlib.contextmanager
def emptied(folder):
    """A folder that is empty at first and gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass
class System:
    """An unpacked system with this machine's settings.  path: its root.  mounts: commands see /proc and this
    machine's /dev, in a namespace of their own, so that nothing of it remains when they end."""
    name: str
    path: pathlib.Path
    mounts: bool = True

    def run(self, command, log, timeout=3600):
        """A command (a list, or text for the shell) in there; its exit status."""
        argv = ["sh", "-c", command] if isinstance(command, str) else command
        chroot = ["chroot", self.path, *argv]
        if self.mounts:
            mount = 'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && shift && exec "$@"'
            chroot = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mount, "sh",
                      self.path, *chroot]
        return execute(chroot, log, timeout, environment())

    def must(self, command, log, timeout=3600):
        if self.run(command, log, timeout):
            raise Failed(f"{command}: {log}")


@contextlib.contextmanager
def system(name, mounts=True):
    """A System of a release, gone afterwards."""
    archive = bare(name)
    for left in FOLDER.glob(f"{name}.[0-9]*"):
        if not pathlib.Path(f"/proc/{left.suffix[1:]}").exists():  # its process was killed
            shutil.rmtree(left)
    with emptied(FOLDER / f"{name}.{os.getpid()}") as path:
        if subprocess.run(["tar", "-C", path, "-xzf", archive], check=False).returncode:
            raise Unavailable(f"{archive} cannot be unpacked here")
        copy_settings(path)
        unpacked = System(name, path, mounts)
        unpacked.must("update-ca-certificates", FOLDER / f"{name}.certificates.log")
        yield unpacked


def copy_tree(system):
    """This tree as a clone has it, without what was built or fetched."""
    made = {ROOT / "build", ROOT / "out", ROOT / "data" / "corpora", ROOT / "data" / "models", ROOT / ".git"}
    shutil.copytree(ROOT, system.path / TREE, symlinks=True,
                    ignore=lambda folder, names: [name
                                                  for name in names if pathlib.Path(folder) / name in made])


# ------------------------------------------------------------- comparisons

TOLERANCE = 1e-3  # of a number in a table
COUNTS = ("keys", "live_keys", "prefixes", "triggers")
TIES = 1000  # one row of so many may differ


def compare_tables(found, expected):
    """What differs between the tables of two folders, [text].  The products of another processor
    or version of BLAS differ in the last bits, and where two things are equal up to these, another
    may come first.  So: the same files, columns and number of rows; equal texts; numbers within 0.1 %,
    or, where a row says of how many keys, prefixes or triggers, within two of these; but for one row of
    a thousand, which may be another."""
    different = []
    names = sorted(path.name for path in pathlib.Path(expected).glob("*.csv"))
    if not names:
        different.append(f"{expected} has no tables")
    if names != sorted(path.name for path in pathlib.Path(found).glob("*.csv")):
        different.append(f"not the same tables in {found} and {expected}")
        return different
    for name in names:
        rows, wanted = (list(csv.DictReader(open(pathlib.Path(folder) / name, newline="", encoding="utf-8")))
                        for folder in (found, expected))
        if len(rows) != len(wanted):
            different.append(f"{name}: {len(rows)} rows, not {len(wanted)}")
            continue
        pairs = [(row, other) for row, other in zip(rows, wanted) if not same_row(row, other)]
        if len(pairs) > len(wanted) // TIES:
            row, other = pairs[0]
            different.append(
                f"{name}: {len(pairs)} of {len(wanted)} rows differ; the first: {row}, not {other}")
    return different


def same_row(row, other):
    if list(row) != list(other):
        return False
    counts = [float(other[name]) for name in COUNTS if other.get(name)]
    share = 2 / min(counts) if counts and min(counts) > 0 else 0
    return all(same_cell(row[name], other[name], share) for name in other)


def same_cell(cell, other, share):
    if cell == other:
        return True
    try:
        return abs(float(cell) - float(other)) <= max(TOLERANCE * abs(float(other)), share)
    except ValueError:
        return False


EXACTNESS = 1e-5  # of what is computed alike on another processor


def compare_pipelines(found, expected):
    """What differs between the records of two streams, [text], as compare_records."""
    import streams

    found, expected = streams.read(found), streams.read(expected)
    of_triggers = [name
                   for name, array in expected.header["arrays"].items() if array["shape"] == ["triggers"]]
    return compare_records(found.records, expected.records, of_triggers)


def compare_records(found, expected, of_triggers):
    """What differs, [text]: equal ids; numbers within 1e-5 of the largest one of that name in the same layer,
    since a sum's error goes with what is added and not with what remains.  A rank may differ by 1 or 0.1 %,
    whichever is more.  of_triggers: the members that have an element a trigger.  Triggers of a key whose
    coefficients are so close may change places, with each other or with those that were not among the
    key's triggers."""
    different = []
    if len(found) != len(expected):
        different.append(f"{len(found)} records, not {len(expected)}")
    largest = largest_numbers(expected)
    for i, (record, other) in enumerate(zip(found, expected)):
        if record.keys() != other.keys():
            different.append(f"record {i}: {sorted(record)}, not {sorted(other)}")
            continue
        exactness = {name: EXACTNESS * largest[other.get("layer"), name] for name in other}
        if of_triggers and "coef" in record:
            record, other = determined(record, other, of_triggers, exactness["coef"])
        different += [f"record {i}: {text}" for text in compare_members(record, other, exactness)]
    return different


def largest_numbers(records):
    """{(layer, name): the largest absolute number}"""
    import numpy as np

    largest = collections.defaultdict(float)
    for record in records:
        for name, value in record.items():
            if np.size(value) and np.asarray(value).dtype.kind == "f":
                place = record.get("layer"), name
                largest[place] = max(largest[place], float(np.abs(value).max()))
    return largest


def compare_members(record, other, exactness):
    import numpy as np

    for name, value in other.items():
        value, here = np.asarray(value), np.asarray(record[name])
        if value.shape != here.shape:
            yield f"{name} is of another shape"
        elif value.size and value.dtype.kind == "f":
            error = np.abs(here - value).max()
            if not error <= exactness[name]:
                yield f"{name} differs by {error:.2g}, more than {exactness[name]:.2g}"
        elif name.endswith("_rank"):
            if np.any(np.abs(here.astype(float) - value) > np.maximum(1, TOLERANCE * value)):
                yield f"{name} differs by more than 1, and 0.1 %"
        elif not np.array_equal(here, value):
            yield f"{name} is not the same"


def determined(record, other, of_triggers, exactness):
    """Both records of a key, its triggers in one order, without those that the exactness leaves open: whose
    coefficients are, but for that, the smallest of the key's triggers."""
    import numpy as np

    def triggers(key):
        """{place: (determined?, {name: value})}"""
        prefixes = np.split(key["prefix"], np.cumsum(key["position"])[:-1])
        sizes = np.abs(key["coef"])
        least = sizes.min() + exactness if len(sizes) else 0
        return {(key["sentence"][i], key["position"][i]):
                (sizes[i] > least,
                 {name: key[name][i] for name in of_triggers} | {"prefix": prefixes[i].tolist()})
                for i in range(len(sizes))}

    sides = triggers(record), triggers(other)
    places = sorted(place for place in sides[0].keys() | sides[1].keys()
                    if any(place in side and side[place][0] for side in sides))
    pairs = []
    for key, side in zip((record, other), sides):
        listed = [side[place][1] for place in places if place in side]
        pairs.append({name: value for name, value in key.items() if name not in (*of_triggers, "prefix")}
                     | {"triggers": [place for place in places if place in side]}
                     | {name: np.asarray([trigger[name] for trigger in listed]) for name in of_triggers}
                     | {"coef": np.append([trigger["coef"] for trigger in listed],
                                          np.sort(np.abs(key["coef"])))}
                     | {"prefix": sum((trigger["prefix"] for trigger in listed), [])})
    return pairs


# ------------------------------------------------------------- what is tried

QUICK = "out/brown-lm-quick"


def try_release(name, commands):
    """Both commands in a bare system; what came out, in words."""
    log = FOLDER / f"{name}.log"
    said = []
    with system(name) as tried:
        log.unlink(missing_ok=True)
        copy_tree(tried)
        for command in commands:
            start = time.monotonic()
            tried.must(f"cd /{TREE} && make {command}", log, timeout=3 * 3600)
            said.append(f"make {command} in {time.monotonic() - start:.0f} s")
            if command == "test":
                said.append(log.read_text(errors="replace").strip().splitlines()[-1])
            elif command == "run":
                check(compare_tables(tried.path / TREE / QUICK, ROOT / QUICK))
                said.append("tables as on this machine")
    return ", ".join(said)


def check(different):
    if different:
        raise Failed("; ".join(different[:5]))


SENTENCES = 6
PIPELINE = f"""head -n {SENTENCES} data/corpora/brown-valid.txt > build/sentences.txt
$RUN $BIN/tokenize --model data/brown-lm build/sentences.txt > build/tokens.msgpack
$RUN $BIN/forward-dump --model data/brown-lm --emit coef,resid,ffn < build/tokens.msgpack \\
    > build/activations.msgpack
$RUN $BIN/forward-dump --model data/brown-lm < build/tokens.msgpack | $RUN $BIN/topk-keys --top 5 |
    $RUN $BIN/project-values --model data/brown-lm > build/triggers.msgpack
$RUN $BIN/agreement-stats < build/triggers.msgpack > build/agreement.csv
"""

# Triggers with values of a model of bfloat16 weights, by each kind of products; what is said where one fails.
BFLOATS = """$RUN $BIN/tokenize --model build/bfloats build/bfloats.txt > build/tokens.msgpack
multiply() {
    $RUN $BIN/forward-dump --model build/bfloats --products $1 -o build/max.msgpack build/tokens.msgpack &&
        $RUN $BIN/topk-keys --top 5 -o build/top.msgpack build/max.msgpack &&
        $RUN $BIN/project-values --model build/bfloats --products $1 -o build/$1.msgpack build/top.msgpack
}
for kind in auto float32 bf16x3; do
    rm -f build/$kind.msgpack
    multiply $kind 2> build/$kind.said || :
done
"""
ARM64_PROCESSORS = "cortex-a53", "max"


def try_arm64():
    """The tools compiled for arm64, a small pipeline through qemu-user, its numbers beside this machine's."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"this machine is {platform.machine()}: it tries the releases on that")
    log = FOLDER / "arm64.log"
    log.unlink(missing_ok=True)
    with system("debian-13") as tried, emptied(FOLDER / "here") as here:
        copy_tree(tried)
        copy(ROOT / "data/corpora", tried.path / TREE / "data/corpora")
        tried.must(f"dpkg --add-architecture arm64 && cd /{TREE} && ./setup.sh arm64", log)
        tried.must(f"cd /{TREE} && export PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig && "
                   "make -s -j2 CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar LD=aarch64-linux-gnu-ld",
                   log)
        return f"{try_pipeline(tried, here, log)}, {try_products(tried, here, log)}"


def run_here(script, here):
    subprocess.run(["sh", "-euc", script], cwd=here, check=True,
                   env={**os.environ, "RUN": "", "BIN": "build/release-gcc"})


def run_there(script, tried, log, processor="max"):
    tried.must(f"cd /{TREE} && set -eu && RUN='qemu-aarch64 -cpu {processor}' "
               f"BIN=build/release-aarch64-linux-gnu-gcc\n{script}", log)


def try_pipeline(tried, here, log):
    for name in ("data", "build/release-gcc"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).symlink_to(ROOT / name)
    run_here(PIPELINE, here)
    run_there(PIPELINE, tried, log)
    for name in ("activations", "triggers"):
        check([f"{name}: {text}" for text in compare_pipelines(tried.path / TREE / f"build/{name}.msgpack",
                                                              here / f"build/{name}.msgpack")])
    return "built, and a pipeline's numbers are this machine's within 1e-5"


def try_products(tried, here, log):
    """auto and float32 are there, and auto is float32; bf16x3 is right, or refused by name."""
    import random_model
    from helpers import random_sentences, text

    for build in here / "build", tried.path / TREE / "build":
        random_model.write_model(build / "bfloats", layers=2, d_model=64, d_ff=96, heads=4, vocabulary=200,
                                 cutoffs=(60, 120), factor=2, dtype="BF16")
        (build / "bfloats.txt").write_bytes(text(random_sentences(40, 200, seed=3)))
    run_here(BFLOATS, here)
    said = []
    for processor in ARM64_PROCESSORS:
        run_there(BFLOATS, tried, log, processor)
        answers = compare_products(tried.path / TREE / "build", here / "build/float32.msgpack")
        said.append(f"bf16x3 on {processor} {answers}")
    return "products of auto and float32 too, " + ", ".join(said)


def compare_products(folder, expected):
    """What bf16x3 is there, in words; Failed where something is neither right nor refused."""
    for kind in "auto", "float32", "bf16x3":
        message = (folder / f"{kind}.said").read_text(errors="replace")
        refused = re.search(r"^forward-dump: --products bf16x3: (.*)\n\Z", message, re.MULTILINE)
        if kind == "bf16x3" and refused:  # perhaps behind what oneDNN says where there is no /sys
            return f"refused ({refused[1]})"
        if not (folder / f"{kind}.msgpack").exists():
            raise Failed(f"--products {kind}: {message}")
        check([f"--products {kind}: {text}"
               for text in compare_pipelines(folder / f"{kind}.msgpack", expected)])
    if (folder / "auto.msgpack").read_bytes() != (folder / "float32.msgpack").read_bytes():
        raise Failed("auto is not float32")
    return "right within 1e-5"


EXAMPLE = """mkdir -p out
tokenize -m $MODEL $MODEL/../corpus.txt | forward-dump -m $MODEL | topk-keys | project-values -m $MODEL |
    agreement-stats -o out/agreement.csv
"""


def try_container():
    """Its commands and copies are the Dockerfile's: a stage that builds, and one of what that installed."""
    log = FOLDER / "container.log"
    log.unlink(missing_ok=True)
    text = (ROOT / "Dockerfile").read_text()
    build, run = re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    (model,) = re.findall(r"^ENV (MODEL=.*)$", text, re.MULTILINE)
    with emptied(FOLDER / "installed") as installed, emptied(FOLDER / "here") as here:
        with system("debian-13") as first:
            copy_tree(first)
            first.must(f"cd /{TREE} && {build}", log)
            shutil.copytree(first.path / "installed", installed, symlinks=True, dirs_exist_ok=True)
        with system("debian-13") as last:
            shutil.copytree(installed, last.path, symlinks=True, dirs_exist_ok=True)
            last.must(f"mkdir /work && {run}", log)
            last.must(f"cd /work && export {model} && set -eu\n{EXAMPLE}", log)
            last.must(f"cd /work && export {model} && /usr/share/ffkv/pipelines/composition.sh $MODEL "
                      "$MODEL/../corpus.txt drawn --prefixes 20 && /usr/share/ffkv/pipelines/figures.sh "
                      "drawn drawn", log)
            subprocess.run(["sh", "-euc", EXAMPLE], cwd=here, check=True, env={
                **os.environ, "MODEL": str(ROOT / "data/brown-lm"),
                "PATH": f"{ROOT}/build/release-gcc:{os.environ['PATH']}"})
            check(compare_tables(last.path / "work/out", here / "out"))
    return "its commands run, and an example's table is as on this machine"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--commands", default="run,test", help="what is made in each release")
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    options = parser.parse_args()
    passed = failed = skipped = 0
    for name in options.names:
        try:
            if name not in NAMES:
                raise Failed(f"not one of {', '.join(NAMES)}")
            special = {"arm64": try_arm64, "container": try_container}.get(name)
            said = special() if special else try_release(name, options.commands.split(","))
            passed += 1
        except Unavailable as reason:
            said = f"skipped: {reason}"
            skipped += 1
        except Failed as reason:
            said = f"failed: {reason}"
            failed += 1
        print(f"{name}: {said}", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
