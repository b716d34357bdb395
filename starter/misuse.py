"""What a person got wrong."""


class MisuseError(Exception):
    """Input or settings that cannot be used. The message says what is wrong and what to do; nothing was started."""
