from promptopt.backends.gauges import Gauges

# From vLLM 0.32.0, cut down.
NOW = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="/models/smol"} 19.0
vllm:num_requests_waiting{engine="0",model_name="/models/smol"} 13.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="/models/smol",reason="capacity"} 13.0
vllm:prefix_cache_queries_total{engine="0",model_name="/models/smol"} 24600.0
vllm:prefix_cache_queries_created{engine="0",model_name="/models/smol"} 1.7956461123683863e+09
vllm:prefix_cache_hits_total{engine="0",model_name="/models/smol"} 12300.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="/models/smol"} 5.0
vllm:num_preemptions_total{engine="0",model_name="/models/smol"} 2.0
vllm:prompt_tokens_total{engine="0",model_name="/models/smol"} 24700.0
vllm:generation_tokens_total{engine="0",model_name="/models/smol"} 1.8e+03
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="/models/smol"} 0.0
"""
OLDER = """vllm:gpu_prefix_cache_queries_total{model_name="m"} 10
vllm:gpu_prefix_cache_hits_total{model_name="m"} 4
"""


def test_what_a_server_says_of_itself() -> None:
    assert Gauges.read(NOW) == Gauges(19, 13, 2, 24600, 12300, 24700, 1800)
    assert Gauges.read(NOW).cached_share == 0.5


def test_older_names_several_engines_and_silence() -> None:
    assert Gauges.read(OLDER).cached_share == 0.4
    two = Gauges.read(NOW + NOW.replace('engine="0"', 'engine="1"'))
    assert (two.waiting, two.prefix_queries, two.cached_share) == (26, 49200, 0.5)
    assert Gauges.read("process_open_fds 12\n") == Gauges()
    assert Gauges().cached_share == 0


def test_what_happened_since() -> None:
    later = Gauges(1, 0, 2, 24700, 12390, 24800, 1900)
    assert later - Gauges.read(NOW) == Gauges(1, 0, 0, 100, 90, 100, 100)
