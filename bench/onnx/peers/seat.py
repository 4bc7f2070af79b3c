"""Open one file in one runtime, and answer or time it as standard input asks; JSON, a line each way.

    python seat.py onnxruntime|openvino|openvino-bf16 FILE THREADS

Runs under any Python that has numpy and the runtime. `{"answer": FILE.npz}`: logits of every input in it, as a list;
`{"warm": FILE.npz}`: reads an input and calls until times are stable; `{"block": [SECONDS, CALLS]}`: milliseconds of
each call.
"""

import json
import sys
import time

import numpy as np


def opened(runtime, file, threads):
    """A function from inputs by name to logits."""
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        return lambda fed: session.run(None, {name: fed[name] for name in names})[0]
    import openvino

    hint = {"INFERENCE_PRECISION_HINT": "bf16" if runtime.endswith("bf16") else "f32"}
    hint |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(file, "CPU", hint).create_infer_request()
    names = [one.get_any_name() for one in request.model_inputs]

    def call(fed):
        request.infer({name: fed[name] for name in names}, share_inputs=True)
        return request.get_output_tensor(0).data

    return call


def batches(file):
    """The inputs of a file: arrays called `NUMBER.NAME`."""
    found = {}
    with np.load(file) as arrays:
        for key in arrays.files:
            number, name = key.split(".", 1)
            found.setdefault(int(number), {})[name] = arrays[key]
    return [found[number] for number in sorted(found)]


def timed(call, fed):
    """Milliseconds of one call."""
    started = time.perf_counter()
    call(fed)
    return 1e3 * (time.perf_counter() - started)


def main():
    """Answer until standard input ends."""
    runtime, file, threads = sys.argv[1:]
    call, fed = opened(runtime, file, int(threads)), None
    for line in sys.stdin:
        asked = json.loads(line)
        if "answer" in asked:
            told = [np.asarray(call(one)).tolist() for one in batches(asked["answer"])]
        elif "warm" in asked:
            [fed] = batches(asked["warm"])
            until = time.perf_counter() + 0.5
            told = timed(call, fed)
            while time.perf_counter() < until:
                told = timed(call, fed)
        else:
            seconds, most = asked["block"]
            timed(call, fed)
            told, until = [], time.perf_counter() + seconds
            while len(told) < 3 or (len(told) < most and time.perf_counter() < until):
                told.append(timed(call, fed))
        print(json.dumps(told), flush=True)


main()
