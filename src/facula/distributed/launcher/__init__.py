"""Starting the ranks of a program, watching them, starting them anew: what `facula launch` and `torchrun` do.

    options.py     the command line, torchrun's
    meeting.py     rounds: which nodes take part, and which ranks each has
    workers.py     the processes of one node: environment, logs, ends
    agent.py       round after round, until all is done or no restarts are left
"""
