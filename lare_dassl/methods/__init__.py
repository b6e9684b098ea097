"""The methods on tensors: pure torch, no Dassl, no files, no config object."""
