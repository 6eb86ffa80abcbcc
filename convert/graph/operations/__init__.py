"""The rows of operations, one for each, and nothing known of them anywhere else.

A row (``Operation``) says how an operation is written, what it does in time and to spikes, how it
is counted, what a file keeps of its layers, where the channels are afterwards, and has examples.
The tracer, the roles, the counting, the files, the backends and fine-tuning ask the row.
"""
