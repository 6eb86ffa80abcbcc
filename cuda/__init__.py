"""GPU kernels and their launcher; imported as `spikeport.cuda`."""

if __name__ == "cuda":
    # With the repository root on sys.path this folder is found as `cuda`, the name of NVIDIA's
    # namespace package, which torch and CuPy import from. Then it joins that namespace.
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)
