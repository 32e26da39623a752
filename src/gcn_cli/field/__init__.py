"""The paper's random field and its extension to all noise levels; nothing else.

What lives here: the density, its ReLU ConvNet, the auto-encoder that decodes through the same
filters, the annealed chain, the two gradients of learning. Plain PyTorch in any floating-point
type, equation by equation, to be read and to be compared with; `gcn_cli.engine` computes the same
functions fast. What may not: files, clocks, terminals, kernels, devices by name. Read `network`
first, then `ladder`, then `learning`.
"""
