"""The fault bench: what is killed, fed rubbish or started twice, and what the program then does.

    python -m bench.faults [--small] [--only recipes,files,kills,leaks,sharing,plan] [--kills 50] [--workers 2]
                           [--output FOLDER]

Each kind of fault is a file. Everything is seeded, needs no network, and works on a tiny model made from a config.
"""
