"""The write-up's system: 6,384,925 parameters, 20 epochs of SGD, the test set reported each epoch.

Claim: the write-up's log, whose last line is 98.96 % digit and 98.83 % sum. Stated there: convolutions and fully
connected layers, 10 logits and a one-hot joined to 20 and led to 19, the count, the loss, batch 128, 20 epochs.
Inferred, from the count and from the network of the same count in gkdivya/EVA (3_PyTorchNeuralNetwork): the layers,
pixels / 255, SGD with learning rate 0.01 and momentum 0.7, PyTorch's initialisation, FC 128 in the adder.
Result: test average loss / digit / sum after epochs 1 and 2, seed 0: 2.514 / 35.96 / 10.00 and 1.316 / 93.67 / 14.02
(the write-up: 2.394 / 56.34 / 9.94 and 1.296 / 94.29 / 14.32); experiments/results/reference_two_epochs. All 20
epochs have not been run yet: the command below, and `--resume` after each interruption, would.
Command: python -m experiments.run --config reference
Cost: 0.5 to 0.9 s a step (AMD EPYC, Zen 5 or Zen 4), so 75 to 140 minutes for the 9,360 steps, on two CPU cores.
"""

from mnistsum.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainingConfig

config = Config(
    name="reference",
    data=DataConfig(validation=0, scaling="unit"),
    model=ModelConfig(classifier="reference", initialisation="torch"),
    optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, momentum=0.7, schedule="constant"),
    training=TrainingConfig(epochs=20.0),
)
