"""``gcn doctor``: the machine as gcn sees it."""

from __future__ import annotations

import typer

from gcn_cli.cli.options import AsJson, examples, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=examples("gcn doctor", "gcn doctor --json"))(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Tell versions, device, memory and precision."""
    from gcn_cli.engine import facts
    from gcn_cli.run.presets import preset_folder, preset_names

    told = {**facts(), "preset_folder": str(preset_folder()), "presets": preset_names()}
    if as_json:
        print_json(told)
        return
    rows = [
        [name.replace("_", " "), ", ".join(value) if isinstance(value, list) else _text(value)]
        for name, value in told.items()
    ]
    print_table("gcn doctor", ["what", "here"], rows)


def _text(value: object) -> str:
    if value is None:
        return "unknown"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
