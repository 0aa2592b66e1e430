"""What one replicate trains: every module in this folder is a trainable that a study can name.

A trainable module offers ``Config`` (a frozen dataclass), ``problems(config, image_shape)``, ``source_network(config)`` (the
config of what has to be trained first, or None), ``footprint(config, image_shape, num_classes, num_micro_batches=1)``
(parameters, operations and memory, known before training), ``timing(config, seed=…, dataset=…)`` (how long it will take, from
a few steps) and ``train(config, seed=…, dataset=…, checkpoint_folder=…, num_micro_batches=1)``, a generator of one report per
epoch. The folder is a path or a URI; a batch that does not fit into memory may be run in parts. It may offer ``PRESETS``,
named values of its config's fields. Trainables know torch, and nothing of Ray, Optuna or MLflow.
"""
