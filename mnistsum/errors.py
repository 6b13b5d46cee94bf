"""The one error that a user's input causes."""


class InputError(Exception):
    """What the user gave cannot be used: a message of one line that names it, what was expected and what was found.

    Examples:
        >>> import mnistsum
        >>> try:
        ...     mnistsum.ModelConfig(hidden=0)
        ... except mnistsum.InputError as error:
        ...     print(error)
        model.hidden: expected 1 to a million, found 0
    """
