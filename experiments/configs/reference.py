"""The write-up's system: 6,384,925 parameters, 20 epochs of SGD, the test set reported each epoch.

Claim: the write-up's log, whose last line is 98.96 % digit and 98.83 % sum. Stated there: convolutions and fully
connected layers, 10 logits and a one-hot joined to 20 and mapped to 19, the count, the loss, batch 128, 20 epochs.
Inferred, from the count and from the network with the same count in gkdivya/EVA (3_PyTorchNeuralNetwork): the layers,
pixels / 255, SGD with learning rate 0.01 and momentum 0.7, PyTorch's initialization, FC 128 in the adder.
Result: all twenty epochs, seed 0: digit 99.17 %, sum 98.96 % (experiments/results/runs/reference-0, with a figure of
both logs). The test loss is within 5.1 % of the write-up's in all six epochs that it shows. Of the six accuracies in
its last three epochs, five lie in the binomial 95 % bands of ours; its last digit accuracy, 98.96 %, is just below
[98.97, 99.33]. Of the six in its first three epochs, three lie inside; the first is slower here (digit 35.98 %, there
56.34 %).
Command: python -m experiments.run --config reference
Cost: 0.63 s a step on two CPU cores (Intel Xeon with AMX), so 98 minutes of training; 1.0 s on those of an AMD EPYC
(Zen 4). The published run took 1 h 55 min in two parts; the first shared its cores with other work for three epochs.
"""

from mnistsum.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainingConfig

config = Config(
    name="reference",
    data=DataConfig(validation=0, scaling="unit"),
    model=ModelConfig(classifier="reference", initialization="torch"),
    optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, momentum=0.7, schedule="constant"),
    training=TrainingConfig(epochs=20.0),
)
