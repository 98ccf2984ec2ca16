"""The benchmark harness: every matte measured as the literature does, beside the tools in use.

What ``wisp bench`` does, as functions::

    from eval import cache, datasets, methods, results, run, table

    dataset, plan = datasets.find("photos/"), run.Plan(repeats=1)
    specs = methods.parse("coarse,wisp,rembg", {"model": "u2netp.onnx"})
    finished = run.execute(dataset, specs, plan, cache.Cache(cache.default_root()))
    document = results.collect(dataset, specs, plan, finished)
    print(table.quality(document))

Methods run in processes of their own: a script does this below ``if __name__ == "__main__":``.
"""
