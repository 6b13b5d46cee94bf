"""`InputError`, the exception for wrong user input, and the messages of other exceptions in one line."""


class InputError(Exception):
    """Raised if user input cannot be used; the one-line message names it, what was expected and what was found.

    Examples:
        >>> import mnistsum
        >>> try:
        ...     mnistsum.ModelConfig(hidden=0)
        ... except mnistsum.InputError as error:
        ...     print(error)
        model.hidden: expected 1 to a million, found 0
    """


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text, or the name of its type if it has none.

    Examples:
        >>> from mnistsum.errors import first_line
        >>> first_line(ValueError("one\ntwo")), first_line(ValueError())
        ('one', 'ValueError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
