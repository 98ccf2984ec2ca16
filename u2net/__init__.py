"""Trains the first stage: a U²-Net-P student of a published teacher."""
