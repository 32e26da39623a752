"""Files and tensors, and the way between them without loss.

What lives here: reading and writing pictures and films, atomic writes, grids and labelled sheets.
What may not: a model, a recipe, a device, a word to the user other than an error's sentence. Knows
torch, NumPy, Pillow, OpenImageIO and the errors alone. Other rooms enter by `files`. Read `picture`
first: it says what a picture in memory is.
"""
