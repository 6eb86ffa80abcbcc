"""Direct training of a converted network: surrogates, losses, the loop.

``spikeport.finetune`` as an attribute is the function of ``tuning.py``, as users know it; this
folder's modules are imported by their own names.
"""
