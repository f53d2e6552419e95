"""Nothing opens a connection, neither at import nor at work: native code is held to it by the kernel, which kills a
process that makes an internet socket. Whether ONNX Runtime's telemetry makes one when it is left on differs
from machine to machine, so the controls open one themselves, from Python and from C."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FORBID = """
import ctypes, platform, struct
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]  # the system call socket
load, equal, answer = 0x20, 0x15, 0x06
program = [
    (load, 0, 0, 0), (equal, 0, 4, number),  # any other call is allowed
    (load, 0, 0, 16), (equal, 1, 0, 2), (equal, 0, 1, 10),  # its first argument: AF_INET or AF_INET6
    (answer, 0, 0, 0x80000000), (answer, 0, 0, 0x7FFF0000),  # kill the process, allow
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
assert libc.prctl(22, 2, ctypes.byref(Filter(len(program), ctypes.addressof(code))), 0, 0) == 0  # seccomp filter
"""

OURS = """
import sys, time
from tracker.__main__ import main
assert main(["track", sys.argv[1], "--out", sys.argv[2], "--format", "csv,video"]) == 0
time.sleep(20)
"""

NATIVE = """
import ctypes
ctypes.CDLL(None).socket(2, 1, 0)
"""


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", textwrap.dedent(FORBID + code), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filter is Linux's")
def test_nothing_makes_an_internet_socket(clip: Path, tmp_path: Path) -> None:
    ours = start(OURS, clip, tmp_path)
    controls = [start("import socket; socket.socket(socket.AF_INET)"), start(NATIVE)]
    _, complaint = ours.communicate()
    assert ours.returncode == 0, complaint
    assert (tmp_path / f"{clip.stem}.csv").exists()
    for control in controls:
        control.communicate()
        assert control.returncode == -signal.SIGSYS, "the filter works"
