"""Decoding of clients' pictures, in processes that can be killed.

A decoder is code in C that reads hostile files, and nothing in a process can stop it. The worker's
side (``worker``, ``pictures``, ``structure``, ``job``, ``frames``) imports no more than Pillow.
"""
