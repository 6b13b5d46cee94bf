"""The write-up's system: 6,384,925 parameters, 20 epochs of SGD, the test set reported each epoch.

Claim: the write-up's log, whose last line is 98.96 % digit and 98.83 % sum. Stated there: convolutions and fully
connected layers, 10 logits and a one-hot joined to 20 and led to 19, the count, the loss, batch 128, 20 epochs.
Inferred, from the count and from the network of the same count in gkdivya/EVA (3_PyTorchNeuralNetwork): the layers,
pixels / 255, SGD with learning rate 0.01 and momentum 0.7, PyTorch's initialisation, FC 128 in the adder.
Result: five of the twenty epochs, seed 0 (experiments/results/reference), with the write-up's plateau of the sum; three
of the six accuracies that both show lie inside the binomial band, three outside. Test average loss / digit / sum after
epoch 3: 1.210 / 96.52 / 20.31 (the write-up: 1.207 / 96.57 / 18.48). Whether it comes to the write-up's last line is
not known yet: the command below, and `--resume` after each interruption, would tell.
Command: python -m experiments.run --config reference
Cost: 1.0 s a step on two CPU cores (AMD EPYC, Zen 4), so three hours for the 9,360 steps and their evaluations;
0.61 s on those of an Intel Xeon with AMX, an estimated 95 minutes.
"""

from mnistsum.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainingConfig

config = Config(
    name="reference",
    data=DataConfig(validation=0, scaling="unit"),
    model=ModelConfig(classifier="reference", initialisation="torch"),
    optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, momentum=0.7, schedule="constant"),
    training=TrainingConfig(epochs=20.0),
)
