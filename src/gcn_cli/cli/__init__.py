"""The command line: words in, one library call, paths out.

``app`` puts the commands together and turns errors into a sentence and an exit code, ``options``
holds what several commands share, and each other file is one command. Nothing here imports PyTorch
before a command needs it.
"""
