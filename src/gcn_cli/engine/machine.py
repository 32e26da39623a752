"""Which device and which arithmetic a command runs on."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import replace

import torch

from gcn_cli import __version__
from gcn_cli.engine.ranks import join, local_rank
from gcn_cli.engine.support import Machine, has_kernels
from gcn_cli.errors import DeviceError

DEVICES = "auto, cpu, cuda or cuda:N"
PRECISIONS = ("auto", "fp32", "bf16", "tf32")


def choose_device(name: str = "auto") -> torch.device:
    """The device that ``name`` (auto, cpu, cuda, cuda:N) asks for.

    Of several processes that torchrun started each has a card of its own.

    Raises:
        DeviceError: hardware asked for that is missing, or a name that means nothing.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local_rank() is not None:
        name = f"cuda:{local_rank()}"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise DeviceError(f"there is no device '{name}'; choose {DEVICES}")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError("no CUDA device can be used here; use --device cpu or auto")
        if number and int(number) >= torch.cuda.device_count():
            raise DeviceError(f"there is no {name}; this machine has {torch.cuda.device_count()}")
    return torch.device(name)


def choose_machine(device: str = "auto", precision: str = "auto", wanted: str = "auto") -> Machine:
    """Device and arithmetic.

    ``precision`` auto leaves the choice to ``wanted``, the config's; auto there, too, is bfloat16
    where the hardware multiplies it, else float32.

    Raises:
        DeviceError: missing hardware or an unknown precision.
    """
    if precision not in PRECISIONS:
        raise DeviceError(f"there is no precision '{precision}'; choose {', '.join(PRECISIONS)}")
    where = choose_device(device)
    precision = wanted if precision == "auto" else precision
    if precision == "tf32" and where.type != "cuda":
        raise DeviceError("tf32 is arithmetic of CUDA devices; use fp32 or bf16 on a CPU")
    if where.type == "cuda":
        if where.index is not None:  # kernels and graphs go to the current device
            torch.cuda.set_device(where)
        tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        fast = torch.cuda.get_device_capability(where)[0] >= 8
    else:
        fast = has_bfloat16()
    bf16 = precision == "bf16" or (precision == "auto" and fast)
    return Machine(where, torch.bfloat16 if bf16 else torch.float32)


def joined(machine: Machine) -> Machine:
    """The machine beside those of the other processes that torchrun started, if it did.

    Raises:
        DeviceError: one card asked for by all of them.
        PeerError: they do not come together.
    """
    ranks, card = join(machine.device), machine.device.index
    if ranks.size > 1 and card not in (None, local_rank()):
        raise DeviceError(f"every process takes a card of its own; leave out --device cuda:{card}")
    return replace(machine, ranks=ranks)


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware: matrix units (AMX), or AVX-512 BF16.

    The former ran the convolutions of a step 9 times as fast as plain float32 code, the latter
    twice as fast as float32 convolutions (docs/performance.md).
    """
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    probes = [getattr(torch.cpu, name, None) for name in names]
    return any(bool(probe()) for probe in probes if probe)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out, of a device or of the host."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "allocate memory" in str(error)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be used on a device; on a host that does not tell, 4 GiB."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30


def total_memory() -> int | None:
    """Bytes of the host's memory, where the system tells."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def facts() -> dict[str, object]:
    """What ``gcn doctor`` tells."""
    machine = choose_machine()
    memory = total_memory()
    return {
        "gcn": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": platform.platform(),
        "device": describe(machine),
        "cuda_devices": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
        "cpu_bfloat16": has_bfloat16(),
        "auto_precision": "bf16" if machine.dtype == torch.bfloat16 else "fp32",
        "triton": importlib.util.find_spec("triton") is not None,
        "extra_report": importlib.util.find_spec("matplotlib") is not None,
        "extra_video": importlib.util.find_spec("imageio") is not None,
        "extra_tensorboard": importlib.util.find_spec("tensorboard") is not None,
    }


def describe(machine: Machine) -> str:
    """For the log: device and arithmetic in a few words."""
    kind = {torch.bfloat16: "bf16", torch.float32: "fp32"}.get(machine.dtype, str(machine.dtype))
    if machine.device.type == "cuda":
        if kind == "fp32" and torch.backends.cudnn.allow_tf32:
            kind = "tf32"
        ways = (
            "own kernels" if kind == "bf16" and has_kernels(machine.device) else "PyTorch's kernels"
        )
        told = f"{torch.cuda.get_device_name(machine.device)}, {kind}, {ways}"
    else:
        told = f"CPU, {torch.get_num_threads()} threads, {kind}"
    return told if machine.ranks.size == 1 else f"{machine.ranks.size} processes of {told}"
