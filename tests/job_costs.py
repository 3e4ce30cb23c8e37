"""What the jobs of 'make slurm' take beside what they ask for: each is run here, one after the other, by a
program that takes the place of sbatch.

    python3 tests/job_costs.py build/release-gcc SHARDS=4 THREADS=1 RATE=30 MODEL=... TEXT=... OUT=...

with the settings of pipelines/paper.mk writes CSV, a line a kind of job: how many ran, MB asked for and the
most that one took, minutes asked for, and the most seconds of processor time, divided by THREADS, and of the
clock that one took.  Memory is the largest sum, over the processes that a job has at a time, of what each has
had resident at most: pages that two of them map count twice."""

import csv
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAUSE = 0.03  # seconds between two looks at the processes of a job
COLUMNS = ["job", "jobs", "mb_asked", "mb_taken", "minutes_asked", "processor_seconds", "seconds"]


def resident(session):
    """Bytes that the processes of a session have had resident, each at its peak."""
    total = 0
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found = re.search(r"^VmHWM:\s+(\d+) kB", (folder / "status").read_text(), re.MULTILINE)
                total += 1024 * int(found[1]) if found else 0
        except (OSError, ValueError):  # it has ended
            pass
    return total


def measure(argv, environment):
    """Runs a job: {status, bytes, processor, seconds}."""
    begin, most = time.monotonic(), 0
    job = os.posix_spawnp(argv[0], argv, environment, setsid=True)
    while True:
        most = max(most, resident(job))
        ended, status, usage = os.wait4(job, os.WNOHANG)
        if ended:
            return {"status": os.waitstatus_to_exitcode(status), "bytes": most,
                    "processor": usage.ru_utime + usage.ru_stime, "seconds": time.monotonic() - begin}
        time.sleep(PAUSE)


def numbers(array):
    """Of --array: 0-3 or 0,2."""
    for part in array.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def submitted(bin, settings, goals):
    """What 'make slurm' gives to sbatch, in order: {option: value}, and the command as --wrap."""
    with tempfile.TemporaryDirectory() as place:
        log, program = pathlib.Path(place, "log"), pathlib.Path(place, "sbatch")
        program.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" '' >>'{log}'\n"
                           f"echo >>'{place}/jobs'\nwc -l <'{place}/jobs'\n")
        program.chmod(0o755)
        subprocess.run(["make", "--no-print-directory", "-f", "pipelines/paper.mk", "slurm", f"BIN={bin}",
                        f"WHAT={' '.join(goals)}", *settings], cwd=ROOT, check=True, stdout=sys.stderr,
                       env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}"})
        for job in log.read_text().removesuffix("\0\0").split("\0\0"):
            *options, wrap, command = job.split("\0")
            assert wrap == "--wrap"
            pairs = [option.removeprefix("--").split("=", 1) for option in options if "=" in option]
            yield {**dict(pairs), "wrap": command}


def run(job):
    """Runs a job, or each of its array: what each took."""
    for number in numbers(job["array"]) if "array" in job else [None]:
        changes = {} if number is None else {"SLURM_ARRAY_TASK_ID": str(number)}
        log = job["output"].replace("%a", str(number))
        taken = measure(["sh", "-c", 'exec sh -c "$0" >"$1" 2>&1', job["wrap"], log],
                        {**os.environ, **changes})
        if taken["status"]:
            sys.exit(f"{job['job-name']} failed: {log}")
        yield taken


def costs(bin, settings, goals=("all",)):
    """Runs all jobs; rows of COLUMNS."""
    for job in [*submitted(bin, settings, goals)]:
        taken = [*run(job)]
        yield dict(zip(COLUMNS, [
            job["job-name"], len(taken), int(job["mem"].removesuffix("M")),
            round(max(each["bytes"] for each in taken) / 1e6), int(job["time"]),
            round(max(each["processor"] for each in taken) / int(job["cpus-per-task"]), 1),
            round(max(each["seconds"] for each in taken), 1)], strict=True))


if __name__ == "__main__":
    table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in costs(os.path.abspath(sys.argv[1]), sys.argv[2:]):
        table.writerow(row)
        sys.stdout.flush()
