"""What a server's log tells of its start, in lines as vLLM writes them."""

from datetime import datetime

import pytest
from performance.gpu.starting import start_phases

LOG = """\
Found ulimit of 20000
(APIServer pid=9) INFO 11-26 06:40:07 [model.py:733] Resolved architecture: DeepseekV3ForCausalLM
(APIServer pid=9) WARNING 11-26 06:40:09 [vllm.py:1703] Enforce eager set
(EngineCore pid=10) INFO 11-26 06:40:16 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: took 9 s
(EngineCore pid=10) INFO 11-26 06:40:24 [default_loader.py:501] Loading weights took 0.93 seconds
(EngineCore pid=10) INFO 11-26 06:40:30 [monitor.py:53] torch.compile took 22.09 s in total
(EngineCore pid=10) INFO 11-26 06:40:31 [gpu_model_runner.py:53] Graph capturing finished in 8 secs, took 0.1 GiB
(EngineCore pid=10) INFO 11-26 06:40:38 [core.py:402] init engine (profile, create kv cache, warmup model) took 41.36 s
"""


def test_where_the_seconds_went():
    began = datetime(2026, 11, 26, 6, 39, 57, 500_000).timestamp()
    phases = {"weights": 0.93, "compiling": 22.09, "graphs": 8, "engine": 41.36}
    assert start_phases(LOG, began) == pytest.approx({"imports": 9.5, "engine_imports": 7, **phases})
    assert start_phases(LOG[:22], began) == {}
    assert start_phases(LOG[:130], began) == pytest.approx({"imports": 9.5})
