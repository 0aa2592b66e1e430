"""What one replicate trains: every module in this folder is a trainable that a study can name.

A trainable module offers ``Config`` (a frozen dataclass), ``problems(config, image_shape)``, ``parent(config)`` (the config of
what has to be trained first, or None), ``footprint(config, image_shape, num_classes)`` (parameters, operations and memory, known
before training), ``timing(config, seed=…, dataset=…)`` (how long it will take, from a few steps) and ``train(config, seed=…,
dataset=…, checkpoint_folder=…)``, a generator of one report per epoch. It may offer ``PRESETS``, named values of its config's
fields. Trainables know torch, and nothing of Ray, Optuna or MLflow.
"""
