"""The paper's random field and its extension to all noise levels; nothing else.

What lives here: plain PyTorch in any floating-point type, equation by equation, to be read and to
be compared with; `gcn_cli.engine` computes the same functions fast. What may not: files, clocks,
terminals, kernels, devices by name. The paper, in its order: read `convnet` (tilt, activation
pattern, basis), `energy` (density, score, linear piece), `noise` and `langevin`, `likelihood` and
`ascent`. Its extension: `network`, `ladder`, `learning`, `optimise`. What a learned field is asked:
`moments`, `units`, `descent`; how likely an image is: `evidence`, `partition`.
"""
