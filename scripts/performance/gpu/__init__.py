"""What GPUs do: the mini study on both devices, starts of servers, several workers, merging in a GPU's memory."""
