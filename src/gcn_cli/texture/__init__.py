"""The recipe for textures: sizes from coarse to fine, reconstruction, then maximum likelihood.

What lives here: what is learned in which order from which pictures, and how a sample is drawn. What
may not: files, clocks, terminals. Learning and drawing are generators that yield a state and what
was seen on the way. Read `recipe` first, then `learn`, then `draw`.
"""
