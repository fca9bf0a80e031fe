"""The fault harness: what a worker must survive, row by row, against real Kafka.

``python -m tests.faults`` runs the table, ``test_faults.py`` a quick selection of it. A row is a module
``row_NN_….py`` that holds one ``ROW``.
"""
