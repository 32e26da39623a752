"""The command line: words in, one library call, paths out.

What lives here: one thin file a command, what several of them share (`options`, `signals`), and
errors turned into a sentence and an exit code (`app`). What may not: a computation, and any import
of PyTorch before a command needs it. Read `app` first, then the command that you look for.
"""
