"""Sequence models that remember: attention, S4, S4D and Mamba behind one contract, their training and their tasks.

Nothing stands here yet. To come: one file per mixer, the one residual stack that all of them share, and `tasks/`.
"""
