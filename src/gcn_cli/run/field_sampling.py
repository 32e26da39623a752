"""Kind ``field``: fresh samples by the paper's chains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gcn_cli.engine import Machine
from gcn_cli.errors import UsageError
from gcn_cli.run.field_cost import chain_bytes
from gcn_cli.run.sampling import USUAL, Frame, Request, check_sides, fit_canvas, fitting_batch
from gcn_cli.texture.paper.draw import SynthesisInfo, synthesize
from gcn_cli.texture.paper.model import Model

_WINDOW = 1024  # units of the top layer; wider canvases are computed window by window


def canvas_for(model: Model, request: Request) -> tuple[int, int]:
    """The canvas (H, W) to compute; see `fit_canvas`.

    A canvas holds at least one receptive field; what exceeds the request is cut.

    Raises:
        UsageError: as `fit_canvas`, or a model learned on a bounded canvas shall tile.
    """
    if model.boundary == "torus" and request.kept is None:
        return fit_canvas(request, model.multiple, model.receptive_field)
    check_sides(request)
    if request.kept is not None:
        raise UsageError("only models of kind texture draw around what is known")
    if request.tile != "none":
        raise UsageError("this model was learned on a bounded canvas and cannot tile")
    least = model.receptive_field
    return max(request.height, least), max(request.width, least)


def sample(model: Model, request: Request, machine: Machine) -> Iterator[SynthesisInfo]:
    """Sample one picture per seed, (N, C, H, W) in the last yield; not yet cut to size.

    Each seed is a chain of its own: the picture of seed 3 is the same alone or among others.

    Raises:
        UsageError: see `canvas_for`.
    """
    return synthesize(
        model,
        canvas_for(model, request),
        request.seeds,
        0,
        device=machine.device,
        dtype=machine.dtype,
        temperature=request.temperature,
        window=_WINDOW,
    )


@dataclass(frozen=True)
class FieldArtist:
    """See `gcn_cli.run.sampling.Artist`."""

    model: Model

    @property
    def usual(self) -> tuple[int, int]:
        """A square."""
        return USUAL, USUAL

    def canvas(self, request: Request) -> tuple[int, int]:
        """See `canvas_for`."""
        return canvas_for(self.model, request)

    def batch(self, request: Request, machine: Machine, wanted: int | None) -> int:
        """Chains to run at once."""
        model = self.model
        one = chain_bytes(model.net, self.canvas(request), model.boundary, machine.dtype)
        return fitting_batch(one, machine.device, wanted)

    def frames(self, request: Request, machine: Machine) -> Iterator[Frame]:
        """The chains, every few steps."""
        for info in sample(self.model, request, machine):
            yield Frame(
                info.step,
                info.steps,
                lambda info=info: (info.chains[0] + info.mean).cpu().contiguous(),  # type: ignore[misc]
                lambda info=info: info.chains.add_(info.mean),  # type: ignore[misc]
            )
