"""Did it come true: rollouts before and after training, read with the sealed measurement."""
