"""Training on one process or on many with the same code: who am I, my share of a batch, summed gradients, checkpoints.

Alone, nothing of this touches ``torch.distributed``. Under ``torchrun`` every rank computes its share of each batch and
the gradients are summed, so that two processes take the same steps as one (up to the order of float sums; with dropout,
ranks draw their own masks, so runs of different world sizes are different draws). Models are replicated.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.engine.files import atomic_write
from tradewind.errors import InputError, StateError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class World:
    """This process among ``size`` of them; ``device`` is a torch device name."""

    rank: int
    size: int
    device: str

    @property
    def chief(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """Every ``size``-th row from ``rank`` on: this process' part of a batch of ``rows``."""
        return slice(self.rank, rows, self.size)


def require_torch() -> Any:
    """The torch module.

    Raises
    ------
    InputError
        PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError('This model needs PyTorch. Install it with: pip install "tradewind[deep]"') from error
    return torch


def device_of(wanted: str) -> str:
    """``"cpu"``, ``"cuda"`` or ``"auto"`` (cuda when there is one) as a device name.

    Raises
    ------
    InputError
        The name is none of these, or cuda is asked for and absent.
    """
    torch = require_torch()
    if wanted not in {"cpu", "cuda", "auto"}:
        raise InputError(f'device must be one of "auto", "cpu", "cuda"; got {wanted!r}.')
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError('device="cuda" was asked for, and torch finds no GPU here. Use device="cpu" or device="auto".')
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def world(device: str = "cpu", *, threads: int = 1) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, or be alone; torch uses ``threads`` threads inside the block.

    Raises
    ------
    StateError
        The launcher announced another number of processes than those that met: two copies would train side by side.
    """
    torch = require_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    name = device_of(device)
    mine = False
    try:
        if size > 1:
            mine = not torch.distributed.is_initialized()
            if mine:
                torch.distributed.init_process_group("nccl" if name == "cuda" else "gloo")
            met = torch.distributed.get_world_size()
            if met != size:
                raise StateError(f"The launcher announced {size} processes and {met} met. Start all of them with one torchrun command.")
        if name == "cuda":
            name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(name)
        yield World(rank, size, name)
    finally:
        if mine and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        torch.set_num_threads(before)


@contextmanager
def alone(*, threads: int = 1) -> Iterator[World]:
    """This process by itself on the CPU, whatever launched it: for answering, which needs no other process."""
    torch = require_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield World(0, 1, "cpu")
    finally:
        torch.set_num_threads(before)


def agreed(value: float, place: World) -> float:
    """The value of rank 0 on every process, so that all take the same branch."""
    if place.size == 1:
        return value
    torch = require_torch()
    told = torch.tensor([value], dtype=torch.float64, device=place.device)
    torch.distributed.broadcast(told, src=0)
    return float(told.item())


def start_equal(parameters: Iterable[torch.nn.Parameter], place: World) -> None:
    """Give every process the weights of rank 0."""
    if place.size > 1:
        torch = require_torch()
        for parameter in parameters:
            torch.distributed.broadcast(parameter.data, src=0)


def sum_gradients(parameters: Iterable[torch.nn.Parameter], place: World) -> None:
    """Sum the gradients of all processes into each of them, in one message; a missing gradient counts as zero."""
    if place.size == 1:
        return
    torch = require_torch()
    listed = [parameter for parameter in parameters if parameter.requires_grad]
    parts = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in listed]
    flat = torch.cat([part.reshape(-1) for part in parts])
    torch.distributed.all_reduce(flat)
    start = 0
    for parameter in listed:
        parameter.grad = flat[start : start + parameter.numel()].view_as(parameter).clone()
        start += parameter.numel()


def save_checkpoint(path: Path, state: Mapping[str, Any], place: World) -> None:
    """Write tensors and plain values so that a killed process leaves the old checkpoint or the new one, never a part."""
    torch = require_torch()
    if place.chief:
        buffer = BytesIO()
        torch.save(dict(state), buffer)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, buffer.getvalue())
    if place.size > 1:
        torch.distributed.barrier()


def load_checkpoint(path: Path, place: World) -> dict[str, Any] | None:
    """The last checkpoint, or None when there is none; never runs code from the file (``weights_only``)."""
    torch = require_torch()
    if not path.exists():
        return None
    found: dict[str, Any] = torch.load(path, map_location=place.device, weights_only=True)
    return found
