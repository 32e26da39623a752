"""The recipes for textures: what is learned in which order from which pictures, and how to draw.

What lives here: the default recipe, sizes from coarse to fine, reconstruction, then maximum
likelihood; and in `paper` the paper's own. Learning and drawing are generators that yield a state
and what was seen on the way. What may not: files, clocks, terminals, kernels. Read `recipe` first,
then `learn`, then `draw`.
"""
