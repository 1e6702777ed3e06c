"""Why a deployment is as fast as it is: hypotheses about it, each tried by taking its cause away."""
