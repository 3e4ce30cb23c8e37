"""Debian's Slurm on this machine's loopback, for tests: munged, slurmctld and two slurmd as children of this
process, with all of their files in one private folder.  Root alone can start it."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

PROGRAMS = "munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel"
NODES = "a", "b"
# What is not said is off by default: accounting, groups of processes, other plugins.
CONFIG = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
JobRequeue=1
ReturnToService=2
KillWait=1
NodeName=a NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[1]} CPUs=2 RealMemory=8000
NodeName=b NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[2]} CPUs=2 RealMemory=8000
PartitionName=all Nodes=a,b Default=YES MaxTime=INFINITE State=UP
"""


class CannotStart(Exception):
    """Why this machine cannot run it."""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    def __init__(self, place):
        self.place, self.daemons, self.told = place, [], {}
        self.variables = {"SLURM_CONF": str(place / "slurm.conf"), "PATH": f"/usr/sbin:{os.environ['PATH']}"}

    def run(self, *argv):
        return subprocess.run(argv, env={**os.environ, **self.variables}, capture_output=True, text=True,
                              timeout=60, check=False)

    def queue(self):
        """The jobs and array tasks that are waiting or running, a line each."""
        done = self.run("squeue", "--noheader", "--array", "--format=%i %T %R")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def is_done(self):
        """Whether no job is waiting or running.  Slurm lets one that was requeued wait for two minutes, until
        the credentials of its first run have expired; it is told that seconds are enough, which they are: a
        new credential must only be younger than the second in which the old ones were revoked."""
        queue, now = [line.split() for line in self.queue()], time.monotonic()
        for job, state, reason in queue:
            if (state, reason) == ("PENDING", "(BeginTime)") and now - self.told.get(job, 0) > 10:
                self.told[job] = now
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now+4")
        time.sleep(0.3)
        return not queue

    def daemon(self, name, *argv):
        log = open(self.place / f"{name}.log", "wb")  # pylint: disable=consider-using-with
        self.daemons.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             env={**os.environ, **self.variables}))
        log.close()

    def start(self):
        place = self.place
        for name in "munge", "state", *(f"spool-{node}" for node in NODES):
            (place / name).mkdir()
        (place / "munge/key").write_bytes(os.urandom(128))
        (place / "munge/key").chmod(0o400)
        (place / "slurm.conf").write_text(
            CONFIG.format(place=place, host=socket.gethostname().split(".")[0], ports=free_ports(3)))
        version = self.run("slurmd", "-V").stdout.split()[-1]
        if int(version.split(".")[0]) >= 23:  # earlier ones look at no groups where no plugin asks for them
            (place / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        self.daemon("munged", "munged", "--foreground", "--force",
                    *(f"--{name}-file={place}/munge/{name}" for name in ("key", "pid", "log", "seed")),
                    f"--socket={place}/munge/socket")
        self.wait(lambda: (place / "munge/socket").exists(), "munged")
        self.daemon("slurmctld", "slurmctld", "-D", "-c", "-f", place / "slurm.conf")
        self.wait(lambda: self.run("scontrol", "ping").returncode == 0, "slurmctld")
        for node in NODES:
            self.daemon(f"slurmd-{node}", "slurmd", "-D", "-N", node, "-f", place / "slurm.conf")
        self.wait(lambda: self.run("sinfo", "--noheader", "--states=idle", "--format=%D").stdout.strip()
                  == str(len(NODES)), "slurmd-a")

    def wait(self, condition, name):
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline or any(each.poll() is not None for each in self.daemons):
                raise CannotStart(f"{name}: {(self.place / f'{name}.log').read_text()[-300:]}")
            time.sleep(0.1)

    def stop(self):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.run("scancel", "--user=root")
        for each in reversed(self.daemons):
            each.terminate()
            try:
                each.wait(10)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()


@contextlib.contextmanager
def cluster(place):
    """A cluster that runs as long as the context; raises CannotStart."""
    path = f"/usr/sbin:{os.environ['PATH']}"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing:
        raise CannotStart(f"{', '.join(missing)}: not there; setup.sh test installs them as root")
    if os.geteuid():
        raise CannotStart("only root can start Slurm's daemons")
    found = Cluster(place)
    try:
        found.start()
        yield found
    finally:
        found.stop()
