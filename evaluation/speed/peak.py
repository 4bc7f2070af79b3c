"""The most memory that this process has held: on the host, and on a GPU."""

from __future__ import annotations

import sys
from pathlib import Path


def host_bytes() -> int:
    """The most that this process ever held in memory, since it began or since `forget`."""
    import psutil

    if sys.platform == "win32":
        peak: int = psutil.Process().memory_info().peak_wset
        return peak
    if sys.platform == "linux":
        # The kernel's own mark of this program: what getrusage says is never less than what its parent held.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget() -> bool:
    """Count the most from what is held now; whether the system can do that."""
    try:
        # 5 resets the mark of the most resident memory (the kernel's documentation, filesystems/proc, clear_refs).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


class GpuMemory:
    """What this process has taken of the GPU since it was asked first, its CUDA context left out.

    The allocators of torch and onnxruntime keep what they once took, so what they hold after a call is their most. The
    device is asked, for no library sees what another one took; so other programs on it must keep still.
    """

    def __init__(self) -> None:
        self._before = self._used()

    def bytes(self) -> int:
        return self._used() - self._before

    def wait(self) -> None:
        """Until all that was queued is done."""
        import torch

        torch.cuda.synchronize()

    def _used(self) -> int:
        import torch

        free, total = torch.cuda.mem_get_info()
        return total - free
