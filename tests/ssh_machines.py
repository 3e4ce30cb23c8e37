"""Two machines for ssh that are this one, by two addresses of its loopback: an sshd as a child of this
process, with keys and files of its own in a private folder."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time

PROGRAMS = "sshd", "ssh", "ssh-keygen", "parallel"
ADDRESSES = {"one": "127.0.0.1", "two": "127.0.0.2"}
HOSTS = {**ADDRESSES, "down": "127.0.0.3"}
PATH = f"/usr/sbin:{os.environ['PATH']}"
SERVER = """ListenAddress 127.0.0.1:{port}
ListenAddress 127.0.0.2:{port}
HostKey {place}/host
AuthorizedKeysFile {place}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""
CLIENT = """Host *
  Port {port}
  IdentityFile {place}/user
  IdentitiesOnly yes
  UserKnownHostsFile {place}/known
  StrictHostKeyChecking accept-new
  LogLevel ERROR
"""
RIGHTS = pathlib.Path("/run/sshd")  # an empty folder that root's sshd needs


class CannotStart(Exception):
    """Why this machine cannot run it."""


@contextlib.contextmanager
def empty_folder(path):
    """Is there as long as the context, and afterwards only where it was before."""
    made = not path.exists()
    if made:
        path.mkdir(mode=0o755)
    try:
        yield
    finally:
        if made:
            path.rmdir()


def answers(config):
    done = [subprocess.run(["ssh", "-F", config, name, "true"], stdin=subprocess.DEVNULL, capture_output=True,
                           check=False, timeout=60).returncode for name in ADDRESSES]
    return not any(done)


@contextlib.contextmanager
def machines(place):
    """ssh's file of settings, which knows one and two, and down, where nobody answers; raises CannotStart."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if missing:
        raise CannotStart(f"{', '.join(missing)}: not there")
    for name in "host", "user":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (place / "server").write_text(SERVER.format(place=place, port=port))
    config = place / "client"
    config.write_text(CLIENT.format(place=place, port=port)
                      + "".join(f"Host {name}\n  HostName {address}\n" for name, address in HOSTS.items()))
    with contextlib.ExitStack() as stack:
        if not os.geteuid():
            stack.enter_context(empty_folder(RIGHTS))
        log = stack.enter_context(open(place / "log", "wb"))
        server = subprocess.Popen([shutil.which("sshd", path=PATH), "-D", "-e", "-f", place / "server"],
                                  stdin=subprocess.DEVNULL, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not answers(config):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise CannotStart(f"sshd: {(place / 'log').read_text()[-300:]}")
                time.sleep(0.1)
            yield config
        finally:
            server.terminate()
            server.wait()
