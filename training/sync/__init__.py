"""From the archive to data sets: what was imported, and all events and decisions since.

A pure function of the imported data sets and the set of archived rows. `tables` reads and keeps
the rows, `validity` says which can be used, `catalogue`, `interactions`, `nudges` and `slots` make
the data sets, `account` tells of it, `step` puts them together on folders. Runs in a SageMaker job
and, by `nextbest data sync`, on a laptop.
"""
