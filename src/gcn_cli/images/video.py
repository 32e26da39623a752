"""Films of a chain: GIF through Pillow, MP4 through the optional imageio."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gcn_cli.errors import GcnError, UsageError
from gcn_cli.images.disk import atomic_write_bytes
from gcn_cli.images.write import to_uint8

_FRAME_MS = 80
_LAST_MS = 1500


def check_video(path: Path) -> None:
    """Refuse, before any work, a film that could not be written.

    Raises:
        UsageError: neither .gif nor .mp4, or the extra for .mp4 is missing.
    """
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise UsageError(f"a video ends in .gif or .mp4; {path.name} does not")
    if path.suffix.lower() == ".mp4" and importlib.util.find_spec("imageio") is None:
        raise UsageError("mp4 needs an extra: pip install 'gcn-cli[video]'; .gif works without it")


class Film:
    """Collects frames (C, H, W) in grey levels as bytes."""

    def __init__(self) -> None:
        self._frames: list[NDArray[np.uint8]] = []

    def add(self, image: Tensor) -> None:
        """One more frame."""
        levels = to_uint8(image.expand(3, -1, -1)).permute(1, 2, 0).contiguous()
        self._frames.append(levels.numpy())

    def write(self, path: Path) -> None:
        """Write the film; its suffix chooses the format.

        Raises:
            GcnError: the disk or the encoder refuses.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() == ".gif":
                atomic_write_bytes(path, self._gif())
            else:
                self._mp4(path)
        except OSError as error:
            raise GcnError(f"cannot write {path}: {error.strerror or error}") from error

    def _gif(self) -> bytes:
        pages = [Image.fromarray(frame) for frame in self._frames]
        durations = [_FRAME_MS] * (len(pages) - 1) + [_LAST_MS]
        buffer = io.BytesIO()
        pages[0].save(
            buffer, "GIF", save_all=True, append_images=pages[1:], duration=durations, loop=0
        )
        return buffer.getvalue()

    def _mp4(self, path: Path) -> None:
        import imageio.v2 as imageio

        scratch = path.with_name(f".{path.stem}.tmp.mp4")
        hold = [self._frames[-1]] * (_LAST_MS // _FRAME_MS)
        with imageio.get_writer(scratch, fps=1000 / _FRAME_MS, macro_block_size=1) as writer:
            for frame in (*self._frames, *hold):
                # the codec wants even sides: repeat the last row or column
                h, w = (n % 2 for n in frame.shape[:2])
                writer.append_data(np.pad(frame, ((0, h), (0, w), (0, 0)), mode="edge"))
        scratch.replace(path)
