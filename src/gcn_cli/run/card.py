"""What a model is, in a page of Markdown and as data: told from its checkpoint alone."""

from __future__ import annotations

from typing import Any

from gcn_cli.run.checkpoint import Checkpoint

_CARD = """\
# {name}

A model of {subject}, made by gcn: a random field, the generative ConvNet of Xie, Lu, Zhu and Wu
(2016), learned from {count} alone. It draws new pictures of the same texture.

{facts}

## How to draw

    gcn synthesize --ckpt MODEL {size}--n 4

The file is all that is needed. The same seed gives the same picture on the same machine.

## Limits

{limits}
"""


def provenance(saved: Checkpoint) -> dict[str, Any]:
    """Preset, pictures, their hash, day, version and note, ready for JSON; null: not told."""
    origin = {key: value or None for key, value in saved.origin.pack().items()}
    return {"preset": saved.config.name, "content": saved.content, **origin}


def sentence(saved: Checkpoint) -> str:
    """The same on a line."""
    origin = saved.origin
    parts = [
        f"learned from {_names(saved)}, {saved.content[:12]}",
        *([f"by gcn {origin.gcn}"] if origin.gcn else []),
        *([f"on {origin.began}"] if origin.began else []),
    ]
    return ", ".join(parts) + (f"; note: {origin.note}" if origin.note else "")


def card(saved: Checkpoint) -> str:
    """The page."""
    count = len(saved.observed)
    names = saved.origin.images
    model, known = saved.model, saved.config
    place = getattr(model, "place", None)
    return _CARD.format(
        name=names[0] if len(names) == 1 else known.name,
        subject="a material" if saved.material else "aligned objects" if place else "a texture",
        count="one picture" if count == 1 else f"{count} pictures",
        facts="\n".join(f"- {name}: {value}" for name, value in _facts(saved).items()),
        size="" if place else "--size 512x512 ",
        limits="\n".join(f"- {line}" for line in _limits(saved)),
    )


def _facts(saved: Checkpoint) -> dict[str, str]:
    origin, net = saved.origin, saved.model.net
    channels, height, width = saved.observed.shape[1:]
    plural = "" if channels == 1 else "s"
    told = {
        "learned from": f"{_names(saved)}; {width}x{height} px, {channels} channel{plural}",
        "SHA-256 of what was learned from": f"`{saved.content}`",
        "preset": f"`{saved.config.name}`, of kind `{saved.config.kind}`",
        "weights": f"`{saved.fingerprint}`, {_parameters(saved)}",
        "receptive field": f"{net.receptive_field} px at every size",
        "learning": "complete" if saved.complete else "not complete",
        "made": ", ".join([f"with gcn {origin.gcn or 'of unknown version'}", *_day(saved)]),
    }
    return told | ({"note": origin.note} if origin.note else {})


def _parameters(saved: Checkpoint) -> str:
    """Numbers of parameters, sizes and levels."""
    each = f"{saved.model.net.n_parameters():,} parameters"
    if saved.config.kind != "texture":
        return f"{each}, one noise level"
    sizes = saved.model.sizes
    ladders = ", ".join(f"{len(size.levels)} at 1/{size.reduction}" for size in sizes)
    return f"{each} at each of {len(sizes)} sizes; noise levels: {ladders}"


def _limits(saved: Checkpoint) -> list[str]:
    """What the model cannot do."""
    lines = ["It knows what it learned from and nothing else: every exemplar needs its own model."]
    if getattr(saved.model, "place", None) is None:
        lines.append(
            "A texture is taken to be the same everywhere: perspective, one-sided light, lone "
            "objects are lost."
        )
    if getattr(saved.model, "boundary", "torus") == "bounded":
        lines.append("It was learned on a canvas with a frame and cannot tile.")
    if not saved.complete:
        lines.append("Its learning was not complete.")
    lines.append(
        "Samples may resemble what was learned from: its licence is to be kept. The file holds it."
    )
    return lines


def _day(saved: Checkpoint) -> list[str]:
    return [f"begun on {saved.origin.began}"] if saved.origin.began else []


def _names(saved: Checkpoint) -> str:
    """The pictures by name, as far as they are told."""
    names, count = saved.origin.images, len(saved.observed)
    if not names:
        return "a picture without a name" if count == 1 else f"{count} pictures without names"
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


__all__ = ["card", "provenance", "sentence"]
