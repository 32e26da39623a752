"""Where learning and drawing meet config, disk, clock and terminal.

What lives here: configs and presets, images made ready to be learned from, the plan and its price
on this machine, the run folder, checkpoints, resuming, progress, and samples on disk. What may not:
the field's mathematics, kernels, and options of the command line. Each kind of recipe has a course,
a packing and an artist of its own, and only `kinds` asks which. Read `schema`, `course`, then
`experiment`.
"""
