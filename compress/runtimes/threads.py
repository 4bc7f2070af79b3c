"""How many threads torch may use: one setting for the whole process, so it is set where it is about to matter."""


def use_threads(count: int) -> None:
    """Let torch use `count` threads from now on."""
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
