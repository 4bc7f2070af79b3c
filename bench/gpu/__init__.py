"""Time a Transformer on a GPU: precisions, compilation and ONNX against eager fp32, and attention fused against plain.

It needs a checkout, torch and transformers, and nothing else of this project, so that it runs on a borrowed machine:

    python -m bench.gpu                                    # BERT-base from its config, weights random
    python -m bench.gpu --model FOLDER --recipe FILE

Shapes are a recipe's `deploy.shapes`, as they stand there: those of `--recipe`, by default recipes/reviews-trio.yaml.
`--shapes 1x128,32x128` overrides it. Without that file they are 1x128, 32x128 and 32x512.

Times do not depend on what the weights are. Variants run in interleaved blocks, in random order in every round, timed
with CUDA events; intervals come from resampling whole rounds. What can't run here, or fails at a shape, is named as
skipped there with its reason, and running out of memory is a result. Everything goes to `run.json`, format 1, which is
written anew after every shape. On a machine without a GPU it times a smaller model on the CPU, which shows that the
script works and nothing more.
"""
