"""Getting the files of a dataset, unpacking them and verifying what is there."""
