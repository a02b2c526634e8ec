"""Weights whose numbers are packed, several to a byte or word, with scales beside them: exact decoding and encoding.

Formats, and where their layouts are defined:

* ``mxfp4``: OCP Microscaling Formats (MX) Specification 1.0; gpt-oss' ``_blocks`` and ``_scales`` (transformers,
  integrations/mxfp4.py); compressed-tensors' ``mxfp4-pack-quantized``.
* ``nvfp4``: compressed-tensors' ``nvfp4-pack-quantized``, and ModelOpt's NVFP4 (qtensor/nvfp4_tensor.py).
* ``int4``: compressed-tensors' ``pack-quantized`` of 1 to 8 bits, such as Kimi-K2-Thinking's experts.
* ``awq``: AutoAWQ's GEMM version (utils/packing_utils.py).  Decoding only: its scales come out of a calibration.
* ``gptq``: AutoGPTQ's and GPTQModel's ``gptq`` and ``gptq_v2``.  Decoding only, for the same reason.

All functions are numpy in, numpy out, and know no names of tensors.  Numbers of scales are float32, which holds every
stored number exactly: ``scales`` converts them.  The kernels release Python's lock and work in one thread a call.
"""
